"""Directories of specs; a rule of SPEC.md is named by its section, and most are the runtimes' own."""

import os
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin import cdi


def spec(*names: str, kind: str = "vendor.com/class", env: str = "A=1") -> cdi.Spec:
    edits = cdi.ContainerEdits(env=(env,))
    return cdi.Spec(kind, tuple(cdi.Device(name, edits) for name in names), version="0.3.0")


def put(path: Path, content: cdi.Spec | str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else cdi.dumps(content))
    return str(path)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return tmp_path / "etc"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    paths: list[str] = []

    def recorded(path: str, **options: Any) -> cdi.Spec:
        paths.append(path)
        return cdi.read(path, **options)

    monkeypatch.setattr("kubelet_plugin.cdi.registry.read", recorded)
    return paths


def test_the_directories_are_those_of_the_runtimes_unless_others_are_given() -> None:
    assert cdi.DEFAULT_DIRS == ("/etc/cdi", "/var/run/cdi")
    assert cdi.Registry().dirs == cdi.DEFAULT_DIRS


def test_directories_that_are_not_there_are_empty(etc: Path) -> None:
    registry = cdi.Registry([str(etc)])
    assert (registry.devices(), registry.errors) == ([], {})


def test_a_device_is_found_by_its_qualified_name(etc: Path) -> None:
    """SPEC.md "CDI Devices": a name, and its kind, refer to a device."""
    path = put(etc / "a.json", spec("d"))
    registry = cdi.Registry([str(etc)])
    assert registry.device("vendor.com/class=d") == spec("d").devices[0]
    assert registry.spec_path_of("vendor.com/class=d") == path


def test_of_two_directories_the_later_wins(etc: Path, run: Path) -> None:
    put(etc / "a.json", spec("d", env="FROM=etc"))
    put(run / "a.json", spec("d", env="FROM=run"))
    registry = cdi.Registry([str(etc), str(run)])
    assert registry.device("vendor.com/class=d").container_edits.env == ("FROM=run",)
    assert registry.errors == {}


def test_a_device_in_two_files_of_a_directory_is_unresolvable_and_both_files_say_so(etc: Path) -> None:
    one, two = put(etc / "a.json", spec("d", "e")), put(etc / "b.json", spec("d"))
    registry = cdi.Registry([str(etc)])
    assert registry.devices() == ["vendor.com/class=e"]
    message = (
        f"device vendor.com/class=d is in {two} and in {one}, files of one directory, "
        "so no runtime resolves it: remove it from one of them"
    )
    assert {path: [*map(str, errors)] for path, errors in registry.errors.items()} == {one: [message], two: [message]}


def test_a_broken_file_hides_no_other(etc: Path) -> None:
    put(etc / "a.json", spec("d"))
    broken = put(etc / "b.json", "{")
    registry = cdi.Registry([str(etc)])
    assert registry.devices() == ["vendor.com/class=d"]
    assert [*registry.errors] == [broken]
    assert isinstance(registry.errors[broken][0], cdi.ParseError)


def test_an_unreadable_directory_hides_no_other_and_is_an_error(etc: Path, run: Path) -> None:
    etc.symlink_to(etc)
    put(run / "a.json", spec("d"))
    registry = cdi.Registry([str(etc), str(run)])
    assert registry.devices() == ["vendor.com/class=d"]
    assert "cannot read CDI directory" in str(registry.errors[str(etc)][0])


def test_what_is_odd_in_a_file_is_a_warning_of_it(etc: Path) -> None:
    path = put(etc / "a.yaml", cdi.dumps_yaml(spec("12:34")).replace('"', "").replace("0.3.0", "0.5.0"))
    registry = cdi.Registry([str(etc)])
    assert (registry.devices(), registry.errors) == (["vendor.com/class=12:34"], {})
    assert "'12:34'" in str(registry.warnings[path][0])


def test_specs_are_listed_by_vendor_and_class_in_the_order_they_count(etc: Path, run: Path) -> None:
    put(run / "a.json", spec("d"))
    put(etc / "b.json", spec("d"))
    put(etc / "a.json", spec("d", kind="other.org/net"))
    registry = cdi.Registry([str(etc), str(run)])
    assert [file.path for file in registry.specs("vendor.com")] == [str(etc / "b.json"), str(run / "a.json")]
    assert [(file.priority, file.spec.kind) for file in registry.specs()] == [
        (0, "other.org/net"),
        (0, "vendor.com/class"),
        (1, "vendor.com/class"),
    ]
    assert [file.spec.kind for file in registry.specs(class_="net")] == ["other.org/net"]
    assert registry.specs("vendor.com", "net") == []
    assert (registry.vendors(), registry.classes()) == (["other.org", "vendor.com"], ["class", "net"])


def test_names_that_cannot_be_resolved_are_all_named_in_their_order(etc: Path) -> None:
    """SPEC.md "Error Handling": a kind or device that does not exist is an error."""
    put(etc / "a.json", spec("d"))
    with pytest.raises(cdi.UnresolvableError) as raised:
        cdi.Registry([str(etc)]).inject({}, "vendor.com/class=x", "vendor.com/class=d", "kvm0", "vendor.com/class=x")
    assert raised.value.names == ("vendor.com/class=x", "kvm0", "vendor.com/class=x")
    assert str(raised.value) == "unresolvable CDI devices vendor.com/class=x, kvm0, vendor.com/class=x"


@pytest.mark.parametrize("look_up", [cdi.Registry.device, cdi.Registry.spec_path_of, cdi.Registry.resolve])
def test_a_name_of_no_device_is_unresolvable(etc: Path, look_up: Any) -> None:
    """SPEC.md "Error Handling": a device that does not exist is an error."""
    with pytest.raises(cdi.UnresolvableError, match="unresolvable CDI devices kvm0"):
        look_up(cdi.Registry([str(etc)]), "kvm0")


def test_the_edits_of_a_spec_come_once_before_those_of_its_devices(etc: Path) -> None:
    """SPEC.md "OCI Edits": those of a spec are made for any of its devices, those of a device if it is asked for."""
    top = cdi.ContainerEdits(env=("TOP=1",))
    devices = tuple(cdi.Device(name, cdi.ContainerEdits(env=(f"D={name}",))) for name in "de")
    put(etc / "a.json", cdi.Spec("vendor.com/class", devices, container_edits=top))
    edits = cdi.Registry([str(etc)]).resolve("vendor.com/class=e", "vendor.com/class=d")
    assert edits == (top, devices[1].container_edits, devices[0].container_edits)


def test_injecting_leaves_nothing_to_the_host_but_what_is_below_its_root(etc: Path, tmp_path: Path) -> None:
    """SPEC.md "Error Handling": a resource that does not exist is an error."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    node = cdi.DeviceNode("/dev/p", host_path="/pipe")
    put(etc / "a.json", cdi.Spec("vendor.com/class", (cdi.Device("d", cdi.ContainerEdits(device_nodes=(node,))),)))
    registry = cdi.Registry([str(etc)])
    assert registry.inject({}, "vendor.com/class=d", host_root=str(tmp_path))["linux"]["devices"][0]["type"] == "p"
    with pytest.raises(cdi.Error, match='failed to stat CDI host device "/pipe"'):
        registry.inject({}, "vendor.com/class=d", host_root=str(etc))


def test_changes_count_when_they_are_looked_for(etc: Path) -> None:
    registry = cdi.Registry([str(etc)])
    put(etc / "a.json", spec("d"))
    assert registry.devices() == []
    registry.refresh()
    assert registry.devices() == ["vendor.com/class=d"]


def test_only_what_has_changed_is_read_again(etc: Path, reads: list[str]) -> None:
    one, two = put(etc / "a.json", spec("d")), put(etc / "b.json", "{")
    registry = cdi.Registry([str(etc)])
    assert reads == [one, two]
    registry.refresh()
    assert reads == [one, two]
    put(etc / "b.json", spec("e"))
    registry.refresh()
    assert reads == [one, two, two]
    assert (registry.devices(), registry.errors) == (["vendor.com/class=d", "vendor.com/class=e"], {})


def test_a_file_that_takes_the_place_of_another_is_read(etc: Path) -> None:
    put(etc / "a.json", spec("d"))
    registry = cdi.Registry([str(etc)])
    os.replace(put(etc / "new", spec("e")), etc / "a.json")
    registry.refresh()
    assert registry.devices() == ["vendor.com/class=e"]


def test_a_file_that_is_gone_takes_its_devices_and_errors_along(etc: Path) -> None:
    put(etc / "a.json", spec("d"))
    put(etc / "b.json", spec("d"))
    registry = cdi.Registry([str(etc)])
    (etc / "b.json").unlink()
    registry.refresh()
    assert (registry.devices(), registry.errors) == (["vendor.com/class=d"], {})


def test_the_target_of_a_link_is_watched_too(etc: Path, tmp_path: Path) -> None:
    target = put(tmp_path / "target", spec("d"))
    etc.mkdir()
    (etc / "a.json").symlink_to(target)
    registry = cdi.Registry([str(etc)])
    put(tmp_path / "target", spec("dd"))
    registry.refresh()
    assert registry.devices() == ["vendor.com/class=dd"]


def test_errors_that_are_handed_out_are_a_copy(etc: Path) -> None:
    path = put(etc / "a.json", "{")
    registry = cdi.Registry([str(etc)])
    registry.errors[path].clear()
    assert len(registry.errors[path]) == 1
