from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin.config.presets import PRESETS
from kubelet_plugin.config.scalars import Duration, FileMode, HexId
from kubelet_plugin.config.schema import (
    Configuration,
    Device,
    EnabledWhen,
    Member,
    Mount,
    Pci,
    Probe,
    Resource,
    Sysfs,
    SysfsParent,
    Usb,
)
from kubelet_plugin.config.writing import write
from tests.configurations import read

# What a file cannot hold: see what reads it.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        "0042",
        "yes",
        "null",
        "~",
        "1e3",
        "12:34",
        "2026-01-01",
        "#",
        "- a",
        "a: b",
        "*",
        "&a",
        "!t",
        "{x}",
        "",
        " a ",
        "\n",
    ]
)
PATH = TEXT.map("/{}".format)
HEX = st.from_regex(r"[0-9a-f]{2,6}", fullmatch=True).map(HexId)
COUNT = st.integers(1, 100_000)
DURATION = (
    st.integers(0, 10**8).map(lambda milliseconds: Duration(milliseconds / 1000))
    | st.floats(0, 1e12).map(Duration)
    | st.sampled_from([Duration(each) for each in (0.5, 30, 300, 5400, 1e-9)])
)
MAPPING = st.dictionaries(TEXT, TEXT, max_size=2)
IDS = st.integers(0, 4_294_967_294)


def maybe(strategy: Any) -> Any:
    return st.none() | strategy


def several(strategy: Any, least: int = 0) -> Any:
    return st.lists(strategy, min_size=least, max_size=2).map(tuple)


ONE_OR_MORE = maybe(TEXT.filter(bool) | several(TEXT, 1))
USB = st.builds(Usb, vendor=HEX, product=HEX, serial=maybe(TEXT))
PCI = st.builds(Pci, vendor=HEX, device=maybe(HEX), class_=maybe(HEX))
PARENT = {"driver": maybe(TEXT), "attributes": MAPPING, "properties": MAPPING}
SYSFS = st.builds(
    Sysfs,
    subsystem=TEXT,
    name=maybe(TEXT),
    parents=several(st.builds(SysfsParent, subsystem=maybe(TEXT), **PARENT)),
    **PARENT,
)
PERMISSIONS = maybe(st.sampled_from(["r", "rw", "mrw"]))
MATCHER = {
    "path": maybe(PATH),
    "usb": maybe(USB),
    "pci": maybe(PCI),
    "sysfs": maybe(SYSFS),
    "nodes": maybe(several(TEXT, 1)),
}
OPTIONS = {
    "count": maybe(COUNT),
    "permissions": PERMISSIONS,
    "container_path": maybe(PATH),
    "uid": maybe(IDS),
    "gid": maybe(IDS),
    "file_mode": maybe(st.integers(0, 0o777).map(FileMode)),
    "env": MAPPING,
    "mounts": several(st.builds(Mount, host_path=PATH, container_path=maybe(PATH), read_only=st.booleans())),
    "annotations": MAPPING,
    "additional_gids": maybe(st.just("auto") | several(IDS)),
    "probe": maybe(
        st.sampled_from(["exists", "open", "kvm"])
        | st.builds(Probe, command=maybe(several(TEXT, 1)), entry_point=maybe(TEXT), deadline=maybe(DURATION))
    ),
    "grace": maybe(DURATION),
    "numa": maybe(st.sampled_from(["auto", "none"]) | st.integers(0, 8)),
    "enabled_when": maybe(st.builds(EnabledWhen, module=ONE_OR_MORE, path=ONE_OR_MORE)),
}
MEMBER = st.builds(Member, optional=st.booleans(), permissions=PERMISSIONS, container_path=maybe(PATH), **MATCHER)
DEVICE = st.builds(
    Device,
    id=maybe(st.sampled_from(["kvm0", "0", "1e3"])),
    id_by=maybe(st.sampled_from(["serial", "port", "parent"])),
    group=maybe(several(MEMBER, 1)),
    **MATCHER,
    **OPTIONS,
)
RESOURCE = st.builds(
    Resource,
    name=maybe(TEXT.filter(bool)),
    preset=maybe(TEXT),
    devices=several(DEVICE),
    cdi_kind=maybe(TEXT),
    preferred=maybe(st.sampled_from(["packed", "spread", "numa"])),
    inject=maybe(st.sampled_from(["both", "cdi", "device-spec", "cdi-annotation"])),
    max_flips=maybe(st.integers(0, 100)),
    **OPTIONS,
)
CONFIGURATION = st.builds(Configuration, version=st.just("v1"), domain=maybe(TEXT), resources=several(RESOURCE))


def written(*devices: Device, **options: Any) -> str:
    return write(Configuration(version="v1", resources=(Resource(name="thing", devices=devices, **options),)))


@settings(deadline=None, max_examples=40)
@given(CONFIGURATION)
def test_what_is_written_is_read_as_the_same(configuration: Configuration) -> None:
    assert read(write(configuration), "written.yaml") == configuration


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_comments_say_nothing_to_a_reader(comments: list[str]) -> None:
    configuration = Configuration(version="v1", resources=(PRESETS["fuse"],))
    assert read(write(configuration, comments), "written.yaml") == configuration


def test_names_go_first_and_long_lists_last_and_defaults_nowhere() -> None:
    text = written(Device(group=(Member(path="/dev/a"),), id="a", count=2), count=4, mounts=(Mount(host_path="/x"),))
    assert text == (
        "version: v1\n"
        "resources:\n"
        "- name: thing\n"
        "  count: 4\n"
        "  mounts:\n"
        "  - host_path: /x\n"
        "  devices:\n"
        "  - id: a\n"
        "    count: 2\n"
        "    group:\n"
        "    - path: /dev/a\n"
    )


def test_a_device_of_hexadecimal_ids_is_on_one_line_and_they_are_quoted() -> None:
    text = written(Device(usb=Usb(vendor=HexId("0403"), product=HexId("6e01")), nodes=("ttyUSB*",)))
    assert '- usb: {vendor: "0403", product: "6e01"}\n    nodes: [ttyUSB*]\n' in text


def test_a_mode_is_written_as_chmod_has_it() -> None:
    assert "  file_mode: 0060\n" in written(file_mode=FileMode(0o060))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(300, "5m"), (5400, "1h30m"), (0.5, "500ms"), (61.5, "1m1s500ms"), (0, "0"), (0.0001, "0.0001")],
)
def test_a_duration_is_written_in_the_units_that_people_use(seconds: float, text: str) -> None:
    assert f"  grace: {text}\n" in written(grace=Duration(seconds))


@given(TEXT)
def test_text_is_text_to_other_readers_of_yaml_too(text: str) -> None:
    (resource,) = yaml.safe_load(written(env={"A": text}))["resources"]
    assert resource["env"] == {"A": text}


def test_a_long_comment_is_several_lines() -> None:
    text = write(Configuration(version="v1"), ["word " * 60])
    head = text.partition("version")[0].splitlines()
    assert len(head) > 1
    assert all(line.startswith("#") and len(line) <= 120 for line in head)
