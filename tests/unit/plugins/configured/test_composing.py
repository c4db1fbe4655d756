from pathlib import Path

import pytest

from kubelet_plugin.cdi import DeviceNode, Mount
from kubelet_plugin.runtime import Device
from tests.asynchronous import asynchronous
from tests.fake_node import FakeNode
from tests.unit.plugins.configured.observing import look


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


async def one(node: FakeNode, text: str) -> Device:
    (device,) = (await look(node, text)).values()
    return device


@asynchronous
async def test_a_node_has_its_own_path_and_mode_and_no_owner(node: FakeNode) -> None:
    node.char("tpmrm0", mode=0o640, gid=59)
    device = await one(node, "devices: [{path: /dev/tpmrm0}]")
    assert device.edits.device_nodes == (DeviceNode("/dev/tpmrm0", permissions="rw", file_mode=0o640),)


@asynchronous
async def test_permissions_owner_and_mode_are_as_configured(node: FakeNode) -> None:
    node.char("x")
    device = await one(node, "devices: [{path: /dev/x, permissions: r, uid: 7, gid: 8, file_mode: 0600}]")
    assert device.edits.device_nodes == (DeviceNode("/dev/x", permissions="r", file_mode=0o600, uid=7, gid=8),)


@asynchronous
async def test_a_container_path_may_be_a_name(node: FakeNode) -> None:
    node.char("x")
    device = await one(node, "devices: [{path: /dev/x, container_path: /dev/modem}]")
    assert device.edits.device_nodes == (
        DeviceNode("/dev/modem", host_path="/dev/x", permissions="rw", file_mode=0o660),
    )


@asynchronous
async def test_a_container_path_may_be_a_directory(node: FakeNode) -> None:
    node.char("x0")
    device = await one(node, "devices: [{path: '/dev/x*', container_path: /dev/all/}]")
    assert [each.path for each in device.edits.device_nodes] == ["/dev/all/x0"]


@asynchronous
async def test_a_link_is_kept_for_device_specs_and_resolved_for_cdi(node: FakeNode) -> None:
    node.char("ttyUSB0")
    node.link("serial/by-id/usb-x", "../../ttyUSB0")
    device = await one(node, "devices: [{path: '/dev/serial/by-id/*'}]")
    (edit,) = device.edits.device_nodes
    assert (edit.path, edit.host_path) == ("/dev/serial/by-id/usb-x", "/dev/ttyUSB0")
    assert device.links == (("/dev/ttyUSB0", "/dev/serial/by-id/usb-x"),)


@asynchronous
async def test_an_absolute_link_leads_from_the_hosts_root_on(node: FakeNode) -> None:
    node.char("ttyUSB0")
    node.link("modem", "/dev/ttyUSB0")
    device = await one(node, "devices: [{path: /dev/modem}]")
    assert device.health == "Healthy"
    assert device.links == (("/dev/ttyUSB0", "/dev/modem"),)


@asynchronous
async def test_variables_are_filled_in_with_what_is_known_of_the_device(node: FakeNode) -> None:
    node.device("devices/virtual/foo/foo0", subsystem="foo", node="foo0", number=9, properties={"ID_SERIAL": "S-1"})
    text = """
container_path: /dev/own/
env: {"FOO_{id}": "{path} {container_path} {ID_SERIAL} {{{MINOR}}} {NOTHING}"}
annotations: {example.com/serial: "{ID_SERIAL}"}
devices: [{sysfs: {subsystem: foo}}]
"""
    device = await one(node, text)
    assert device.edits.env == ("FOO_foo0=/dev/foo0 /dev/own/foo0 S-1 {9} ",)
    assert device.annotations == (("example.com/serial", "S-1"),)


@asynchronous
async def test_what_an_entry_says_goes_before_what_the_resource_says(node: FakeNode) -> None:
    node.char("x")
    text = """
permissions: r
file_mode: 0600
env: {A: resource, B: resource}
devices: [{path: /dev/x, permissions: rw, env: {A: entry}}]
"""
    device = await one(node, text)
    assert device.edits.device_nodes == (DeviceNode("/dev/x", permissions="rw", file_mode=0o600),)
    assert device.edits.env == ("A=entry", "B=resource")


@asynchronous
async def test_mounts_are_read_only_unless_it_is_said_otherwise(node: FakeNode) -> None:
    node.char("x")
    text = """
mounts: [{host_path: /srv/firmware}]
devices: [{path: /dev/x, mounts: [{host_path: /srv/state, container_path: /state, read_only: false}]}]
"""
    assert (await one(node, text)).edits.mounts == (
        Mount("/srv/firmware", "/srv/firmware", options=("rbind", "ro")),
        Mount("/srv/state", "/state", options=("rbind", "rw")),
    )


@asynchronous
async def test_groups_of_the_nodes_are_joined_but_never_root_s(node: FakeNode) -> None:
    for name, gid in (("a", 44), ("b", 109), ("c", 0)):
        node.char(name, gid=gid)
    text = "additional_gids: auto\ndevices: [{group: [{path: /dev/a}, {path: /dev/b}, {path: /dev/c}]}]"
    assert (await one(node, text)).edits.additional_gids == (44, 109)


@asynchronous
async def test_a_numa_node_may_be_given(node: FakeNode) -> None:
    node.char("x")
    assert (await one(node, "devices: [{path: /dev/x, numa: 2}]")).numa_nodes == (2,)


@asynchronous
async def test_a_device_of_unknown_numa_node_has_none(node: FakeNode) -> None:
    node.pci("0000:3b:00.0", "8086", "56c0", "030000", numa=-1, nodes={"dri/renderD128": "drm"})
    assert (await one(node, "devices: [{pci: {vendor: 8086}}]")).numa_nodes == ()


@asynchronous
async def test_a_path_finds_its_numa_node_by_its_device_number(node: FakeNode) -> None:
    node.pci("0000:3b:00.0", "8086", "56c0", "030000", numa=1, nodes={"dri/renderD128": "drm"})
    assert (await one(node, "devices: [{path: '/dev/dri/renderD*'}]")).numa_nodes == (1,)


@asynchronous
async def test_an_absent_path_is_unhealthy_and_says_so(node: FakeNode) -> None:
    device = await one(node, "devices: [{path: /dev/x}]")
    assert device.health == "Unhealthy"
    assert device.reason == f"{node.place}/dev/x is absent; load its driver, or plug the device in"


@asynchronous
async def test_a_device_whose_nodes_would_be_at_one_place_is_unhealthy_and_says_so(node: FakeNode) -> None:
    for name in ("a0", "a1"):
        node.char(name)
    device = await one(node, "devices: [{group: [{path: '/dev/a*', container_path: /dev/m}]}]")
    assert device.health == "Unhealthy"
    assert device.reason.startswith("/dev/a0 and /dev/a1 would both be /dev/m in the container")
