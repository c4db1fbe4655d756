from pathlib import Path

import grpc
import pytest

from kubelet_plugin.kubelet.manager import NodeResource
from tests.asynchronous import asynchronous
from tests.unit.kubelet.checkpoints import registered
from tests.unit.kubelet.foreign_plugin import THING, PluginError, device
from tests.unit.kubelet.node import node

CONFIG_ERROR = "CreateContainerConfigError"


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_a_stream_that_ends_leaves_capacity_and_nothing_to_allocate(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.plugin("a", device("b", "Unhealthy"))
        await one.lose(plugin)
        assert one.manager.resources()[THING] == NodeResource(2, 0)


@asynchronous
async def test_a_stream_that_fails_is_a_loss(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin, PluginError("broken", grpc.StatusCode.INTERNAL))
        assert one.manager.resources()[THING] == NodeResource(1, 0)


@asynchronous
async def test_a_plugin_that_dies_is_a_loss(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.die(plugin)
        assert one.manager.resources()[THING] == NodeResource(1, 0)


@asynchronous
async def test_a_stream_that_is_cut_is_a_loss(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        one.manager.cut(THING)
        await one.has(1, 0)
        await one.asked(plugin, "ListAndWatch ended")


@asynchronous
async def test_a_stream_that_cannot_be_opened_is_a_loss(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a")
        one.manager.faults.fail(THING, "ListAndWatch", "no")
        assert await one.register(plugin) == ""
        await one.has(0, 0)


@asynchronous
async def test_a_plugin_that_was_lost_is_disconnected(tmp_path: Path) -> None:
    """Its second stream ends, too."""
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.register(plugin)
        await one.watched(plugin, 2)
        one.manager.cut(THING)
        await one.asked(plugin, "ListAndWatch ended")


@asynchronous
async def test_a_stream_is_not_opened_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(60)
        await one.register(await one.serving(resource="bad"))
        assert len(plugin.asked("ListAndWatch")) == 1


@asynchronous
async def test_a_stream_that_ends_before_its_first_list_makes_a_resource_of_none(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving()
        plugin.devices = None
        await one.register(plugin)
        await one.watched(plugin, 1)
        await one.lose(plugin)
        assert one.manager.resources() == {THING: NodeResource(0, 0)}


@asynchronous
async def test_a_resource_without_a_first_list_is_no_device_plugins_after_its_loss_either(tmp_path: Path) -> None:
    """So the pod gets no device; then the node has too few."""
    async with node(tmp_path) as one:
        plugin = await one.serving()
        plugin.devices = None
        await one.register(plugin)
        await one.watched(plugin, 1)
        await one.lose(plugin)
        status = await one.admit("p", 1)
        assert status.reason == f"OutOf{THING}"


@asynchronous
async def test_a_loss_is_forgotten_after_five_minutes(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(300.1)
        assert one.manager.resources()[THING] == NodeResource(0, 0)


@asynchronous
async def test_a_loss_is_not_forgotten_at_five_minutes(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(300)
        assert one.manager.resources()[THING] == NodeResource(1, 0)


@asynchronous
async def test_the_time_until_a_loss_is_forgotten_can_be_set(tmp_path: Path) -> None:
    async with node(tmp_path, grace=5) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(5.1)
        assert one.manager.resources()[THING] == NodeResource(0, 0)


@asynchronous
async def test_a_loss_is_forgotten_only_when_the_nodes_status_is_computed(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(301)
        assert one.manager.endpoint(THING) is not None
        one.manager.resources()
        assert one.manager.endpoint(THING) is None


@asynchronous
async def test_a_forgotten_resource_stays_on_the_node_at_zero(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        assert one.manager.resources() == {THING: NodeResource(0, 0)}


@asynchronous
async def test_a_loss_is_not_written_to_the_checkpoint(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        assert registered(tmp_path) == {THING: {"a"}}


@asynchronous
async def test_forgetting_a_resource_is_written_to_the_checkpoint(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        assert registered(tmp_path) == {}


@asynchronous
async def test_a_plugin_that_registers_again_has_nothing_before_its_list(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        plugin.devices = None
        await one.register(plugin)
        await one.watched(plugin, 2)
        assert one.manager.resources()[THING] == NodeResource(1, 0)


@asynchronous
async def test_a_plugin_that_registered_again_is_not_forgotten(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        plugin.devices = None
        await one.register(plugin)
        one.clock.advance(301)
        assert one.manager.resources()[THING] == NodeResource(1, 0)


@asynchronous
async def test_a_plugin_that_comes_back_has_its_devices_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.die(plugin)
        await one.plugin("a", "b")
        assert one.manager.resources()[THING] == NodeResource(2, 2)


@asynchronous
async def test_a_forgotten_plugin_can_come_back(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        await one.register(plugin)
        await one.has(1, 1)


@asynchronous
@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("1.20", f"requested number of devices unavailable for {THING}. Requested: 1, Available: 0"),
        ("1.36", f"no healthy devices present; cannot allocate unhealthy devices {THING}"),
    ],
)
async def test_nothing_is_allocated_while_the_plugin_is_gone(tmp_path: Path, version: str, text: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        assert await one.refused("p", 1) == text


@asynchronous
async def test_a_pod_runs_on_without_its_plugin(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.lose(plugin)
        assert one.manager.pod_status("p").container().devices == {THING: ("a",)}


@asynchronous
async def test_a_container_starts_again_without_its_plugin(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.die(plugin)
        assert (await one.manager.restart_container("p")).container().restarts == 1


@asynchronous
async def test_a_container_whose_plugin_must_be_told_waits_for_it(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        await one.running("p", 1)
        await one.lose(plugin)
        await one.manager.restart_container("p")
        endpoint = f"endpoint &{{{THING} {plugin.socket}}} has been stopped"
        text = f"device plugin PreStartContainer rpc failed with err: {endpoint}"
        assert one.waiting("p") == (CONFIG_ERROR, text)


@asynchronous
async def test_after_five_minutes_a_container_cannot_start_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        await one.manager.restart_container("p")
        assert one.waiting("p") == (CONFIG_ERROR, f"endpoint not found in cache for a registered resource: {THING}")


@asynchronous
async def test_a_waiting_container_starts_once_its_plugin_is_back(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        await one.manager.restart_container("p")
        await one.register(plugin)
        await one.has(1, 1)
        one.clock.advance(10)
        await one.until(lambda: one.manager.pod_status("p").container().state.value == "running")


@asynchronous
async def test_a_resource_that_nobody_holds_is_unknown_after_five_minutes(tmp_path: Path) -> None:
    """A pod that asks for it gets no device; the node has too few of it then."""
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        status = await one.admit("p", 1)
        assert status.message == (
            f"Pod was rejected: Node didn't have enough resource: {THING}, requested: 1, used: 0, capacity: 0"
        )


@asynchronous
async def test_a_resource_that_somebody_holds_is_unregistered_after_five_minutes(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", 1)
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        assert await one.refused("q", 1) == f"cannot allocate unregistered device {THING}"


@asynchronous
async def test_kubelet_1_20_words_it_differently(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", 1)
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        assert await one.refused("q", 1) == f"can't allocate unregistered device {THING}"
