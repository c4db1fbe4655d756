import logging
from pathlib import Path

import pytest

from kubelet_plugin.plugins.configured import ConfiguredPlugin
from kubelet_plugin.runtime import Device, Health, Inject
from tests.asynchronous import asynchronous
from tests.fake_node import FakeNode
from tests.unit.plugins.configured.observing import look, observed, resource

HEALTHY = Health.HEALTHY


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


def healthy(devices: dict[str, Device]) -> list[str]:
    return [each.id for each in devices.values() if each.health == HEALTHY]


@asynchronous
async def test_nodes_of_a_glob_come_and_go(node: FakeNode) -> None:
    async with observed(node, "devices: [{path: '/dev/x*'}]") as observation:
        assert await observation.next() == {}
        node.char("x0")
        assert [*await observation.until(bool)] == ["x0"]
        node.remove("x0")
        assert await observation.until(lambda devices: not devices) == {}


@asynchronous
async def test_a_replugged_adapter_has_the_same_id_and_its_new_node(node: FakeNode) -> None:
    node.char("ttyUSB0")
    node.link("serial/by-id/usb-x", "../../ttyUSB0")
    async with observed(node, "devices: [{path: '/dev/serial/by-id/*'}]") as observation:
        await observation.next()
        node.remove("ttyUSB0")
        assert healthy(await observation.until(lambda devices: not healthy(devices))) == []
        node.char("ttyUSB1")
        node.link("serial/by-id/usb-x", "../../ttyUSB1")
        (device,) = (await observation.until(healthy)).values()  # type: ignore[arg-type]
    assert (device.id, device.edits.device_nodes[0].host_path) == ("usb-x", "/dev/ttyUSB1")


@asynchronous
async def test_what_a_link_leads_to_is_noticed_when_it_goes_and_comes(node: FakeNode) -> None:
    node.char("ttyUSB0")
    node.link("modem", "/dev/ttyUSB0")
    async with observed(node, "devices: [{path: /dev/modem}]") as observation:
        assert healthy(await observation.next()) == ["modem"]
        node.remove("ttyUSB0")
        assert not healthy(await observation.until(lambda devices: not healthy(devices)))
        node.char("ttyUSB0")
        assert healthy(await observation.until(lambda devices: bool(healthy(devices)))) == ["modem"]


@asynchronous
async def test_a_change_of_mode_is_told_to_containers(node: FakeNode) -> None:
    path = node.char("x", mode=0o600)
    async with observed(node, "devices: [{path: /dev/x}]") as observation:
        await observation.next()
        path.chmod(0o666)
        (device,) = (await observation.next()).values()
    assert device.edits.device_nodes[0].file_mode == 0o666


@asynchronous
async def test_a_configured_change_is_taken_over_while_it_runs(node: FakeNode) -> None:
    for name in ("a", "b"):
        node.char(name)
    async with observed(node, "devices: [{path: /dev/a}]") as observation:
        assert [*await observation.next()] == ["a"]
        observation.plugin.configure(resource(node.place, "devices: [{path: /dev/a}, {path: /dev/b}]"))
        assert [*await observation.next()] == ["a", "b"]
        node.remove("b")
        assert healthy(await observation.next()) == ["a"]


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ("devices: [{path: /dev/b}]", True),
        ("count: 3\ndevices: [{path: /dev/a}]", True),
        ("cdi_kind: example.com/other\ndevices: [{path: /dev/a}]", False),
        ("inject: cdi\ndevices: [{path: /dev/a}]", False),
        ("preferred: packed\ndevices: [{path: /dev/a}]", False),
    ],
)
def test_it_accepts_what_a_kubelet_need_not_be_told_anew(node: FakeNode, change: str, accepted: bool) -> None:
    plugin = ConfiguredPlugin(resource(node.place, "devices: [{path: /dev/a}]"))
    assert plugin.accepts(resource(node.place, change)) is accepted


def test_it_is_served_as_configured(node: FakeNode) -> None:
    plugin = ConfiguredPlugin(
        resource(node.place, "inject: cdi\ncdi_kind: example.com/kind\ndevices: [{path: /dev/a}]")
    )
    assert (plugin.resource_name, plugin.cdi_kind, plugin.inject) == (
        "example.com/thing",
        "example.com/kind",
        Inject.CDI,
    )


@asynchronous
async def test_a_count_makes_shares(node: FakeNode) -> None:
    node.char("fuse")
    plugin = ConfiguredPlugin(resource(node.place, "count: 3\ndevices: [{path: /dev/fuse}]"), roots=node.roots)
    lists = plugin.devices()
    assert [each.id for each in await anext(lists)] == ["fuse::0", "fuse::1", "fuse::2"]
    await lists.aclose()  # type: ignore[attr-defined]


@asynchronous
async def test_it_suggests_allocations_only_where_it_is_configured_to(node: FakeNode) -> None:
    node.char("fuse")
    node.char("fuse2")
    silent = ConfiguredPlugin(resource(node.place, "devices: [{path: /dev/fuse}]"))
    assert not silent.overrides("preferred_allocation")
    text = "preferred: spread\ncount: 2\ndevices: [{path: '/dev/fuse*'}]"
    plugin = ConfiguredPlugin(resource(node.place, text), roots=node.roots)
    assert plugin.overrides("preferred_allocation")
    lists = plugin.devices()
    devices = await anext(lists)
    chosen = await plugin.preferred_allocation(devices, [], 2)
    assert {each.cdi_name for each in chosen} == {"fuse", "fuse2"}
    await lists.aclose()  # type: ignore[attr-defined]


@asynchronous
async def test_topology_is_told_of_all_devices_or_of_none(node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    node.pci("0000:3b:00.0", "8086", "56c0", "030000", numa=1, nodes={"dri/renderD128": "drm"})
    node.pci("0000:3c:00.0", "8086", "56c0", "030000", numa=-1, nodes={"dri/renderD129": "drm"})
    with caplog.at_level(logging.WARNING):
        devices = await look(node, "devices: [{pci: {vendor: 8086}}]")
    assert [each.numa_nodes for each in devices.values()] == [(), ()]
    assert "1 of 2 devices have no NUMA node (0000:3c:00.0), so none is told" in caplog.text


@asynchronous
async def test_an_absent_device_does_not_take_the_topology_of_others_away(node: FakeNode) -> None:
    node.pci("0000:3b:00.0", "8086", "56c0", "030000", numa=1, nodes={"dri/renderD128": "drm"})
    devices = await look(node, "devices: [{path: /dev/dri/renderD128}, {path: /dev/dri/renderD129}]")
    assert [each.numa_nodes for each in devices.values()] == [(1,), ()]


@asynchronous
async def test_a_device_that_flaps_is_held_back(node: FakeNode) -> None:
    async with observed(node, "max_flips: 2\ndevices: [{path: /dev/x}]") as observation:
        await observation.next()
        node.char("x")
        await observation.until(lambda devices: bool(healthy(devices)))
        node.remove("x")
        await observation.until(lambda devices: not healthy(devices))
        node.char("x")
        (device,) = (await observation.until(lambda devices: "flapping" in devices["x"].reason)).values()
    assert device.health == "Unhealthy"


@asynchronous
async def test_a_probe_of_ones_own_says_why_a_device_does_not_work(node: FakeNode) -> None:
    node.char("x")
    text = "devices: [{path: /dev/x, probe: {command: [sh, -c, 'echo {path} is on fire; exit 3']}}]"
    (device,) = (await look(node, text)).values()
    assert (device.health, device.reason) == ("Unhealthy", f"{node.dev}/x is on fire")


@asynchronous
async def test_a_storm_of_hot_plugging_ends_in_the_right_list_after_few(node: FakeNode) -> None:
    async with observed(node, "devices: [{path: '/dev/x*'}]") as observation:
        await observation.next()
        for number in range(1000):
            node.char(f"x{number}")
            if number % 10:
                node.remove(f"x{number}")
        expected = [f"x{number}" for number in range(0, 1000, 10)]
        lists = 0

        def counted(devices: dict[str, Device]) -> bool:
            nonlocal lists
            lists += 1
            return [*devices] == expected

        await observation.until(counted)
    assert lists <= 20
