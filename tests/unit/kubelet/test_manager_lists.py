from pathlib import Path

import pytest

from kubelet_plugin.kubelet.manager import NodeResource
from tests.asynchronous import asynchronous
from tests.unit.kubelet.checkpoints import registered
from tests.unit.kubelet.foreign_plugin import THING, device
from tests.unit.kubelet.node import node


@asynchronous
async def test_a_resource_is_not_there_before_its_first_list(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving()
        plugin.devices = None
        assert await one.register(plugin) == ""
        assert one.manager.resources() == {}


@asynchronous
async def test_a_pod_runs_without_devices_of_a_resource_before_its_first_list(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving()
        plugin.devices = None
        await one.register(plugin)
        await one.running("a", 1)
        assert plugin.asked("Allocate") == []


@asynchronous
async def test_an_empty_list_makes_a_resource_of_none(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin()
        assert one.manager.resources() == {THING: NodeResource(0, 0)}


@asynchronous
async def test_an_empty_list_leaves_the_plugin_registered(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.offer(plugin)
        await one.offer(plugin, "b")
        assert plugin.asked("ListAndWatch ended") == []


@asynchronous
async def test_each_list_is_the_whole(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.offer(plugin, "c")
        assert one.manager.devices(THING) == {"c": "Healthy"}


@asynchronous
@pytest.mark.parametrize("health", ["Unhealthy", "healthy", "HEALTHY", "", "Broken"])
async def test_a_device_that_is_not_exactly_healthy_is_unhealthy(tmp_path: Path, health: str) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", device("b", health))
        assert one.manager.resources()[THING] == NodeResource(2, 1)


@asynchronous
async def test_an_id_that_is_listed_with_two_healths_counts_twice(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", device("a", "Unhealthy"), device("b", "Unhealthy"), "b", "c", "c")
        assert one.manager.resources()[THING] == NodeResource(5, 3)


@asynchronous
async def test_an_id_that_is_listed_with_two_healths_can_be_had(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", device("a", "Unhealthy"))
        await one.running("p", 1)
        assert plugin.asked("Allocate") == [(["a"],)]


@asynchronous
async def test_of_two_devices_of_an_id_the_last_is_known(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", device("a", "Unhealthy"))
        assert one.manager.devices(THING) == {"a": "Unhealthy"}


@asynchronous
@pytest.mark.parametrize("name", ["", "ä ö", "x" * 300, "a/b:c"])
async def test_an_id_may_be_anything(tmp_path: Path, name: str) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin(name)
        await one.running("p", 1)
        assert plugin.asked("Allocate") == [([name],)]


@asynchronous
async def test_a_list_over_4_mib_is_the_plugins_loss(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.offer_unheard(plugin, device("x" * (4 << 20)))
        await one.has(1, 0)


@asynchronous
async def test_a_list_of_4_mib_is_taken_in(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        overhead = len(device("x" * (4 << 20)).SerializeToString()) - (4 << 20) + 5
        await one.plugin("x" * ((4 << 20) - overhead))
        assert one.manager.resources()[THING] == NodeResource(1, 1)


@asynchronous
async def test_the_size_of_a_list_can_be_bounded_otherwise(tmp_path: Path) -> None:
    async with node(tmp_path, message_limit=100) as one:
        plugin = await one.plugin("a")
        await one.offer_unheard(plugin, device("x" * 100))
        await one.has(1, 0)


@asynchronous
async def test_two_streams_of_a_plugin_are_both_heeded(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.register(plugin)
        await one.watched(plugin, 2)
        first, second = plugin.streams
        first(device("b"))
        await one.until(lambda: one.manager.devices(THING) == {"b": "Healthy"})
        second(device("c"))
        await one.until(lambda: one.manager.devices(THING) == {"c": "Healthy"})


@asynchronous
async def test_each_list_is_written_to_the_checkpoint(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("b", "a", device("c", "Unhealthy"))
        assert registered(tmp_path) == {THING: {"a", "b"}}


@asynchronous
async def test_a_device_that_a_pod_holds_stays_the_pods_when_it_is_not_listed_any_more(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        held = (await one.running("p", 1)).container().devices[THING]
        await one.offer(plugin)
        assert one.manager.pod_status("p").container().devices == {THING: held}


@asynchronous
async def test_a_device_that_is_not_listed_reads_healthy_in_pod_status(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin()
        assert one.manager.health(THING, "gone") == "Healthy"


@asynchronous
async def test_a_device_of_any_other_health_reads_unhealthy_in_pod_status(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin(device("a", "Broken"))
        assert one.manager.health(THING, "a") == "Unhealthy"


@asynchronous
async def test_a_lost_plugins_devices_keep_their_health_in_pod_status(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        assert one.manager.health(THING, "a") == "Healthy"
