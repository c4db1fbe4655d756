"""Devices of a fake sysfs, laid out as the kernel does, and of this machine's."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kubelet_plugin.discovery import Roots, sysfs
from kubelet_plugin.discovery.sysfs import Criteria, SysfsDevice
from tests.fake_node import FakeNode

CONTROLLER = "devices/pci0000:00/0000:00:14.0"
HUB = f"{CONTROLLER}/usb1/1-1"
USB = f"{HUB}/1-1.2"
INTERFACE = f"{USB}/1-1.2:1.0"
PORT = f"{INTERFACE}/ttyUSB0"
TTY = f"{PORT}/tty/ttyUSB0"


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


@pytest.fixture
def adapter(node: FakeNode) -> FakeNode:
    """A node with a serial adapter behind a hub, each level as the kernel makes it."""
    node.device("devices/pci0000:00", subsystem="")
    node.device(CONTROLLER, subsystem="pci", driver="xhci_hcd", attributes={"numa_node": "-1"})
    node.device(f"{CONTROLLER}/usb1", subsystem="usb", driver="usb", node="bus/usb/001/001")
    node.device(HUB, subsystem="usb", driver="usb", node="bus/usb/001/002", number=1, attributes={"idVendor": "05e3"})
    attributes = {"idVendor": "0403", "idProduct": "6001", "serial": "A50285BI", "manufacturer": "FTDI "}
    event = {"DEVTYPE": "usb_device", "PRODUCT": "403/6001/600"}
    node.device(
        USB, subsystem="usb", driver="usb", node="bus/usb/001/003", number=2, attributes=attributes, event=event
    )
    node.device(INTERFACE, subsystem="usb", driver="ftdi_sio", attributes={"bInterfaceNumber": "00"})
    node.device(PORT, subsystem="usb-serial", driver="ftdi_sio", attributes={"latency_timer": "16"})
    known = {"ID_SERIAL": "FTDI_FT232R_A50285BI", "ID_BUS": "usb"}
    node.device(TTY, subsystem="tty", node="ttyUSB0", number=3, properties=known)
    return node


def at(node: FakeNode, path: str) -> SysfsDevice:
    return SysfsDevice(str(node.sys), path)


# One device.


def test_a_device_has_a_name_a_subsystem_and_a_driver(adapter: FakeNode) -> None:
    device = at(adapter, INTERFACE)
    assert (device.name, device.subsystem, device.driver) == ("1-1.2:1.0", "usb", "ftdi_sio")


def test_a_device_may_have_no_driver_and_no_node(adapter: FakeNode) -> None:
    assert at(adapter, TTY).driver == ""
    device = at(adapter, PORT)
    assert (device.node, device.numbers) == ("", None)


def test_a_node_has_a_path_and_numbers(adapter: FakeNode) -> None:
    device = at(adapter, USB)
    assert (device.node, device.numbers) == ("/dev/bus/usb/001/003", ("char", 240, 2))


def test_a_disk_has_the_numbers_of_a_block_device(node: FakeNode) -> None:
    node.device("devices/virtual/block/loop7", subsystem="block", node="loop7", number=7)
    assert at(node, "devices/virtual/block/loop7").numbers == ("block", 240, 7)


def test_what_the_kernel_tells_in_events_is_read(adapter: FakeNode) -> None:
    told = at(adapter, USB).uevent
    assert (told["DEVTYPE"], told["PRODUCT"], told["DEVNAME"]) == ("usb_device", "403/6001/600", "bus/usb/001/003")


def test_a_value_may_hold_what_divides_lines_elsewhere(node: FakeNode) -> None:
    node.device("devices/x", subsystem="foo", event={"A": "1\x0b2\u20283=4", "B": "5"})
    assert at(node, "devices/x").uevent == {"A": "1\x0b2\u20283=4", "B": "5"}


def test_an_attribute_is_what_the_file_says_without_the_space_around_it(adapter: FakeNode) -> None:
    assert at(adapter, USB).attribute("manufacturer") == "FTDI"


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"18\0\2", b"x" * 4097],
    ids=["no UTF-8", "with zero bytes", "more than the kernel gives for one attribute"],
)
def test_what_is_no_text_is_no_attribute(node: FakeNode, content: bytes) -> None:
    node.device("devices/x", subsystem="foo")
    (node.sys / "devices/x/descriptors").write_bytes(content)
    assert at(node, "devices/x").attribute("descriptors") is None
    assert "descriptors" not in at(node, "devices/x").attributes()


def test_an_attribute_may_be_as_long_as_the_kernel_gives(node: FakeNode) -> None:
    node.device("devices/x", subsystem="foo", attributes={"long": "x" * 4095})
    assert at(node, "devices/x").attribute("long") == "x" * 4095


@pytest.mark.parametrize("name", ["absent", "tty", "a\0b", ""])
def test_what_cannot_be_read_is_no_attribute(adapter: FakeNode, name: str) -> None:
    assert at(adapter, PORT).attribute(name) is None


def test_an_attribute_s_name_is_meant_from_the_device_on_whatever_it_begins_with(adapter: FakeNode) -> None:
    (adapter.place / "passwd").write_text("root")
    assert at(adapter, PORT).attribute(f"{adapter.place}/passwd") is None
    assert at(adapter, PORT).attribute("/latency_timer") == "16"
    assert at(adapter, PORT).attribute("../bInterfaceNumber") == "00"


def test_all_attributes_are_listed_without_links_and_directories(adapter: FakeNode) -> None:
    assert at(adapter, PORT).attributes() == {"latency_timer": "16", "uevent": ""}


# What it belongs to.


def test_the_parent_is_the_nearest_device_and_not_a_directory_between(adapter: FakeNode) -> None:
    assert at(adapter, TTY).parent == at(adapter, PORT)


def test_the_ancestors_end_with_the_root_of_the_bus(adapter: FakeNode) -> None:
    assert [each.path for each in at(adapter, TTY).ancestors()] == [
        PORT,
        INTERFACE,
        USB,
        HUB,
        f"{CONTROLLER}/usb1",
        CONTROLLER,
        "devices/pci0000:00",
    ]


@pytest.mark.parametrize("path", ["devices/virtual", "devices", ""])
def test_what_is_no_device_s_part_has_no_parent(adapter: FakeNode, path: str) -> None:
    assert at(adapter, path).parent is None


@pytest.mark.parametrize(
    ("own", "controller", "expected"), [(None, "1", 1), ("-1", "1", 1), ("0", "1", 0), (None, "-1", None)]
)
def test_the_numa_node_is_that_of_the_nearest_that_has_one(
    node: FakeNode, own: str | None, controller: str, expected: int | None
) -> None:
    node.device("devices/pci0000:00/a", subsystem="pci", attributes={"numa_node": controller})
    attributes = {} if own is None else {"numa_node": own}
    node.device("devices/pci0000:00/a/b", subsystem="pci", attributes=attributes)
    assert at(node, "devices/pci0000:00/a/b").numa_node() == expected


def test_a_device_without_hardware_has_no_numa_node(node: FakeNode) -> None:
    node.device("devices/virtual/misc/kvm", subsystem="misc", attributes={"numa_node": "0"})
    assert at(node, "devices/virtual/misc/kvm").numa_node() is None


# What belongs to it.


def test_below_a_device_are_those_with_nodes_itself_included(adapter: FakeNode) -> None:
    assert [each.node for each in at(adapter, USB).below()] == ["/dev/bus/usb/001/003", "/dev/ttyUSB0"]
    assert [each.node for each in at(adapter, INTERFACE).below()] == ["/dev/ttyUSB0"]


def test_what_is_below_is_in_the_order_of_its_numbers(node: FakeNode) -> None:
    for number in (10, 9, 2):
        node.device(f"devices/x/video{number}", subsystem="video4linux", node=f"video{number}", number=number)
    assert [each.name for each in at(node, "devices/x").below()] == ["video2", "video9", "video10"]


def test_numbers_without_a_name_are_no_node(adapter: FakeNode) -> None:
    (adapter.sys / TTY / "uevent").write_text("MAJOR=240\nMINOR=3\n")
    assert at(adapter, INTERFACE).below() == ()


def test_links_lead_to_nothing_that_belongs_to_a_device(adapter: FakeNode) -> None:
    (adapter.sys / INTERFACE / "neighbour").symlink_to("../../../usb1")
    (adapter.sys / INTERFACE / "self").symlink_to(".")
    assert [each.node for each in at(adapter, INTERFACE).below()] == ["/dev/ttyUSB0"]


# Which devices there are.


def test_usb_devices_are_listed_without_their_interfaces(adapter: FakeNode) -> None:
    assert [each.path for each in sysfs.usb_devices(adapter.roots)] == [HUB, USB, f"{CONTROLLER}/usb1"]


def test_pci_functions_are_listed(adapter: FakeNode) -> None:
    assert [each.path for each in sysfs.pci_devices(adapter.roots)] == [CONTROLLER]


def test_the_devices_of_a_class_and_of_a_bus_are_listed(adapter: FakeNode) -> None:
    assert [each.path for each in sysfs.subsystem_devices(adapter.roots, "tty")] == [TTY]
    assert [each.path for each in sysfs.subsystem_devices(adapter.roots, "usb-serial")] == [PORT]


def test_a_subsystem_may_be_a_class_and_a_bus(adapter: FakeNode) -> None:
    (adapter.sys / "class/usb-serial").mkdir()
    (adapter.sys / "class/usb-serial/ttyUSB0").symlink_to(f"../../{TTY}")
    (adapter.sys / "class/usb-serial/ttyUSB1").symlink_to(f"../../{PORT}")
    assert [each.path for each in sysfs.subsystem_devices(adapter.roots, "usb-serial")] == [TTY, PORT]


def test_a_file_among_the_devices_of_a_class_is_none(adapter: FakeNode) -> None:
    (adapter.sys / "class/tty/hot_add").touch()
    assert [each.path for each in sysfs.subsystem_devices(adapter.roots, "tty")] == [TTY]


def test_a_device_is_found_by_the_numbers_of_its_node(adapter: FakeNode) -> None:
    adapter.device("devices/virtual/block/loop3", subsystem="block", node="loop3", number=3)
    assert sysfs.of_numbers(adapter.roots, "char", 240, 3) == at(adapter, TTY)
    assert sysfs.of_numbers(adapter.roots, "block", 240, 3) == at(adapter, "devices/virtual/block/loop3")
    assert sysfs.of_numbers(adapter.roots, "char", 240, 77) is None


# What is gone.


def test_without_sysfs_there_is_nothing(tmp_path: Path) -> None:
    roots = Roots(sysfs=str(tmp_path / "none"))
    assert sysfs.usb_devices(roots) == sysfs.pci_devices(roots) == sysfs.subsystem_devices(roots, "tty") == []
    assert sysfs.of_numbers(roots, "char", 1, 3) is None


def test_a_device_that_went_while_it_was_looked_at_says_nothing(adapter: FakeNode) -> None:
    (device,) = sysfs.subsystem_devices(adapter.roots, "tty")
    adapter.unplug(USB)
    assert (device.subsystem, device.driver, device.uevent, device.node, device.numbers) == ("", "", {}, "", None)
    assert (device.attributes(), device.below(), device.numa_node()) == ({}, (), None)
    assert [each.path for each in device.ancestors()][:1] == [HUB]
    assert not sysfs.matches(device, Criteria("tty"), adapter.roots)
    assert sysfs.subsystem_devices(adapter.roots, "tty") == []


def test_an_attribute_whose_device_does_not_answer_is_none() -> None:
    assert SysfsDevice("/proc/self", "").attribute("mem") is None  # reading it at 0 is an I/O error


# What is asked for.


@pytest.mark.parametrize(
    ("criteria", "fits"),
    [
        (Criteria(), True),
        (Criteria("usb"), True),
        (Criteria("us?"), True),
        (Criteria("tty"), False),
        (Criteria(driver="usb"), True),
        (Criteria(driver="u*"), True),
        (Criteria(driver="ftdi_sio"), False),
        (Criteria(attributes={"idVendor": "0403", "serial": "A5*"}), True),
        (Criteria(attributes={"idVendor": "0403", "serial": "B*"}), False),
        (Criteria(attributes={"serial": "a5*"}), False),
        (Criteria(attributes={"serial": "A[0-9]0285B?"}), True),
        (Criteria(attributes={"absent": "*"}), False),
        (Criteria(properties={"DEVTYPE": "usb_device"}), True),
        (Criteria(properties={"DEVTYPE": "usb_interface"}), False),
        (Criteria(properties={"ABSENT": "*"}), False),
        (Criteria("usb", "usb", {"idVendor": "0403"}, {"DEVTYPE": "usb_*"}), True),
    ],
)
def test_a_device_matches_when_all_that_is_asked_for_fits(adapter: FakeNode, criteria: Criteria, fits: bool) -> None:
    assert sysfs.matches(at(adapter, USB), criteria, adapter.roots) is fits


def test_each_parent_that_is_asked_for_may_be_another_ancestor(adapter: FakeNode) -> None:
    parents = [Criteria("pci", "xhci_hcd"), Criteria("usb", attributes={"serial": "A50285BI"})]
    assert sysfs.matches(at(adapter, TTY), Criteria("tty"), adapter.roots, parents=parents)


def test_one_ancestor_has_to_fit_all_that_is_asked_of_a_parent(adapter: FakeNode) -> None:
    wanted = Criteria("usb", attributes={"idVendor": "05e3"})
    assert sysfs.matches(at(adapter, TTY), Criteria(), adapter.roots, parents=[wanted])
    both = replace(wanted, attributes={"idVendor": "05e3", "serial": "A50285BI"})
    assert not sysfs.matches(at(adapter, TTY), Criteria(), adapter.roots, parents=[both])


def test_a_device_is_not_its_own_parent(adapter: FakeNode) -> None:
    assert not sysfs.matches(at(adapter, TTY), Criteria(), adapter.roots, parents=[Criteria("tty")])


def test_properties_are_those_of_the_kernel_and_of_udev(adapter: FakeNode) -> None:
    known = sysfs.properties(at(adapter, TTY), adapter.roots)
    assert (known["DEVNAME"], known["ID_BUS"]) == ("ttyUSB0", "usb")
    wanted = Criteria(properties={"ID_SERIAL": "FTDI_*", "MAJOR": "240"})
    assert sysfs.matches(at(adapter, TTY), wanted, adapter.roots)


@pytest.mark.parametrize(
    ("event", "record"), [({}, "+net:eth0"), ({"IFINDEX": "7"}, "n7")], ids=["by name", "by index"]
)
def test_udev_knows_what_has_no_node_by_another_key(node: FakeNode, event: Mapping[str, str], record: str) -> None:
    node.device("devices/x/net/eth0", subsystem="net", event=event)
    (node.udev / "data" / record).write_text("E:ID_NET_NAME=enp1s0\n")
    assert sysfs.properties(at(node, "devices/x/net/eth0"), node.roots)["ID_NET_NAME"] == "enp1s0"


# This machine.

real = pytest.mark.skipif(not os.path.exists("/sys/dev/char/1:3/uevent"), reason="there is no sysfs here")


@real
def test_this_machine_s_null_is_known_by_its_numbers() -> None:
    device = sysfs.of_numbers(Roots(), "char", 1, 3)
    assert device
    assert (device.node, device.subsystem, device.numbers) == ("/dev/null", "mem", ("char", 1, 3))
    assert (device.numa_node(), device.parent, device.below()) == (None, None, (device,))
    assert device in sysfs.subsystem_devices(Roots(), "mem")


@real
@pytest.mark.skipif(not sysfs.pci_devices(Roots()), reason="there is no PCI here")
def test_this_machine_s_pci_functions_are_what_they_should_be() -> None:
    for device in sysfs.pci_devices(Roots()):
        assert device.subsystem == "pci"
        assert device.uevent["PCI_SLOT_NAME"] == device.name
        assert (device.attribute("vendor") or "").startswith("0x")
        assert device.numa_node() != -1
        assert all(each.path.startswith(device.path) for each in device.below())


@real
def test_each_device_with_a_node_here_is_found_by_its_numbers() -> None:
    found = SysfsDevice("/sys", "devices/virtual").below()
    assert found
    for device in found:
        if device.numbers:
            assert sysfs.of_numbers(Roots(), *device.numbers) == device


@real
def test_every_device_of_every_class_and_bus_here_can_be_read() -> None:
    roots = Roots()
    subsystems = {*os.listdir("/sys/class"), *os.listdir("/sys/bus")}
    devices = {device for subsystem in subsystems for device in sysfs.subsystem_devices(roots, subsystem)}
    assert devices
    for device in devices:
        assert all(text.isprintable() for text in device.attributes().values())
        assert (device.numa_node() or 0) >= 0
        assert bool(device.node) <= ("DEVNAME" in sysfs.properties(device, roots))
        assert {each.root for each in device.ancestors()} <= {"/sys"}
