import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet_plugin.config import checking
from kubelet_plugin.config import generic_device_plugin as gdp
from kubelet_plugin.config.completing import completed
from kubelet_plugin.config.documents import parse
from kubelet_plugin.config.generic_device_plugin import Converted
from kubelet_plugin.config.presets import PRESETS
from kubelet_plugin.config.scalars import HexId
from kubelet_plugin.config.schema import Configuration, Device, Member, Mount, Resource, Usb
from kubelet_plugin.config.writing import write
from kubelet_plugin.errors import ConfigurationFileError
from tests.configurations import read

BUS = ("bus/usb/*/*",)


def converted(text: str) -> Converted:
    return gdp.read(text, "f.yaml", "vendor.example")


def groups(text: str) -> Converted:
    """Of one resource with these groups."""
    return converted(f"devices:\n- name: thing\n  groups:\n  - {text}")


def resource(text: str) -> Resource:
    found = groups(text)
    assert found.left_out == ()
    (made,) = found.configuration.resources
    return made


def device(text: str) -> Device:
    (made,) = resource(text).devices
    return made


def told(text: str) -> str:
    """The one thing that is left out of groups, whether a resource is left of them or not."""
    (note,) = (note for note in groups(text).left_out if "is not offered" not in note.message)
    return str(note)


def wrong(text: str) -> list[str]:
    with pytest.raises(ConfigurationFileError) as caught:
        converted(text)
    return [str(problem) for problem in caught.value.problems]


# Detection.


@pytest.mark.parametrize(
    "text",
    [
        "devices: [{name: a, groups: [{paths: [{path: /dev/a}]}]}]",
        "domain: vendor.example\ndevice: [{name: a, groups: []}]",
        '{"Devices": [{"Name": "a", "Groups": []}]}',
    ],
)
def test_its_file_is_detected(text: str) -> None:
    assert gdp.looks_like(parse(text, "f").data)


@pytest.mark.parametrize(
    "text",
    [
        write(Configuration(version="v1", domain="vendor.example", resources=tuple(PRESETS.values()))),
        "version: v1\ndevices: [{name: a, groups: []}]",
        "resources: [{name: a}]\ndevices: [{name: a, groups: []}]",
        "devices: [{path: /dev/a}]",
        "devices: []",
        "devices: {groups: []}",
        "domain: vendor.example",
        "- groups: []",
        "groups",
        "",
    ],
)
def test_what_is_ours_or_anything_else_is_not_taken_for_its_file(text: str) -> None:
    assert not gdp.looks_like(parse(text, "f").data)


# The file.


def test_the_file_says_the_domain() -> None:
    found = converted("domain: other.example\ndevices: [{name: a, groups: [{paths: [{path: /dev/a}]}]}]")
    assert found.configuration.domain == "other.example"


def test_a_domain_is_given_where_the_file_says_none() -> None:
    assert groups("paths: [{path: /dev/a}]").configuration.domain == "vendor.example"


def test_its_own_domain_is_meant_where_nobody_says_one() -> None:
    found = gdp.read("devices: [{name: a, groups: [{paths: [{path: /dev/a}]}]}]", "f.yaml")
    assert found.configuration.domain == "squat.ai"


def test_each_of_its_devices_is_a_resource_and_it_is_known_where_it_is() -> None:
    found = converted(
        "devices:\n- {name: a, groups: [{paths: [{path: /dev/a}]}]}\n- {name: b, groups: []}\n"
        "- {name: c, groups: [{paths: [{path: /dev/c}]}]}\n"
    )
    assert [each.name for each in found.configuration.resources] == ["a", "c"]
    assert found.keys == (("devices", 0), ("devices", 2))
    assert found.document.place(("devices", 2)) == (4, 3)


def test_keys_may_have_any_case() -> None:
    assert device("PATHS: [{Path: /dev/a, mountpath: /dev/b}]") == Device(path="/dev/a", container_path="/dev/b")


def test_an_empty_value_is_none() -> None:
    assert device("{count: , paths: [{path: /dev/a, mountPath: }]}") == Device(path="/dev/a")


def test_a_key_that_it_does_not_know_is_told() -> None:
    assert told("{cnt: 4, paths: [{path: /dev/a}]}") == (
        "f.yaml:4:6: devices[0].groups[0].cnt: `cnt` is left out: unknown to generic-device-plugin, too"
    )


def test_an_option_in_the_file_is_told_with_ours() -> None:
    (note,) = converted("log-level: debug\ndevices: [{name: a, groups: [{paths: [{path: /dev/a}]}]}]").left_out
    assert "write `--log-level`" in note.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "this is no file of generic-device-plugin"),
        ("version: v1", "there are no `devices` in it"),
        ("devices: 4", "f.yaml:1:1: devices: found `4`; write a list"),
        ("devices: [{groups: []}]", "f.yaml:1:11: devices[0].name: this is missing"),
        ("devices: [{name: a, groups: [{paths: [{path: dev/a}]}]}]", "found `dev/a`; write an absolute path"),
        ("devices: [{name: a, groups: [{paths: [{type: Device}]}]}]", "paths[0].path: this is missing"),
        ("devices: [{name: a, groups: [{paths: [{path: /a, type: Dir}]}]}]", "write `Device` or `Mount`"),
        ("devices: [{name: a, groups: [{paths: [{path: /a, permissions: rwx}]}]}]", "one or more of `r`, `w` and `m`"),
        ("devices: [{name: a, groups: [{count: -1, paths: [{path: /a}]}]}]", "write a whole number"),
        ("devices: [{name: a, groups: [{usb: [{vendor: x, product: 1}]}]}]", "write hexadecimal digits"),
        ("devices: [{name: a, groups: [{usb: [{vendor: 12345, product: 6001}]}]}]", "write four hexadecimal digits"),
        ("devices: [{name: a, groups: [{usb: [{vendor: 0403}]}]}]", "usb[0].product: this is missing"),
        ("devices: [{name: a b, groups: [{paths: [{path: /dev/a}]}]}]", "is not DOMAIN/NAME"),
        ("devices: [{name: a, groups: [{paths: [{path: /dev/../a}]}]}]", "paths[0].path: `/dev/../a` holds `..`"),
        ("devices: [{name: a, groups: [{paths: [{path: /dev/a, mountPath: /}]}]}]", "`/` is the container's root"),
        (
            "devices: [{name: a, groups: [{paths: [{path: /a, mountPath: /m}, {path: /b, mountPath: /m}]}]}]",
            "paths[1].mountPath: `/m` is one path, and this device has several nodes there",
        ),
        ("domain: A B\ndevices: [{name: a, groups: []}]", "f.yaml:1:1: domain: `A B` is no DNS domain"),
        (
            "devices: [{name: a, groups: [{paths: [{path: /dev/a}], usb: [{vendor: 0403, product: 6001}]}]}]",
            "groups[0].usb: `paths` are given, too; make two groups of them",
        ),
    ],
)
def test_what_is_wrong_is_an_error_with_its_place(text: str, words: str) -> None:
    (problem,) = wrong(text)
    assert words in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(wrong("devices: [{name: a b, groups: []}, {name: c d, groups: []}]")) == 2


# Paths.


def test_a_lone_path_is_a_device_of_each_match() -> None:
    assert resource("paths: [{path: /dev/ttyUSB*}]") == Resource(name="thing", devices=(Device(path="/dev/ttyUSB*"),))


def test_groups_of_one_path_are_entries_of_one_resource() -> None:
    made = resource("paths: [{path: /dev/ttyUSB*}]\n  - paths: [{path: /dev/ttyACM*}]")
    assert made.devices == (Device(path="/dev/ttyUSB*"), Device(path="/dev/ttyACM*"))


def test_permissions_are_our_default_where_none_are_given() -> None:
    assert device("paths: [{path: /dev/a}]").permissions is None


def test_permissions_that_are_given_stay() -> None:
    assert device("paths: [{path: /dev/a, permissions: mrw}]").permissions == "rwm"


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_a_limit_means_nothing_for_a_lone_path(limit: int) -> None:
    assert device(f"paths: [{{path: /dev/a*, limit: {limit}}}]") == Device(path="/dev/a*")


def test_a_lone_optional_path_is_as_absent_here_as_there() -> None:
    assert device("paths: [{path: /dev/a, optional: true}]") == Device(path="/dev/a")


def test_a_mount_path_is_a_path_in_the_container() -> None:
    assert device("paths: [{path: /dev/a, mountPath: /dev/serial/}]").container_path == "/dev/serial/"


@pytest.mark.parametrize("path", ["/dev/ttyUSB0", "/dev/ttyUSB*"])
def test_a_mount_path_may_be_one_for_whatever_fits(path: str) -> None:
    made = device(f"paths: [{{path: {path}, mountPath: /dev/modem}}]")
    assert made == Device(path=path, container_path="/dev/modem")


def test_two_groups_may_go_to_one_path() -> None:
    made = resource(
        "paths: [{path: /dev/a, mountPath: /dev/m}, {path: /dev/b}]\n"
        "  - paths: [{path: /dev/c, mountPath: /dev/m}, {path: /dev/d}]"
    )
    paths = [[member.container_path for member in each.group or ()] for each in made.devices]
    assert paths == [["/dev/m", None], ["/dev/m", None]]


def test_paths_may_all_be_optional() -> None:
    made = device("paths: [{path: /dev/a, optional: true}, {path: /dev/b, optional: true}]")
    assert made.group == (Member(path="/dev/a", optional=True), Member(path="/dev/b", optional=True))


@pytest.mark.parametrize(
    ("theirs", "ours"), [("/dev/tty[^S]*", "/dev/tty[!S]*"), (r"/dev/a\*", "/dev/a[*]"), (r"/dev/a\b", "/dev/ab")]
)
def test_a_glob_means_the_same(theirs: str, ours: str) -> None:
    assert device(f"paths: [{{path: '{theirs}'}}]").path == ours


def test_a_count_is_said_once_where_it_is_that_of_all() -> None:
    made = resource("{count: 10, paths: [{path: /dev/a}]}\n  - {count: 10, paths: [{path: /dev/b}]}")
    assert (made.count, [each.count for each in made.devices]) == (10, [None, None])


def test_a_count_is_that_of_its_group() -> None:
    made = resource("{count: 10, paths: [{path: /dev/a}]}\n  - {count: 0, paths: [{path: /dev/b}]}")
    assert (made.count, [each.count for each in made.devices]) == (None, [10, 1])


def test_several_paths_are_one_device() -> None:
    assert device(
        "paths: [{path: /dev/a, mountPath: /dev/c, permissions: r}, {path: /dev/b, optional: true}]"
    ) == Device(
        group=(Member(path="/dev/a", container_path="/dev/c", permissions="r"), Member(path="/dev/b", optional=True))
    )


def test_several_groups_have_ids() -> None:
    made = resource("paths: [{path: /dev/a}, {path: /dev/b}]\n  - paths: [{path: /dev/c}, {path: /dev/d}]")
    assert [each.id for each in made.devices] == ["thing-0", "thing-1"]


@pytest.mark.parametrize(
    ("path", "ours"), [("/dev/snd", "/dev/snd/*"), ("/dev/bus/usb", "/dev/bus/usb/*/*"), ("/dev/x/", "/dev/x/*")]
)
def test_a_directory_is_one_device_of_all_in_it(path: str, ours: str) -> None:
    assert device(f"paths: [{{path: {path}}}]") == Device(group=(Member(path=ours),))


def test_a_group_is_shared_by_its_count() -> None:
    made = resource("{count: 10, paths: [{path: /dev/snd}]}")
    assert made == Resource(name="thing", count=10, devices=(Device(group=(Member(path="/dev/snd/*"),)),))


def test_a_directory_that_is_mounted_elsewhere_is_so_here() -> None:
    (member,) = device("paths: [{path: /dev/snd, mountPath: /dev/sound}]").group or ()
    assert member.container_path == "/dev/sound/"


def test_mounts_go_with_the_node() -> None:
    made = device(
        "paths: [{path: /dev/a}, {path: /lib/b, type: Mount}, {path: /lib/c, type: Mount, mountPath: /d/, readOnly: true}]"
    )
    assert made == Device(
        path="/dev/a",
        mounts=(
            Mount(host_path="/lib/b", read_only=False),
            Mount(host_path="/lib/c", container_path="/d/c", read_only=True),
        ),
    )


@pytest.mark.parametrize("counts", [(2, 5), (5, 2)])
def test_the_same_path_twice_is_one_device(counts: tuple[int, int]) -> None:
    found = groups(
        f"{{count: {counts[0]}, paths: [{{path: /dev/a}}]}}\n  - {{count: {counts[1]}, paths: [{{path: /dev//a}}]}}"
    )
    (made,) = found.configuration.resources
    assert (made.count, made.devices) == (5, (Device(path="/dev/a"),))
    (note,) = found.left_out
    assert (note.line, note.message) == (5, "left out: another entry of this resource has this device already")


# What has no equal.


def test_a_node_that_is_in_a_group_twice_is_there_once_and_said_so() -> None:
    found = groups("paths: [{path: /dev/a}, {path: /dev//a, mountPath: /dev/b}, {path: /dev/c}]")
    assert found.configuration.resources[0].devices[0].group == (Member(path="/dev/a"), Member(path="/dev/c"))
    (note,) = found.left_out
    assert note.field == "devices[0].groups[0].paths[1]"
    assert "`/dev/a` is in this group already" in note.message


def test_pairs_of_globs_are_left_out_and_said_so() -> None:
    found = groups("paths: [{path: /dev/video*}, {path: '/dev/snd/pcmC*'}]")
    assert found.configuration.resources == ()
    (note,) = (each for each in found.left_out if "is not offered" not in each.message)
    assert "write a `group` for each device, without wildcards" in note.message


def test_a_node_repeated_by_its_limit_is_left_out_and_said_so() -> None:
    assert "left out: the first matches" in told("paths: [{path: /dev/ttyUSB*}, {path: /dev/a, limit: 5}]")


def test_a_glob_beside_a_path_is_told_to_mean_all_its_matches() -> None:
    found = groups("paths: [{path: '/dev/snd/pcm*'}, {path: /dev/snd/controlC0}]")
    (made,) = found.configuration.resources[0].devices
    assert made.group == (Member(path="/dev/snd/pcm*"), Member(path="/dev/snd/controlC0"))
    assert "the first of what fits `/dev/snd/pcm*` is in the device there" in found.left_out[0].message


@pytest.mark.parametrize(("limit", "most"), [(3, 3), (1, 1), (0, 1)])
def test_a_glob_beside_a_mount_is_told_not_to_be_limited(limit: int, most: int) -> None:
    found = groups(f"paths: [{{path: /dev/a*}}, {{path: /lib/b, type: Mount, limit: {limit}}}]")
    assert found.configuration.resources[0].devices[0].path == "/dev/a*"
    assert f"by `limit`, {most} at most of what fits `/dev/a*`" in found.left_out[0].message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("paths: [{path: /lib/b, type: Mount}]", "groups[0]: left out: it is mounts alone"),
        ("paths: [{path: /dev/a}, {path: '/lib/*', type: Mount}]", "`/lib/*` has wildcards, and a mount has none"),
        ("paths: [{path: /dev/a}, {path: /b, type: Mount, optional: true}]", "optional: left out: a mount is always"),
        ("paths: [{path: /dev/a, readOnly: true}]", "readOnly: left out: it is about mounts, there too"),
        ("count: 4", "left out: nothing is in this group"),
    ],
)
def test_what_is_left_out_is_told_with_its_place(text: str, words: str) -> None:
    assert words in told(text)


def test_a_resource_without_groups_is_left_out_and_said_so() -> None:
    found = converted("devices: [{name: a, groups: []}]")
    assert found.configuration.resources == ()
    assert "left out: it has no groups" in str([note.message for note in found.left_out])


def test_a_resource_of_which_nothing_is_left_is_told_with_what_that_means() -> None:
    mount = "{paths: [{path: /lib/b, type: Mount}]}"
    left = f"{{name: a, groups: [{mount}, {{paths: [{{path: /dev/a}}]}}]}}"
    found = converted(f"devices:\n- {{name: video, groups: [{mount}]}}\n- {left}")
    assert [resource.name for resource in found.configuration.resources] == ["a"]
    (note,) = (note for note in found.left_out if "is not offered" in note.message)
    assert (note.line, note.field) == (2, "devices[0]")
    assert note.message == "resource `vendor.example/video` is not offered: pods that ask for it stay Pending"


def test_a_resource_is_offered_where_another_entry_of_its_name_is_left() -> None:
    found = converted("devices: [{name: a, groups: []}, {name: a, groups: [{paths: [{path: /dev/a}]}]}]")
    assert [note.message for note in found.left_out] == ["left out: it has no groups, so it has no devices"]


def test_a_kubernetes_manifest_is_told_to_be_one() -> None:
    (problem,) = wrong("apiVersion: v1\nkind: ConfigMap\ndata: {config.yaml: x}")
    assert "this is a Kubernetes manifest; give what is in its `data`" in problem


def test_what_is_left_out_is_told_in_the_order_of_the_file() -> None:
    found = groups("count: 1\n  - {x: 1, paths: [{path: /dev/a}]}\n  - count: 2")
    assert [note.line for note in found.left_out] == [4, 5, 6]


# USB.


def test_a_usb_device_is_its_node_on_the_bus() -> None:
    assert device("usb: [{vendor: 1a86, product: 7523}]") == Device(
        usb=Usb(vendor=HexId("1a86"), product=HexId("7523")), nodes=BUS
    )


@pytest.mark.parametrize("written", ["0403", '"0403"', "0x0403", "403", "0X403"])
def test_ids_are_hexadecimal_however_they_are_written(written: str) -> None:
    usb = device(f"usb: [{{vendor: {written}, product: '6001'}}]").usb
    assert usb
    assert usb.vendor == "0403"


def test_a_serial_number_means_just_what_it_says() -> None:
    usb = device("usb: [{vendor: '0403', product: '6001', serial: 'A*[1]?'}]").usb
    assert usb
    assert usb.serial == "A[*][[]1][?]"


def test_several_usb_devices_are_each_one_and_that_is_told() -> None:
    found = groups("usb: [{vendor: 1a86, product: 7523}, {vendor: 0403, product: 6001}]")
    assert [each.usb.vendor for each in found.configuration.resources[0].devices if each.usb] == ["1a86", "0403"]
    assert "all that match are one device there; here each is one" in found.left_out[0].message


@pytest.mark.parametrize("serials", [("", "A1"), ("A1", "")])
def test_a_usb_device_that_another_entry_has_is_no_second_one(serials: tuple[str, str]) -> None:
    text = "\n  - ".join(f"usb: [{{vendor: 0403, product: 6001, serial: '{serial}'}}]" for serial in serials)
    (made,) = groups(text).configuration.resources[0].devices
    assert made.usb == Usb(vendor=HexId("0403"), product=HexId("6001"))


# --device.


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "fuse", "groups": [{"count": 10, "paths": [{"path": "/dev/fuse"}]}]}',
        "name: fuse\ngroups: [{count: 10, paths: [{path: /dev/fuse}]}]",
    ],
)
def test_a_device_option_is_one_resource(text: str) -> None:
    found = gdp.device(text)
    assert found.configuration.domain == "squat.ai"
    assert found.configuration.resources == (Resource(name="fuse", count=10, devices=(Device(path="/dev/fuse"),)),)
    assert found.keys == ((),)


def test_what_is_wrong_with_a_device_option_has_its_place() -> None:
    with pytest.raises(ConfigurationFileError, match=r"^--device:1:33: groups\[0\].paths\[0\].path: found `x`"):
        gdp.device("{name: fuse, groups: [{paths: [{path: x}]}]}")


def test_a_device_option_of_old_is_an_error_that_shows_the_form() -> None:
    with pytest.raises(ConfigurationFileError, match=r"found `serial,/dev/ttyUSB\*`; write YAML or JSON"):
        gdp.device("serial,/dev/ttyUSB*")


def test_what_the_help_of_generic_device_plugin_shows_is_read() -> None:
    text = '{"name": "capture", "groups": [{"paths": [{"path": "/dev/snd/pcmC0D0c"}, {"path": "/dev/snd/controlC0"}]}]}'
    found = gdp.device(text)
    assert found.left_out == ()
    (made,) = found.configuration.resources[0].devices
    assert made.group == (Member(path="/dev/snd/pcmC0D0c"), Member(path="/dev/snd/controlC0"))


# Whatever it says.

PATHS = st.sampled_from(["/dev/a", "/dev/b", "/dev/c*", "/dev/d?", "/dev/snd", "/dev/e/", "/lib/f"])
PATH = st.fixed_dictionaries(
    {"path": PATHS},
    optional={
        "type": st.sampled_from(["Device", "Mount"]),
        "mountPath": st.sampled_from(["/dev/m", "/dev/n/", "/", ""]),
        "permissions": st.sampled_from(["", "r", "mrw", "rr"]),
        "readOnly": st.booleans(),
        "limit": st.integers(0, 3),
        "optional": st.booleans(),
    },
)
USB = st.fixed_dictionaries(
    {"vendor": st.sampled_from(["403", "1a86"]), "product": st.just("6001")},
    optional={"serial": st.sampled_from(["", "A", "A*"])},
)
GROUP = st.fixed_dictionaries({}, optional={"count": st.integers(0, 3)}).flatmap(
    lambda rest: st.one_of(
        st.lists(PATH, max_size=3).map(lambda paths: {**rest, "paths": paths}),
        st.lists(USB, max_size=3).map(lambda usb: {**rest, "usb": usb}),
    )
)


@given(st.lists(GROUP, max_size=4))
def test_what_is_made_of_it_is_without_fault_or_refused_with_a_line(groups: list[dict[str, Any]]) -> None:
    text = json.dumps({"devices": [{"name": "thing", "groups": groups}]})
    try:
        found = gdp.read(text, "f.json").configuration
    except ConfigurationFileError as error:
        lines = [problem.line for problem in error.problems]
    else:
        lines = []
        assert read(write(found), "written.yaml") == found
        assert [fault for made in found.resources for fault in checking.faults(completed(made, "squat.ai"))] == []
    assert all(lines)
