import pytest

from kubelet_plugin.config import checking
from kubelet_plugin.config.documents import field_text
from tests.configurations import read

NAME = "name: vendor.example/thing"
DEVICES = "devices: [{path: /dev/a}]"


def faults(text: str) -> list[str]:
    (resource,) = read(f"version: v1\nresources:\n- {{{text}}}", "f.yaml").resources
    return [f"{field_text(fault.keys)}: {fault.message}" for fault in checking.faults(resource)]


def device_faults(text: str) -> list[str]:
    found = faults(f"{NAME}, devices: [{{{text}}}]")
    return [fault.removeprefix("devices[0].").removeprefix("devices[0]") for fault in found]


@pytest.mark.parametrize(
    "text",
    [
        DEVICES,
        "count: 1000, devices: [{path: /dev/kvm, id: kvm0}]",
        "devices: [{path: '/dev/serial/by-id/*', container_path: /dev/}]",
        "devices: [{path: '/dev/tty[!S]*'}, {path: '/dev/[]]'}]",
        "devices: [{usb: {vendor: 0403, product: 6001, serial: 'FT*'}, nodes: ['ttyUSB*'], id_by: serial}]",
        "devices: [{usb: {vendor: 0403, product: 6001}, nodes: ['ttyUSB*'], container_path: /dev/modem}]",
        "devices: [{pci: {vendor: 8086, device: 56c0, class: '0380'}}, {pci: {vendor: 8086, class: '03'}}]",
        "devices: [{sysfs: {subsystem: tty, attributes: {device/x: 'a*'}, parents: [{subsystem: usb}]}}]",
        "devices: [{id: cam0, group: [{path: /dev/a}, {path: '/dev/b*', optional: true}]}]",
        "devices: [{id: a, group: [{path: /dev/a}]}, {id: b, group: [{path: /dev/b}]}]",
        "env: {A_B: '{ID_SERIAL}{{x}}', 'USB_{id}': ''}, annotations: {vendor.example/a: '{path}', b: c}, " + DEVICES,
        "uid: 5, gid: 5, file_mode: 0660, additional_gids: auto, inject: cdi, " + DEVICES,
        "additional_gids: [44], " + DEVICES,
        "numa: auto, preferred: numa, " + DEVICES,
        "numa: none, devices: [{path: /dev/a}, {path: /dev/b, numa: auto}]",
        "probe: {command: [/bin/true, '{path}'], deadline: 2s}, " + DEVICES,
        "probe: {entry_point: 'package.module:Class.method'}, " + DEVICES,
        "enabled_when: {module: [kvm_intel, kvm-amd], path: /sys/a}, " + DEVICES,
        "mounts: [{host_path: /a}, {host_path: /a, container_path: /b}], " + DEVICES,
        "cdi_kind: vendor.example/class, " + DEVICES,
        "devices: [{group: [{path: /dev/a, optional: true}, {path: '/dev/b*', optional: true}]}]",
        "devices: [{group: [{path: '/dev/a*'}, {path: '/dev/b*'}, {sysfs: {subsystem: tty}}]}]",
        "devices: [{sysfs: {subsystem: drm}, id_by: parent}]",
        # Several devices at one path: a container can have one of them.
        "devices: [{path: '/dev/a*', container_path: /dev/x}]",
        "devices: [{sysfs: {subsystem: tty}, container_path: /dev/x}]",
        "container_path: /dev/x, devices: [{path: '/dev/a*'}, {path: /dev/b}, {path: /dev/c}]",
        "devices: [{group: [{path: '/dev/a*', container_path: /dev/x}, {path: /dev/b}]}]",
    ],
)
def test_what_is_right_has_no_faults(text: str) -> None:
    assert faults(f"{NAME}, {text}") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", ": nothing says which device is meant; write `path`, `usb`, `pci`, `sysfs` or `group`"),
        ("count: 2", ": nothing says which device is meant; write `path`, `usb`, `pci`, `sysfs` or `group`"),
        (
            "path: /dev/a, sysfs: {subsystem: tty}",
            "sysfs: `path` and `sysfs` are given; write one of them, or an entry for each",
        ),
        ("group: [{}]", "group[0]: nothing says which device is meant; write `path`, `usb`, `pci` or `sysfs`"),
        ("path: /dev/a, nodes: [a]", "nodes: this goes with `usb`, `pci` and `sysfs` alone; remove it"),
        (
            "group: [{path: /dev/a, nodes: [a]}]",
            "group[0].nodes: this goes with `usb`, `pci` and `sysfs` alone; remove it",
        ),
        (
            "sysfs: {subsystem: tty}, nodes: [a, '/dev/ttyS*']",
            "nodes[1]: `/dev/ttyS*` begins with a slash; write it from /dev on: `ttyS*`",
        ),
        ("path: '/dev/a*', id: a", "id: this goes with a path without wildcards, or a group"),
        ("sysfs: {subsystem: tty}, id: a", "id: this goes with a path without wildcards, or a group"),
        ("path: /dev/a, id: 'a::0'", "id: `a::0` holds `::`, which sets shares of a device apart"),
        ("path: /dev/a, id_by: port", "id_by: `port` goes with `usb` alone; remove it"),
        ("sysfs: {subsystem: tty}, id_by: serial", "id_by: `serial` goes with `usb` alone; remove it"),
        (
            "usb: {vendor: 0403, product: 6001}, id_by: parent",
            "id_by: `parent` goes with `sysfs` alone; remove it",
        ),
        ("path: /", "path: `/` is the root directory; write a device's path"),
        ("path: //.", "path: `//.` is the root directory; write a device's path"),
        (
            "path: /dev/snd/",
            "path: `/dev/snd/` is a directory, and no device; for all that is in it, write `/dev/snd/*`",
        ),
        ("path: /dev/a/../b", "path: `/dev/a/../b` holds `..`; write where that leads to"),
        ("path: '/dev/tty[S'", "path: `/dev/tty[S` holds a `[` that is not closed; close it, or write `[[]`"),
        ("path: '/dev/[a/b]'", "path: `/dev/[a/b]` holds a `[` that is not closed"),
        ("path: '/dev/**/a'", "path: `/dev/**/a` holds `**`, which goes through no directories here; write `*`"),
        ("path: '/dev/{a,b}'", "path: `/dev/{a,b}` holds braces, which are no wildcard; write an entry for each"),
        ('path: "/dev/a\\n"', "path: `/dev/a\\n` holds a character that cannot be seen; remove it"),
        ("usb: {vendor: 403, product: 6001}", "usb.vendor: found `403`; write four hexadecimal digits, as `0403`"),
        ("pci: {vendor: 8086, device: 56}", "pci.device: found `56`; write four hexadecimal digits, as `0056`"),
        ("pci: {vendor: 8086, class: 030}", "pci.class: found `030`; write two, four or six hexadecimal digits"),
        ("usb: {vendor: 0403, product: 6001, serial: '[A'}", "usb.serial: `[A` holds a `[` that is not closed"),
        ("sysfs: {subsystem: /sys/class/tty}", "sysfs.subsystem: `/sys/class/tty` is no name; write one as `tty`"),
        ("sysfs: {subsystem: tty, name: '[A'}", "sysfs.name: `[A` holds a `[` that is not closed"),
        (
            "sysfs: {subsystem: tty, attributes: {../a: b}}",
            "sysfs.attributes.../a: `../a` is no attribute; write the name",
        ),
        ("sysfs: {subsystem: tty, attributes: {a: '[A'}}", "sysfs.attributes.a: `[A` holds a `[` that is not closed"),
        (
            "sysfs: {subsystem: tty, parents: [{}]}",
            "sysfs.parents[0]: this fits every device; say what the parent is like",
        ),
        ("sysfs: {subsystem: tty, parents: [{driver: a/b}]}", "sysfs.parents[0].driver: `a/b` is no name; write one"),
        (
            "group: [{path: /dev/a}, {path: /dev//a, container_path: /dev/b}]",
            "group[1].path: `/dev//a` is the path of group[0] as well, and is in the device once; remove it",
        ),
    ],
)
def test_an_entry_that_matches_nothing_sensible_is_a_fault(text: str, fault: str) -> None:
    (found,) = device_faults(text)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("env: {A B: c}", "env.A B: `A B` is no variable's name; write letters, digits and `_`"),
        ("env: {1A: c}", "env.1A: `1A` is no variable's name"),
        ("env: {A: '{ID_SERIAL'}", "env.A: `{ID_SERIAL` holds a brace that belongs to no name; write `{NAME}`"),
        ("env: {A: '{ID SERIAL}'}", "env.A: `{ID SERIAL}` holds a brace that belongs to no name"),
        ("env: {A: 'a}'}", "env.A: `a}` holds a brace that belongs to no name"),
        ("annotations: {a: '{'}", "annotations.a: `{` holds a brace that belongs to no name"),
        ("annotations: {a b: c}", "annotations.a b: `a b` is no annotation's key; it must start and end with"),
        ("annotations: {A_B/c: c}", "annotations.A_B/c: `A_B/c` is no annotation's key; it must have a DNS subdomain"),
        (
            "annotations: {cdi.k8s.io/a: b}",
            "annotations.cdi.k8s.io/a: annotations under `cdi.k8s.io/` ask for CDI devices",
        ),
        ("mounts: [{host_path: /a/../b}]", "mounts[0].host_path: `/a/../b` is no plain path"),
        ("mounts: [{host_path: /a, container_path: /../b}]", "mounts[0].container_path: `/../b` is no plain path"),
        ("mounts: [{host_path: /a}, {host_path: /b, container_path: /a/}]", "mounts[1]: another mount is at `/a`"),
        ("additional_gids: [44, 0]", "additional_gids[1]: group 0 is that of root, and is given to nobody"),
        ("probe: {}", "probe: neither `command` nor `entry_point` is given; write one of them"),
        (
            "probe: {command: [a], entry_point: 'a:b'}",
            "probe: `command` and `entry_point` are given; write one of them",
        ),
        ("probe: {command: ['']}", "probe.command[0]: the program is an empty text; write its path"),
        ("probe: {entry_point: a.b}", "probe.entry_point: 'a.b' does not say where a function is"),
        ("probe: {command: [a], deadline: 0}", "probe.deadline: no probe ends in no time"),
        ("enabled_when: {}", "enabled_when: nothing is in it, so it would always hold; write `module` or `path`"),
        ("enabled_when: {module: [a, 'b c']}", "enabled_when.module[1]: `b c` is no kernel module"),
        ("enabled_when: {path: dev}", "enabled_when.path: `dev` is no absolute path; begin it with a slash"),
        ("container_path: /", "container_path: `/` is the container's root; write a name"),
        ("container_path: /dev/../a/", "container_path: `/dev/../a/` is no plain path"),
    ],
)
def test_what_no_container_can_be_given_is_a_fault_of_resource_and_entry_alike(text: str, fault: str) -> None:
    (of_resource,) = faults(f"{NAME}, {text}, {DEVICES}")
    assert of_resource.startswith(fault)
    (of_entry,) = device_faults(f"path: /dev/a, {text}")
    assert of_entry.startswith(fault)


@pytest.mark.parametrize("field", ["uid: 5", "gid: 5", "file_mode: 0660", "additional_gids: [5]"])
def test_an_owner_cannot_be_given_by_device_specs_alone(field: str) -> None:
    (fault,) = faults(f"{NAME}, inject: device-spec, {field}, {DEVICES}")
    assert fault.startswith(
        f"{field.partition(':')[0]}: this is given by CDI, and `inject: device-spec` does without; write"
    )
    (fault,) = faults(f"{NAME}, inject: device-spec, devices: [{{path: /dev/a, {field}}}]")
    assert fault.startswith(f"devices[0].{field.partition(':')[0]}: ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "numa: 0, devices: [{path: /dev/a}, {path: /dev/b, numa: none}]",
            "devices[1].numa: this says `numa: none`, and devices[0] says `numa: 0`; a kubelet needs",
        ),
        (
            "devices: [{path: /dev/a, numa: none}, {path: /dev/b}, {path: /dev/c, numa: 1}]",
            "devices[2].numa: this says `numa: 1`, and devices[0] says `numa: none`; a kubelet needs",
        ),
        (
            "numa: none, preferred: numa, devices: [{path: /dev/a}]",
            "preferred: devices[0] has no NUMA node to prefer; write `numa: auto`, or `packed`",
        ),
    ],
)
def test_one_resource_has_no_devices_with_and_without_topology(text: str, fault: str) -> None:
    (found,) = faults(f"{NAME}, {text}")
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "devices",
    [
        "{usb: {vendor: 0403, product: 6001}, container_path: /dev/x}",
        "{pci: {vendor: 8086}, container_path: /dev/x}",
        "{sysfs: {subsystem: tty}, nodes: [a, b], container_path: /dev/x}",
        "{container_path: /dev/x, group: [{path: /dev/a}, {path: /dev/b}]}",
    ],
)
def test_two_nodes_of_a_device_never_go_to_one_path(devices: str) -> None:
    words = "container_path: `/dev/x` is one path, and this device has several nodes there; "
    (found,) = faults(f"{NAME}, devices: [{devices}]")
    assert found.startswith(f"devices[0].{words}")
    (found,) = faults(
        f"{NAME}, container_path: /dev/x, devices: [{devices.replace('container_path: /dev/x', 'count: 2')}]"
    )
    assert found.startswith(words)


def test_one_path_that_several_devices_have_too_many_nodes_for_is_one_fault() -> None:
    text = "container_path: /dev/x, devices: [{pci: {vendor: 8086}}, {pci: {vendor: 1234}}]"
    assert len(faults(f"{NAME}, {text}")) == 1


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ("{path: /dev/a, container_path: /dev/x}, {path: /dev/b, container_path: /dev//x}", "group[1].container_path"),
        (
            "{sysfs: {subsystem: a}, container_path: /dev/x}, {path: /dev/*, container_path: /dev/x}",
            "group[1].container_path",
        ),
        ("{path: /dev/a}, {path: /dev/b, container_path: /dev/a}", "group[1].container_path"),
        ("{path: /dev/b, container_path: /dev/a}, {path: /dev/a}", "group[1]"),
        ("{path: /dev/a/n, container_path: /dev/}, {path: /dev/b/n, container_path: /dev/}", "group[1].container_path"),
        ("{usb: {vendor: 0403, product: 6001}, container_path: /dev/x}", "group[0].container_path"),
    ],
)
def test_two_parts_of_a_group_never_go_to_one_path(members: str, field: str) -> None:
    (found,) = faults(f"{NAME}, devices: [{{group: [{members}]}}]")
    assert found.startswith(f"devices[0].{field}: `/dev/")
    assert "is one path, and this device has several nodes there; " in found


def test_two_mounts_never_go_to_one_path() -> None:
    (fault,) = faults(f"{NAME}, mounts: [{{host_path: /a}}], devices: [{{path: /dev/a, mounts: [{{host_path: /a}}]}}]")
    assert fault == "devices[0].mounts[0]: a mount of the whole resource is at `/a`; mount it elsewhere"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "{path: /dev/a}, {path: /dev//a}",
            "devices[1].path: `/dev/a` is the path of devices[0] as well; write another",
        ),
        ("{path: /dev/a, id: x}, {path: /dev/b, id: x}", "devices[1].id: `x` is the id of devices[0] as well"),
        (
            "{group: [{path: /dev/a}]}, {group: [{path: /dev/b}]}",
            "devices[1]: this group and devices[0] have no `id` of their own; write one for each",
        ),
    ],
)
def test_two_devices_have_two_ids(text: str, fault: str) -> None:
    (found,) = faults(f"{NAME}, devices: [{text}]")
    assert found.startswith(fault)


@pytest.mark.parametrize("name", ["a", "Vendor.example/a", "vendor.example/a b", "vendor.example/", "kubernetes.io/a"])
def test_a_name_that_a_kubelet_refuses_is_a_fault(name: str) -> None:
    (fault,) = faults(f"name: {name}, {DEVICES}")
    assert fault.startswith(f"name: the resource name '{name}' is ")


@pytest.mark.parametrize("kind", ["a", "a/b", "1a/bc", "vendor.example/"])
def test_a_cdi_kind_that_no_runtime_reads_is_a_fault(kind: str) -> None:
    (fault,) = faults(f"{NAME}, cdi_kind: {kind}, {DEVICES}")
    assert fault.startswith("cdi_kind: ")
    assert fault.endswith("; write a kind as `vendor.example/thing`")


def test_a_resource_without_devices_is_a_fault() -> None:
    assert faults(NAME) == ["devices: there are none; list one or more"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("count: 100000, devices: [{path: /dev/a}, {path: /dev/b}]", "count: "),
        (
            "devices: [{path: /dev/a}, {id: b, path: /dev/b, count: 100000}, {path: /dev/c, count: 90000}]",
            "devices[1].count: ",
        ),
    ],
)
def test_a_list_that_a_kubelet_refuses_is_a_fault_where_it_is_known_beforehand(text: str, fault: str) -> None:
    (found,) = faults(f"{NAME}, {text}")
    assert found.startswith(fault)
    assert "4194304" in found
    assert "offer fewer" in found


def test_very_many_shares_are_a_fault_without_being_counted_one_by_one() -> None:
    devices = ", ".join(f"{{path: /dev/a{number}}}" for number in range(2000))
    (fault,) = faults(f"{NAME}, count: 100000, devices: [{devices}]")
    assert fault.startswith("count: 200000000 devices are more than a kubelet takes in one message; offer fewer")


def test_a_list_that_a_kubelet_takes_is_none() -> None:
    assert faults(f"{NAME}, count: 100000, {DEVICES}") == []


def test_all_faults_are_told_at_once() -> None:
    text = "name: a b, count: 2, env: {1: '{'}, devices: [{}, {path: /, id_by: port}]"
    assert len(faults(text)) == 6
