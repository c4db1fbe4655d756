from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet.manager import DeviceManager
from kubelet_plugin.kubelet.status import Phase
from tests.asynchronous import asynchronous
from tests.unit.kubelet.checkpoints import held
from tests.unit.kubelet.foreign_plugin import THING, device
from tests.unit.kubelet.node import Runtime, container, node

TWO = (0, 1)


def too_few(requested: int, available: int) -> str:
    return f"requested number of devices unavailable for {THING}. Requested: {requested}, Available: {available}"


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_a_container_gets_devices_of_one_numa_node(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        await one.plugin(*(device(f"{number}{side}", numa=[number]) for number in TWO for side in "ab"))
        await one.running("p", 2)
        ((_, by_node),) = held(tmp_path).items()
        assert len(by_node) == 1


@asynchronous
async def test_a_container_that_no_numa_node_has_enough_for_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        plugin = await one.plugin(device("a", numa=[0]), device("b", numa=[1]))
        status = await one.admit("p", 2)
        assert (status.reason, status.message) == (
            "TopologyAffinityError",
            "Pod was rejected: Resources cannot be allocated with Topology locality",
        )
        assert plugin.asked("Allocate") == []


@asynchronous
async def test_where_policy_does_its_best_such_a_container_gets_devices_of_both(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="best-effort") as one:
        await one.plugin(device("a", numa=[0]), device("b", numa=[1]))
        await one.running("p", 2)
        assert held(tmp_path) == {("c", THING): {"0": {"a"}, "1": {"b"}}}


@asynchronous
async def test_without_a_policy_numa_nodes_are_not_looked_at(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO) as one:
        plugin = await one.plugin(device("a", numa=[0]), device("b", numa=[1]), prefer=True)
        await one.running("p", 1)
        assert plugin.asked("GetPreferredAllocation") == [(["a", "b"], [], 1)]


@asynchronous
async def test_a_resource_without_topology_has_no_preference(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        await one.plugin("a", "b")
        await one.running("p", 2)


@asynchronous
async def test_with_a_mixed_resource_pods_are_refused(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        await one.plugin(device("a", numa=[0]), "b")
        assert (await one.admit("p", 2)).reason == "TopologyAffinityError"


@asynchronous
async def test_a_plugin_is_asked_among_the_aligned_where_there_is_a_choice(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        plugin = await one.plugin(
            device("a", numa=[0]), device("b", numa=[0]), device("c", numa=[1], health="Unhealthy"), prefer=True
        )
        plugin.on_prefer = lambda available, must, size: ["b"]
        await one.running("p", 1)
        assert plugin.asked("GetPreferredAllocation") == [(["a", "b"], [], 1)]
        assert plugin.asked("Allocate") == [(["b"],)]


@asynchronous
async def test_a_plugin_is_not_asked_where_the_aligned_are_just_enough(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        plugin = await one.plugin(device("a", numa=[0]), device("b", numa=[0]), device("c", numa=[1]), prefer=True)
        await one.running("p", 2)
        assert plugin.asked("GetPreferredAllocation") == []
        assert plugin.asked("Allocate") == [(["a", "b"],)]


@asynchronous
async def test_what_is_preferred_and_not_aligned_is_not_given(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        plugin = await one.plugin(*(device(name, numa=[0]) for name in "abc"), device("z", numa=[1]), prefer=True)
        plugin.on_prefer = lambda available, must, size: ["z"]
        await one.running("p", 2)
        ((ids,),) = plugin.asked("Allocate")
        assert "z" not in ids


@asynchronous
async def test_where_the_aligned_are_too_few_they_are_all_taken_first(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=(0, 1, 2), topology_policy="best-effort") as one:
        plugin = await one.plugin(device("a", numa=[0]), device("b", numa=[1]), device("c"), device("d"), prefer=True)
        await one.running("p", 3)
        assert plugin.asked("GetPreferredAllocation") == [(["a", "b", "c", "d"], ["a", "b"], 3)]


@asynchronous
async def test_devices_taken_before_a_failed_preference_stay_in_use(tmp_path: Path) -> None:
    """Until the table is built anew: nothing of them is recorded, and the pod holds none of them."""
    async with node(tmp_path, numa_nodes=TWO, topology_policy="best-effort") as one:
        await one.plugin(device("a", numa=[0]), "b", "c", prefer=True)
        one.manager.faults.fail(THING, "GetPreferredAllocation", "no")
        await one.refused("p", 2)
        assert await one.refused("q", 9) == too_few(9, 2)


@asynchronous
async def test_what_an_init_container_lends_counts_for_the_alignment(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        plugin = await one.plugin(*(device(f"{number}{side}", numa=[number]) for number in TWO for side in "ab"))
        await one.running("p", container("c", 2), init=[container("i", 1)])
        ((lent,),), (both,) = plugin.asked("Allocate")
        assert lent in both
        assert len({name[0] for name in both}) == 1


@asynchronous
async def test_devices_of_ended_pods_are_free_for_the_alignment(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        await one.plugin(device("a", numa=[0]), device("b", numa=[0]))
        await one.running("p", 2)
        await one.manager.remove("p")
        await one.running("q", 2)


@asynchronous
async def test_a_pod_that_is_looked_at_again_is_aligned_to_what_it_holds(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        await one.plugin(device("a", numa=[0]), device("b", numa=[0]))
        await one.running("p", 2, static=True)
        await one.manager.remove("p")
        await one.running("p", 2, static=True)


@asynchronous
async def test_a_forgotten_resource_has_no_preference(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        await one.lose(await one.plugin(device("a", numa=[0])))
        one.clock.advance(301)
        one.manager.resources()
        assert (await one.admit("p", 1)).reason == f"OutOf{THING}"


@asynchronous
async def test_two_resources_are_aligned_with_each_other(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        other = "example.com/other"
        await one.plugin(device("0", numa=[0]), device("1", numa=[1]))
        await one.plugin(device("1", numa=[1]), resource=other)
        await one.running("p", container("c", {THING: 1, other: 1}))
        assert held(tmp_path) == {("c", THING): {"1": {"1"}}, ("c", other): {"1": {"1"}}}


@asynchronous
async def test_an_aligned_pod_runs_on_through_a_restart(tmp_path: Path) -> None:
    async with node(tmp_path, numa_nodes=TWO, topology_policy="single-numa-node") as one:
        await one.plugin(device("a", numa=[0]))
        await one.running("p", 1)
        await one.manager.restart()
        assert one.manager.pod_status("p").phase is Phase.RUNNING


@asynchronous
@pytest.mark.parametrize(
    ("version", "phase"), [("1.20", Phase.FAILED), ("1.31", Phase.RUNNING), ("1.36", Phase.RUNNING)]
)
async def test_an_empty_topology_counts_for_kubelet_1_20_only(tmp_path: Path, version: str, phase: Phase) -> None:
    async with node(tmp_path, version, numa_nodes=TWO, topology_policy="restricted") as one:
        await one.plugin(device("a", numa=[]))
        assert (await one.admit("p", 1)).phase is phase


def test_a_machine_that_no_kubelet_starts_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="more than 8 NUMA Nodes"):
        DeviceManager(str(tmp_path), runtime=Runtime(), numa_nodes=range(9), topology_policy="best-effort")
