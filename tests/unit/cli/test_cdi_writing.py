"""The verbs that make files and remove them: generate, install and remove."""

import json
import os
import stat
from pathlib import Path

import pytest

from kubelet_plugin import cdi
from kubelet_plugin.cdi.parsing import SIZE_LIMIT
from tests.unit.cli.cdi_command import put, run, spec

NULL = ("--kind", "vendor.com/class", "--device", "null=/dev/null")


def generated(*arguments: str | Path) -> cdi.Spec:
    result = run("generate", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return cdi.parse(result.stdout.encode())


def test_a_device_has_the_nodes_that_are_given_with_the_modes_of_the_host() -> None:
    made = generated("--kind", "vendor.com/class", "--device", "d=/dev/null,/dev/zero", "--device", "e=/dev/full")
    assert [device.name for device in made.devices] == ["d", "e"]
    mode = stat.S_IMODE(os.stat("/dev/null").st_mode)
    assert made.devices[0].container_edits.device_nodes == tuple(
        cdi.DeviceNode(path, permissions="rw", file_mode=mode) for path in ("/dev/null", "/dev/zero")
    )


def test_the_version_is_the_lowest_unless_another_is_given() -> None:
    assert generated(*NULL).version == "0.3.0"
    assert generated(*NULL, "--version", "0.6.0").version == "0.6.0"


def test_variables_and_mounts_come_with_every_device() -> None:
    made = generated(*NULL, "--env", "A=1", "--mount", "/a:/b", "--mount", "/c:/d:rw,rbind")
    assert made.container_edits == cdi.ContainerEdits(
        env=("A=1",),
        mounts=(cdi.Mount("/a", "/b", options=("ro", "bind")), cdi.Mount("/c", "/d", options=("rw", "rbind"))),
    )


def test_a_link_is_shown_to_runtimes_as_what_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    (node,) = generated("--kind", "vendor.com/class", "--device", f"d={link}").devices[0].container_edits.device_nodes
    assert (node.path, node.host_path) == (str(link), "/dev/null")


def test_what_is_generated_is_injected_and_is_valid(tmp_path: Path) -> None:
    assert run("generate", *NULL, "--output", tmp_path / "etc" / "a.json").exit_code == 0
    result = run("inject", "-", "vendor.com/class=null", "--spec-dir", tmp_path / "etc", text="{}")
    assert json.loads(result.stdout)["linux"]["devices"][0]["path"] == "/dev/null"
    assert run("validate", tmp_path / "etc", "--strict").exit_code == 0


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_standard_output_gets_the_form_that_is_asked_for(form: str) -> None:
    output = run("generate", *NULL, "--format", form).stdout
    assert output.startswith("{") == (form == "json")
    assert cdi.parse(output.encode()) == generated(*NULL)


@pytest.mark.parametrize(("name", "begin"), [("a.yaml", "cdiVersion: 0.3.0\n"), ("a.json", '{"cdiVersion":"0.3.0"')])
def test_a_file_gets_the_form_that_its_name_says(tmp_path: Path, name: str, begin: str) -> None:
    result = run("generate", *NULL, "--output", tmp_path / name)
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / name).read_text().startswith(begin)


def test_the_devices_of_a_plugin_are_those_that_it_offers(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    os.symlink(os.path.relpath("/dev/random", tmp_path / "dev"), tmp_path / "dev" / "crand7")
    made = generated("--plugin", "crand", "--host-root", tmp_path)
    assert (made.kind, [device.name for device in made.devices]) == ("github.com.ihcsim/crand", ["crand7"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--kind", "vendor.com/c", "--device", "d=/dev/null"), "class 'c' has one character"),
        (("--kind", "vendor.com/class", "--device", "-d=/dev/null"), "device name '-d' starts with '-'"),
        ((*NULL, "--device", "null=/dev/null"), "device 'null' is there more than once"),
        (("--kind", "vendor.com/class", "--device", "d=/dev/none/x"), "cannot look at /dev/none/x: No such file"),
        (("--kind", "vendor.com/class", "--device", "d=/proc"), "/proc is no device node: use --mount"),
        ((*NULL, "--version", "0.2.0"), "version '0.2.0' is none of"),
        ((*NULL, "--env", "A"), "env 'A' has not the form NAME=value"),
        (("--plugin", "crand", "--host-root", "/proc"), "the crand plugin has nothing to offer here"),
    ],
)
@pytest.mark.parametrize("target", ["-", "a.json"])
def test_what_must_not_be_written_is_not(tmp_path: Path, target: str, arguments: tuple[str, ...], reason: str) -> None:
    path = target if target == "-" else str(tmp_path / target)
    result = run("generate", *arguments, "--output", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr
    assert os.listdir(tmp_path) == []


def test_a_spec_is_installed_under_the_name_of_its_kind(tmp_path: Path) -> None:
    source, etc = put(tmp_path / "any.yaml", cdi.dumps_yaml(spec("d"))), tmp_path / "etc"
    result = run("install", source, "--spec-dir", etc)
    assert (result.exit_code, result.stdout) == (0, f"{etc}/vendor.com-class.json: installed\n")
    assert cdi.read(f"{etc}/vendor.com-class.json") == cdi.read(source)
    assert stat.S_IMODE(os.stat(etc / "vendor.com-class.json").st_mode) == 0o644


def test_a_spec_can_come_from_standard_input(tmp_path: Path) -> None:
    assert run("install", "-", "--spec-dir", tmp_path, text=cdi.dumps(spec("d"))).exit_code == 0
    assert os.listdir(tmp_path) == ["vendor.com-class.json"]


@pytest.mark.parametrize(
    ("options", "name"), [(("--id", "pod1"), "vendor.com-class_pod1.json"), (("--yaml",), "vendor.com-class.yaml")]
)
def test_what_is_installed_with_an_id_or_as_yaml_is_removed_with_the_same(
    tmp_path: Path, options: tuple[str, ...], name: str
) -> None:
    run("install", "-", "--spec-dir", tmp_path, *options, text=cdi.dumps(spec("d")))
    assert os.listdir(tmp_path) == [name]
    assert "is not there" in run("remove", "vendor.com/class", "--spec-dir", tmp_path).stdout
    assert run("remove", "vendor.com/class", "--spec-dir", tmp_path, *options).stdout.endswith(f"{name}: removed\n")
    assert os.listdir(tmp_path) == []


def test_a_later_spec_of_the_kind_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    for name in ("d", "e"):
        assert run("install", "-", "--spec-dir", tmp_path, text=cdi.dumps(spec(name))).exit_code == 0
    assert cdi.Registry([str(tmp_path)]).devices() == ["vendor.com/class=e"]


def test_two_specs_for_one_file_are_not_installed(tmp_path: Path) -> None:
    one, two = put(tmp_path / "one.json", spec("d")), put(tmp_path / "two.json", spec("e"))
    result = run("install", one, two, "--spec-dir", tmp_path / "etc")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{two} and another of the files would both be {tmp_path}/etc/vendor.com-class.json" in result.stderr
    assert not (tmp_path / "etc").exists()


def test_none_is_installed_if_one_would_make_a_device_unresolvable(tmp_path: Path) -> None:
    good, bad = put(tmp_path / "good.json", spec("d", kind="other.org/net")), put(tmp_path / "bad.json", spec("d"))
    put(tmp_path / "etc" / "hand-made.json", spec("d"))
    assert run("install", good, bad, "--spec-dir", tmp_path / "etc").exit_code == 1
    assert os.listdir(tmp_path / "etc") == ["hand-made.json"]


def test_of_standard_input_no_more_is_read_than_a_spec_has(tmp_path: Path) -> None:
    result = run("install", "-", "--spec-dir", tmp_path, text=" " * (2 * SIZE_LIMIT))
    assert f"standard input: {SIZE_LIMIT + 1} bytes are too many" in result.stderr


def test_none_is_installed_if_one_is_not_valid(tmp_path: Path) -> None:
    good, bad = put(tmp_path / "good.json", spec("d")), put(tmp_path / "bad.json", "{")
    result = run("install", good, bad, "--spec-dir", tmp_path / "etc")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error: {bad}:1: no JSON" in result.stderr
    assert not (tmp_path / "etc").exists()


def test_what_would_make_a_runtime_crash_is_not_installed(tmp_path: Path) -> None:
    source = put(tmp_path / "a.json", spec("d", kind="v/class"))
    result = run("install", source, "--spec-dir", tmp_path / "etc")
    assert result.exit_code == 1
    assert "vendor 'v' has one character: container runtimes crash on it" in result.stderr
    assert not (tmp_path / "etc").exists()


def test_what_another_file_of_the_directory_has_is_not_installed(tmp_path: Path) -> None:
    other = put(tmp_path / "hand-made.yaml", cdi.dumps_yaml(spec("d", "e")))
    result = run("install", "-", "--spec-dir", tmp_path, text=cdi.dumps(spec("e", "f")))
    assert (result.exit_code, os.listdir(tmp_path)) == (1, ["hand-made.yaml"])
    assert f"{other} has e of vendor.com/class already" in result.stderr


def test_the_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    path = put(tmp_path / "a-b-c.json", spec("d", kind="a-b/cc"))
    os.rename(path, tmp_path / "a-b-cc.json")
    result = run("install", "-", "--spec-dir", tmp_path, text=cdi.dumps(spec("d", kind="aa/b-cc")))
    assert result.exit_code == 0
    os.rename(tmp_path / "aa-b-cc.json", tmp_path / "a-b-cc.json")
    result = run("install", "-", "--spec-dir", tmp_path, text=cdi.dumps(spec("d", kind="a-b/cc")))
    assert result.exit_code == 1
    assert "is of the kind aa/b-cc: it is not replaced by one of a-b/cc" in result.stderr


def test_what_is_no_spec_of_the_kind_is_not_removed(tmp_path: Path) -> None:
    path = put(tmp_path / "vendor.com-class.json", spec("d", kind="vendor.com-class/xx"))
    result = run("remove", "vendor.com/class", "--spec-dir", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{path} is of the kind vendor.com-class/xx, not vendor.com/class: it is left alone" in result.stderr
    assert os.path.exists(path)
