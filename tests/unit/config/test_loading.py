import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet_plugin import config
from kubelet_plugin.config import schema
from kubelet_plugin.config.files import SIZE_LIMIT
from kubelet_plugin.config.loading import load_all
from kubelet_plugin.config.presets import PRESETS
from kubelet_plugin.errors import ConfigurationError, ConfigurationFileError

DOMAIN = "vendor.example"


def put(path: Path, *resources: str, head: str = "") -> str:
    path.write_text(f"version: v1\n{head}resources:\n" + "".join(f"- {{{each}}}\n" for each in resources))
    return str(path)


def named(name: str) -> str:
    return f"name: {name}, devices: [{{path: /dev/a}}]"


def load(*paths: str | Path, domain: str = DOMAIN) -> tuple[schema.Resource, ...]:
    return config.load(map(str, paths), domain=domain)


def problems(*paths: str | Path) -> list[str]:
    with pytest.raises(ConfigurationFileError) as caught:
        load(*paths)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem) for problem in caught.value.problems]


def names(*paths: str | Path) -> list[str | None]:
    return [resource.name for resource in load(*paths)]


def test_a_name_without_a_domain_gets_that_of_its_file_or_the_one_given(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", named("one"), named("other.example/two"))
    b = put(tmp_path / "b.yaml", named("three"), head="domain: file.example\n")
    assert names(a, b) == ["vendor.example/one", "other.example/two", "file.example/three"]


def test_a_domain_that_is_none_is_told_once(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", named("one"), named("two"), head="domain: Not/One\n")
    assert problems(a) == [
        f"{a}:2:1: domain: `Not/One` is no DNS domain; write one in lower case, as `vendor.example`",
    ]


def test_a_directory_stands_for_its_files_sorted_by_name(tmp_path: Path) -> None:
    put(tmp_path / "b.yml", named("b"))
    put(tmp_path / "a.yaml", named("a"))
    put(tmp_path / "c.json", named("c"))
    put(tmp_path / "notes.txt", named("d"))
    put(tmp_path / ".a.yaml", named("e"))
    assert names(tmp_path) == [f"{DOMAIN}/{name}" for name in "abc"]


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "..2026_11_28").mkdir()
    put(tmp_path / "..2026_11_28/a.yaml", named("a"))
    (tmp_path / "..data").symlink_to("..2026_11_28")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert names(tmp_path) == [f"{DOMAIN}/a"]


def test_an_empty_directory_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    remedy = "no file in this directory ends in .yaml, .yml or .json; put one there, or name another"
    assert problems(tmp_path) == [f"{tmp_path}: {remedy}"]


def test_a_missing_file_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    assert problems(path) == [
        f"{path}: this file cannot be read: No such file or directory; write it, or name another",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_must_not_be_read_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch(mode=0)
    assert "this file cannot be read: Permission denied" in problems(tmp_path)[0]


def test_a_directory_among_the_files_of_one_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    assert "this file cannot be read: Is a directory" in problems(tmp_path)[0]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * (SIZE_LIMIT + 1))
    assert problems(path) == [
        f"{path}: this file is larger than 1048576 bytes; make several files of it, in a directory",
    ]


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    assert "this file is larger than" in problems("/dev/zero")[0]


def test_a_file_that_is_no_utf_8_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a\nb\xff")
    assert problems(path) == [f"{path}:2: this is no UTF-8; write plain text, or see whether it is the file you mean"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = put(tmp_path / "a.yaml", named("a"))
    Path(path).write_bytes(b"\xef\xbb\xbf" + Path(path).read_bytes())
    assert names(path) == [f"{DOMAIN}/a"]


def test_the_problems_of_all_files_are_told_by_file_and_line(tmp_path: Path) -> None:
    b = put(tmp_path / "b.yaml", "count: 0", "name: x, devices: [{}]", "name: y, grace: x, devices: [{}]")
    a = put(tmp_path / "a.yaml", "name: fine, devices: [{path: /}]")
    found = [problem.split(": ")[0] for problem in problems(b, "/absent", a)]
    assert found == [f"{b}:3:4", f"{b}:4:23", f"{b}:5:13", "/absent", f"{a}:3:27"]


def test_a_problem_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load(tmp_path)


def test_a_name_is_there_once_in_all_files_and_both_places_are_told(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", named("x"), named("one"))
    b = put(tmp_path / "b.yaml", named("vendor.example/one"))
    assert problems(a, b) == [
        f"{b}:3:4: resources[0].name: the name `vendor.example/one` is that of the resource at {a}:4, too; write another"
    ]


def test_a_file_is_given_once(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", named("one"), named("two"))
    assert problems(a, a) == [f"{a}: this file is given twice, first as `{a}`; name it once"]


def test_a_file_is_given_once_whatever_leads_to_it(tmp_path: Path) -> None:
    put(tmp_path / "a.yaml", named("one"))
    link = tmp_path / "link"
    link.symlink_to("a.yaml")
    assert problems(link, tmp_path) == [f"{tmp_path}/a.yaml: this file is given twice, first as `{link}`; name it once"]


def test_two_resources_have_two_cdi_kinds(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", named("one"), f"{named('two')}, cdi_kind: vendor.example/one")
    (found,) = problems(a)
    assert found.startswith(
        f"{a}:4:42: resources[1].cdi_kind: the CDI kind `vendor.example/one` is that of the resource at"
    )


def test_a_resource_without_cdi_has_no_kind_to_share(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", named("one"), f"{named('two')}, cdi_kind: vendor.example/one, inject: device-spec")
    assert len(load(a)) == 2


def test_two_resources_have_two_sockets(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", named("vendor.example/b.c"), named("vendor.example.b/c"))
    (found,) = problems(a)
    assert "the socket `vendor.example.b.c.sock` is that of the resource at" in found


def test_a_resource_has_a_name_or_a_preset(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", "devices: [{path: /dev/a}]")
    assert problems(a) == [f"{a}:3:3: resources[0].name: this is missing; write a name, or a `preset`"]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_right(name: str, tmp_path: Path) -> None:
    assert names(put(tmp_path / "a.yaml", f"preset: {name}")) == [f"{DOMAIN}/{name}"]


def test_a_preset_says_all_that_is_not_said(tmp_path: Path) -> None:
    (resource,) = load(put(tmp_path / "a.yaml", "preset: kvm"))
    assert resource.name == f"{DOMAIN}/kvm"
    assert resource.devices


def test_a_preset_is_in_the_domain_of_its_file(tmp_path: Path) -> None:
    (resource,) = load(put(tmp_path / "a.yaml", "preset: kvm", head="domain: file.example\n"))
    assert resource.name == "file.example/kvm"


def test_what_is_said_goes_before_the_preset(tmp_path: Path) -> None:
    preset, named_, replaced = load(
        put(
            tmp_path / "a.yaml",
            "preset: kvm",
            "preset: kvm, name: mine, count: 7, permissions: r, max_flips: 0",
            "preset: kvm, name: yours, devices: [{path: /dev/a}]",
        )
    )
    assert (named_.name, named_.count, named_.permissions, named_.max_flips) == (f"{DOMAIN}/mine", 7, "r", 0)
    assert named_.devices == preset.devices
    assert [device.path for device in replaced.devices] == ["/dev/a"]
    assert replaced.probe == preset.probe


def test_a_preset_that_does_not_exist_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    a = put(tmp_path / "a.yaml", "preset: kmv", "preset: zzzzz")
    first, second = problems(a)
    assert first == f"{a}:3:4: resources[0].preset: there is no preset `kmv`; did you mean `kvm`?"
    assert "there is no preset `zzzzz`; there are `" in second


FOREIGN = """\
domain: foreign.example
devices:
- name: serial
  groups:
  - count: 2
    paths:
    - path: /dev/ttyUSB*
  - paths:
    - path: /etc/only-a-mount
      type: Mount
"""


def test_a_file_of_generic_device_plugin_is_found_out_and_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FOREIGN)
    (resource,) = load(tmp_path)
    assert resource.name == "foreign.example/serial"
    assert resource.devices[0].path == "/dev/ttyUSB*"


def test_the_domain_of_a_file_of_generic_device_plugin_that_has_none_is_that_of_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FOREIGN.partition("\n")[2])
    assert names(tmp_path) == [f"{DOMAIN}/serial"]


def test_what_cannot_be_carried_over_is_noted_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FOREIGN)
    (note,) = load_all([str(tmp_path)], domain=DOMAIN).notes
    assert (note.file, note.line) == (str(tmp_path / "a.yaml"), 8)
    assert "left out" in note.message


def test_a_file_is_read_in_the_vocabulary_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FOREIGN)
    with pytest.raises(ConfigurationFileError, match="unknown field `devices`"):
        load_all([str(tmp_path)], domain=DOMAIN, form="kubelet-plugin")
    put(tmp_path / "a.yaml", named("a"))
    with pytest.raises(ConfigurationFileError, match="there are no `devices` in it"):
        load_all([str(tmp_path)], domain=DOMAIN, form="generic-device-plugin")


def test_names_of_two_vocabularies_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FOREIGN)
    put(tmp_path / "b.yaml", named("foreign.example/serial"))
    assert f"is that of the resource at {tmp_path}/a.yaml:3, too" in problems(tmp_path)[0]


def test_a_file_without_resources_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: v1\n")
    assert load(tmp_path) == ()


def test_the_schema_is_there_without_what_reads_files() -> None:
    code = "import sys; from kubelet_plugin.config import schema; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"yaml", "difflib", "json", "kubelet_plugin.config.loading"} & {*loaded} == set()


words = st.sampled_from(
    [
        "",
        "a",
        "A",
        "0403",
        "/",
        "/dev/a",
        "/dev/a*",
        "/dev/x/",
        "..",
        "[",
        "{",
        "{a}",
        "a b",
        "a::b",
        "a/b",
        "\n",
        "0",
        "1",
    ]
)
lists = st.lists(words, max_size=3)
texts = st.dictionaries(words, words, max_size=2)
usb = st.fixed_dictionaries({"vendor": words, "product": words}, optional={"serial": words})
pci = st.fixed_dictionaries({"vendor": words}, optional={"device": words, "class": words})
parents = st.fixed_dictionaries({}, optional={"subsystem": words, "driver": words, "attributes": texts})
sysfs = st.fixed_dictionaries({"subsystem": words}, optional={"name": words, "parents": st.lists(parents, max_size=2)})
members = {"path": words, "usb": usb, "pci": pci, "sysfs": sysfs, "nodes": lists, "container_path": words}
options: dict[str, st.SearchStrategy[Any]] = {
    "count": st.sampled_from(["1", "50000", "100000"]),
    "container_path": words,
    "env": texts,
    "annotations": texts,
    "mounts": st.lists(st.fixed_dictionaries({"host_path": words}, optional={"container_path": words}), max_size=2),
    "additional_gids": lists,
    "numa": st.sampled_from(["0", "none", "auto"]),
    "probe": st.fixed_dictionaries({}, optional={"command": lists, "entry_point": words, "deadline": words}),
    "enabled_when": st.fixed_dictionaries({}, optional={"module": lists, "path": words}),
}
groups = st.lists(st.fixed_dictionaries({}, optional=members), max_size=2)
devices = st.fixed_dictionaries({}, optional={**options, **members, "id": words, "id_by": words, "group": groups})
resources = st.fixed_dictionaries(
    {"name": words, "devices": st.lists(devices, max_size=3)},
    optional={**options, "cdi_kind": words, "preferred": words, "inject": st.just("device-spec")},
)


@given(st.lists(resources, max_size=3))
def test_whatever_is_written_is_loaded_or_refused_with_places(written: list[Any]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"version": "v1", "resources": written}, file)
        file.flush()
        with contextlib.suppress(ConfigurationFileError):
            assert len(load(file.name)) == len(written)
            return
        assert all(problem.startswith(f"{file.name}:1:") for problem in problems(file.name))
