from pathlib import Path

import pytest

from tests.asynchronous import asynchronous
from tests.fake_node import FakeNode
from tests.unit.plugins.configured.observing import look, observed

FTDI = "devices: [{usb: {vendor: 0403, product: 6001}, nodes: [ttyUSB*]}]"


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


@asynchronous
async def test_a_path_is_one_device_named_after_it(node: FakeNode) -> None:
    node.char("net/tun")
    assert [*await look(node, "devices: [{path: /dev/net/tun}]")] == ["net-tun"]


@asynchronous
async def test_a_path_may_be_given_an_id(node: FakeNode) -> None:
    node.char("kvm")
    assert [*await look(node, "devices: [{path: /dev/kvm, id: kvm0}]")] == ["kvm0"]


@asynchronous
async def test_a_glob_is_a_device_for_each_node(node: FakeNode) -> None:
    for number in (10, 2):
        node.char(f"video{number}")
    assert [*await look(node, "devices: [{path: '/dev/video*'}]")] == ["video2", "video10"]


@asynchronous
async def test_two_paths_to_one_node_are_one_device(node: FakeNode) -> None:
    node.char("ttyUSB0")
    node.link("serial/by-id/a", "../../ttyUSB0")
    node.link("serial/by-id/b", "../../ttyUSB0")
    assert [*await look(node, "devices: [{path: '/dev/serial/by-id/*'}, {path: '/dev/ttyUSB*'}]")] == ["a"]


@asynchronous
async def test_a_usb_device_is_named_by_its_serial_number(node: FakeNode) -> None:
    node.usb(serial="A50285BI")
    assert [*await look(node, FTDI)] == ["0403-6001-A50285BI"]


@asynchronous
async def test_identical_adapters_are_two_devices_named_by_their_ports(node: FakeNode) -> None:
    node.usb("1-1", nodes=["ttyUSB0"])
    node.usb("1-2", nodes=["ttyUSB1"])
    assert [*await look(node, FTDI)] == ["usb-0000:00:14.0-1", "usb-0000:00:14.0-2"]


@asynchronous
async def test_ids_by_port_are_those_of_the_port_whatever_the_serial_number(node: FakeNode) -> None:
    node.usb("1-1.4", serial="A50285BI")
    text = "devices: [{usb: {vendor: 0403, product: 6001}, id_by: port}]"
    assert [*await look(node, text)] == ["usb-0000:00:14.0-1.4"]


@asynchronous
async def test_a_usb_device_keeps_its_id_at_another_port_and_under_other_node_names(node: FakeNode) -> None:
    at = node.usb("1-1", serial="X", nodes=["ttyUSB0"])
    before = await look(node, FTDI)
    node.unplug(at)
    node.usb("1-2", serial="X", nodes=["ttyUSB7"])
    after = await look(node, FTDI)
    assert [*before] == [*after] == ["0403-6001-X"]
    assert after["0403-6001-X"].edits.device_nodes[0].path == "/dev/ttyUSB7"


@asynchronous
async def test_adapters_that_lie_about_their_serial_number_keep_their_ids_when_one_goes(node: FakeNode) -> None:
    first = node.usb("1-1", serial="0001", nodes=["ttyUSB0"])
    node.usb("1-2", serial="0001", nodes=["ttyUSB1"])
    async with observed(node, FTDI) as observation:
        one, other = await observation.next()
        assert (one, len({one, other})) == ("0403-6001-0001", 2)
        node.unplug(first)
        assert [*await observation.until(lambda devices: len(devices) == 1)] == [other]


@asynchronous
async def test_adapters_that_lie_about_their_serial_number_keep_their_ids_when_buses_are_numbered_anew(
    node: FakeNode,
) -> None:
    ids = []
    for bus in (1, 2):
        adapters = [node.usb(f"{bus}-{port}", serial="0001", nodes=[f"ttyUSB{port}"]) for port in (1, 2)]
        ids.append([*await look(node, FTDI)])
        for at in adapters:
            node.unplug(at)
    assert ids[0] == ids[1]


@asynchronous
async def test_another_vendor_or_serial_number_is_not_matched(node: FakeNode) -> None:
    node.usb("1-1", vendor="1a86", serial="X")
    node.usb("1-2", serial="Y", nodes=["ttyUSB1"])
    devices = await look(node, "devices: [{usb: {vendor: 0403, product: 6001, serial: 'X*'}}]")
    assert devices == {}


@asynchronous
async def test_a_usb_device_of_a_known_serial_number_is_listed_while_it_is_unplugged(node: FakeNode) -> None:
    (device,) = (await look(node, "devices: [{usb: {vendor: 0403, product: 6001, serial: X}}]")).values()
    assert (device.id, device.health) == ("0403-6001-X", "Unhealthy")
    assert device.reason == "USB device 0403:6001 with serial number X is not plugged in; plug it in"


@asynchronous
async def test_all_nodes_of_a_usb_device_are_meant_where_none_is_named(node: FakeNode) -> None:
    node.usb(serial="X", nodes=["ttyUSB0", "hidraw3"])
    (device,) = (await look(node, "devices: [{usb: {vendor: 0403, product: 6001}}]")).values()
    paths = {each.path for each in device.edits.device_nodes}
    assert {"/dev/ttyUSB0", "/dev/hidraw3"} < paths
    assert any(path.startswith("/dev/bus/usb/") for path in paths)


@asynchronous
async def test_a_device_is_unhealthy_until_the_nodes_that_are_named_are_there(node: FakeNode) -> None:
    node.usb(serial="X", nodes=[])
    (device,) = (await look(node, FTDI)).values()
    assert device.health == "Unhealthy"
    assert device.reason == "no node of USB device 0403:6001 at 1-1.2 fits ttyUSB*; load its driver"


@asynchronous
async def test_a_pci_function_is_named_by_its_address_and_knows_its_numa_node(node: FakeNode) -> None:
    node.pci("0000:3b:00.0", "8086", "56c0", "030000", numa=1, nodes={"dri/renderD128": "drm"})
    node.pci("0000:3c:00.0", "1234", "0001", "020000", nodes={"foo0": "foo"})
    devices = await look(node, "devices: [{pci: {vendor: 8086, class: '03'}}]")
    (device,) = devices.values()
    assert (device.id, device.numa_nodes) == ("0000:3b:00.0", (1,))
    assert [each.path for each in device.edits.device_nodes] == ["/dev/dri/renderD128"]


@asynchronous
async def test_sysfs_matches_subsystem_name_and_parents(node: FakeNode) -> None:
    node.usb("1-1", serial="X", nodes=["ttyUSB0"])
    node.usb("1-2", serial="Y", nodes=["ttyUSB1"])
    text = """
devices:
  - sysfs:
      subsystem: tty
      name: ttyUSB*
      parents: [{subsystem: usb, attributes: {serial: Y}}]
"""
    assert [*await look(node, text)] == ["ttyUSB1"]


TTY = "{sysfs: {subsystem: tty}}"
RENDER = "devices: [{sysfs: {subsystem: drm, name: 'renderD*'}, id_by: parent}]"


def gpu(node: FakeNode, slot: str, *numbers: int) -> str:
    """A GPU with these render nodes."""
    return node.pci(f"0000:{slot}:00.0", "8086", "56a0", "030000", nodes={f"dri/renderD{n}": "drm" for n in numbers})


@asynchronous
async def test_ids_by_parent_stay_when_the_kernel_finds_the_cards_in_another_order(node: FakeNode) -> None:
    cards = [gpu(node, "03", 128), gpu(node, "04", 129)]
    before = await look(node, RENDER)
    for card in cards:
        node.unplug(card)
    gpu(node, "04", 128)
    gpu(node, "03", 129)
    after = await look(node, RENDER)
    assert [*before] == [*after] == ["0000:03:00.0", "0000:04:00.0"]
    assert after["0000:03:00.0"].edits.device_nodes[0].path == "/dev/dri/renderD129"


@asynchronous
async def test_two_of_one_parent_are_told_apart_by_their_order_whatever_their_numbers(node: FakeNode) -> None:
    card = gpu(node, "03", 128, 129)
    before = await look(node, RENDER)
    node.unplug(card)
    gpu(node, "03", 130, 131)
    after = await look(node, RENDER)
    assert len({*before, *after}) == len(before) == 2
    assert "0000:03:00.0" in before


@asynchronous
async def test_two_of_one_parent_keep_their_ids_when_one_goes(node: FakeNode) -> None:
    card = gpu(node, "03", 128, 129)
    async with observed(node, RENDER) as observation:
        _, other = await observation.next()
        node.unplug(f"{card}/drm/renderD128")
        assert [*await observation.until(lambda devices: len(devices) == 1)] == [other]


@asynchronous
async def test_interfaces_of_one_adapter_are_ordered_by_interface_and_not_by_the_kernels_number(node: FakeNode) -> None:
    paths = []
    for first, second in (("ttyUSB0", "ttyUSB1"), ("ttyUSB9", "ttyUSB3")):
        at = node.usb(serial="X", nodes=[first])
        node.device(f"{at}/1-1.2:1.1/{second}", subsystem="tty", node=second, number=90)
        devices = await look(node, "devices: [{sysfs: {subsystem: tty}, id_by: parent}]")
        paths.append({device_id: device.edits.device_nodes[0].path for device_id, device in devices.items()})
        node.unplug(at)
    assert [*paths[0]] == [*paths[1]]
    assert [[*each.values()] for each in paths] == [["/dev/ttyUSB0", "/dev/ttyUSB1"], ["/dev/ttyUSB9", "/dev/ttyUSB3"]]


@asynchronous
@pytest.mark.parametrize("twice", ["{path: '/dev/tty*'}, {path: '/dev/ttyUSB*'}", f"{TTY}, {TTY}"])
async def test_a_device_that_two_entries_mean_is_one_and_keeps_its_id(node: FakeNode, twice: str) -> None:
    node.usb(serial="X", nodes=["ttyUSB0"])
    async with observed(node, f"devices: [{twice}, {{path: '/dev/hint*'}}]") as observation:
        assert [*await observation.next()] == ["ttyUSB0"]
        node.char("hint")
        assert [*await observation.until(lambda devices: "hint" in devices)] == ["ttyUSB0", "hint"]


@asynchronous
async def test_two_entries_may_mean_different_nodes_of_one_usb_device(node: FakeNode) -> None:
    node.usb(serial="X", nodes=["ttyUSB0", "hidraw3"])
    usb = "usb: {vendor: 0403, product: 6001}"
    text = f"devices: [{{{usb}, nodes: [ttyUSB*]}}, {{{usb}, nodes: [hidraw*]}}, {{path: '/dev/hint*'}}]"
    async with observed(node, text) as observation:
        before = await observation.next()
        assert [each.edits.device_nodes[0].path for each in before.values()] == ["/dev/ttyUSB0", "/dev/hidraw3"]
        node.char("hint")
        after = await observation.until(lambda devices: "hint" in devices)
        assert [after[device_id].edits for device_id in before] == [each.edits for each in before.values()]


GROUP = "devices: [{group: [{path: /dev/a}, {path: '/dev/b*', optional: true}, {path: /dev/c}]}]"


@asynchronous
async def test_a_group_is_one_device_with_the_optional_members_that_are_there(node: FakeNode) -> None:
    for name in ("a", "b1", "c"):
        node.char(name)
    (device,) = (await look(node, GROUP)).values()
    assert (device.id, device.health) == ("thing", "Healthy")
    assert [each.path for each in device.edits.device_nodes] == ["/dev/a", "/dev/b1", "/dev/c"]


@asynchronous
async def test_a_group_is_unhealthy_without_a_member_that_is_not_optional(node: FakeNode) -> None:
    node.char("a")
    (device,) = (await look(node, GROUP)).values()
    assert device.health == "Unhealthy"
    assert "/dev/c is absent" in device.reason


@asynchronous
async def test_a_group_does_not_choose_between_two_devices_that_fit(node: FakeNode) -> None:
    node.usb("1-1", serial="X", nodes=["ttyUSB0"])
    node.usb("1-2", serial="Y", nodes=["ttyUSB1"])
    (device,) = (await look(node, "devices: [{group: [{usb: {vendor: 0403, product: 6001}}]}]")).values()
    assert device.reason.startswith("2 devices fit USB device 0403:6001; say which one is meant")


@asynchronous
async def test_an_entry_that_is_not_enabled_offers_nothing_until_it_is(node: FakeNode) -> None:
    node.char("a")
    async with observed(node, "devices: [{path: /dev/a, enabled_when: {path: /dev/switch}}]") as observation:
        assert await observation.next() == {}
        node.char("switch")
        assert [*await observation.until(bool)] == ["a"]


@asynchronous
async def test_of_what_fits_a_glob_device_nodes_count(node: FakeNode) -> None:
    node.char("snd/timer")
    (node.dev / "snd/by-path").mkdir()
    (node.dev / "snd/README").touch()
    assert [*await look(node, "devices: [{path: '/dev/snd/*'}]")] == ["snd-timer"]
    (group,) = (await look(node, "devices: [{group: [{path: '/dev/snd/*'}]}]")).values()
    assert (group.health, [each.path for each in group.edits.device_nodes]) == ("Healthy", ["/dev/snd/timer"])


@asynchronous
async def test_a_fixed_path_that_is_no_device_node_is_listed_with_the_reason(node: FakeNode) -> None:
    (node.dev / "x").mkdir()
    (device,) = (await look(node, "devices: [{path: /dev/x}]")).values()
    assert "is a directory, no device node" in device.reason
