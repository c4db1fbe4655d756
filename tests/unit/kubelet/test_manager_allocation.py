import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from kubelet_plugin.kubelet.profile import VERSIONS
from kubelet_plugin.kubelet.status import Phase
from tests.asynchronous import asynchronous
from tests.unit.kubelet.checkpoints import held, responses
from tests.unit.kubelet.foreign_plugin import THING, ForeignPlugin, PluginError, answer, device
from tests.unit.kubelet.node import container, node, pod

OTHER = "example.com/other"
NONE_HEALTHY = f"no healthy devices present; cannot allocate unhealthy devices {THING}"
PREEMPTION = (
    "Pod Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to "
    "preempt: no set of running pods found to reclaim resources"
)
EMPTY_ANSWER = "no containers return in allocation response "


def too_few(requested: int, available: int) -> str:
    return f"requested number of devices unavailable for {THING}. Requested: {requested}, Available: {available}"


def fail(text: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> Any:
    def answering(*_: Any) -> Any:
        raise PluginError(text, code)

    return answering


def recording(order: list[str], name: str) -> Callable[[list[str]], list[Any]]:
    def answering(_: list[str]) -> list[Any]:
        order.append(name)
        return [answer()]

    return answering


def allocated(plugin: ForeignPlugin) -> list[list[str]]:
    return [ids for (ids,) in plugin.asked("Allocate")]


# Whether.


@asynchronous
async def test_each_container_and_resource_has_a_call_of_its_own(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        things, others = await one.plugin("a", "b"), await one.plugin("x", resource=OTHER)
        await one.running("p", container("c1", {THING: 1, OTHER: 1}), container("c2", 1))
        assert sorted(allocated(things)) == [["a"], ["b"]]
        assert allocated(others) == [["x"]]


@asynchronous
async def test_a_request_of_none_asks_nobody(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 0)
        assert allocated(plugin) == []


@asynchronous
async def test_a_request_of_none_is_refused_while_none_is_healthy(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin(device("a", "Unhealthy"))
        assert await one.refused("p", 0) == NONE_HEALTHY


@asynchronous
async def test_a_request_of_none_of_a_resource_that_is_forgotten_and_held_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        assert await one.refused("q", 0) == f"cannot allocate unregistered device {THING}"


@asynchronous
async def test_kubelet_1_20_checks_nothing_for_a_request_of_none(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        await one.plugin(device("a", "Unhealthy"))
        await one.running("p", 0)


@asynchronous
async def test_kubelet_1_20_counts_others_requests_against_a_request_of_none(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.lose(plugin)
        assert (await one.admit("q", 0)).reason == f"OutOf{THING}"


@asynchronous
async def test_newer_kubelets_do_not_count_a_request_of_none(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", 2)
        await one.offer(plugin, "a", device("b", "Unhealthy"))
        await one.running("q", 0)


@asynchronous
async def test_a_resource_that_nobody_offers_is_let_pass(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 5)


@asynchronous
async def test_nothing_is_given_while_none_is_healthy(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin(device("a", "Unhealthy"))
        assert await one.refused("p", 1) == NONE_HEALTHY


@asynchronous
async def test_nothing_is_given_of_an_empty_list(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin()
        assert await one.refused("p", 1) == NONE_HEALTHY


@asynchronous
@pytest.mark.parametrize("version", VERSIONS)
async def test_more_than_there_are_cannot_be_had(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        await one.plugin("a", "b", device("c", "Unhealthy"))
        assert await one.refused("p", 3) == too_few(3, 2)


@asynchronous
async def test_what_is_taken_cannot_be_had(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", "b", "c")
        await one.running("p", 2)
        assert await one.refused("q", 2) == too_few(2, 1)


@asynchronous
async def test_a_refused_pod_has_no_containers(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        status = await one.admit("p", 2)
        assert (status.phase, status.containers, status.init_containers) == (Phase.FAILED, (), ())


@asynchronous
async def test_a_refused_pod_starts_nothing(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.refused("p", 2)
        assert one.runtime.started == []


@asynchronous
@pytest.mark.parametrize(("version", "prefix"), [("1.20", "Pod "), ("1.31", "Pod was rejected: ")])
async def test_a_refusal_begins_by_version(tmp_path: Path, version: str, prefix: str) -> None:
    async with node(tmp_path, version) as one:
        await one.plugin("a")
        status = await one.admit("p", 2)
        assert status.message == f"{prefix}Allocate failed due to {too_few(2, 1)}, which is unexpected"


@asynchronous
async def test_what_a_pod_has_been_given_counts_as_there(tmp_path: Path) -> None:
    """Although the node's status has less by now than its pods ask for."""
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", 2)
        await one.offer(plugin, "d")
        await one.running("q", 1)


@asynchronous
async def test_for_a_static_pod_others_should_make_room(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        plugin = await one.plugin("a", "b", "c")
        await one.running("p", 3)
        await one.lose(plugin)
        status = await one.admit("q", 0, static=True)
        assert (status.reason, status.message) == (
            "UnexpectedAdmissionError",
            f"{PREEMPTION}: [(res: {THING}, q: 3), ]",
        )


# What the plugin says.


@asynchronous
async def test_what_the_plugin_says_against_it_is_passed_on(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = fail("it is being cleaned", grpc.StatusCode.FAILED_PRECONDITION)
        assert await one.refused("p", 1) == "rpc error: code = FailedPrecondition desc = it is being cleaned"


@asynchronous
async def test_a_failed_call_frees_the_devices_at_once(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        one.manager.faults.fail(THING, "Allocate", "no")
        await one.refused("p", 1)
        await one.running("q", 1)
        assert allocated(plugin) == [["a"]]


@asynchronous
@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("1.20", "&AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}"),
        ("1.33", "&AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}"),
        ("1.34", ""),
        ("1.36", ""),
    ],
)
async def test_an_answer_without_containers_is_refused(tmp_path: Path, version: str, shown: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: []
        assert await one.refused("p", 1) == EMPTY_ANSWER + shown


@asynchronous
async def test_after_an_answer_without_containers_the_devices_stay_in_use(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c")
        plugin.on_allocate = lambda ids: []
        await one.refused("p", 1)
        assert await one.refused("q", 3) == too_few(3, 2)


@asynchronous
async def test_devices_that_nobody_holds_are_free_after_a_failed_call(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c")
        plugin.on_allocate = lambda ids: []
        await one.refused("p", 1)
        plugin.on_allocate = fail("no")
        await one.refused("q", 1)
        plugin.on_allocate = lambda ids: [answer()]
        await one.running("r", 3)


@asynchronous
async def test_devices_that_nobody_holds_are_free_when_another_pod_is_gone(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c")
        await one.running("p", 1)
        plugin.on_allocate = lambda ids: []
        await one.refused("q", 1)
        plugin.on_allocate = lambda ids: [answer()]
        await one.manager.remove("p")
        await one.running("r", 3)


@asynchronous
async def test_of_several_answers_the_first_counts(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer(envs={"A": "1"}), answer(envs={"B": "2"})]
        await one.running("p", 1)
        assert one.runtime.started[0][1].envs == {"A": "1"}


@asynchronous
async def test_an_empty_answer_is_one(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer()]
        await one.running("p", 1)
        assert held(tmp_path) == {("c", THING): {"-1": {"a"}}}


@asynchronous
async def test_there_is_no_deadline_for_an_answer(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        release = plugin.hold("Allocate")
        work = asyncio.create_task(one.running("p", 1))
        await one.asked(plugin, "Allocate")
        one.clock.advance(3600)
        release.set()
        await work


@asynchronous
async def test_while_an_answer_is_out_no_other_pod_has_its_turn(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        release = plugin.hold("Allocate")
        first = asyncio.create_task(one.running("p", 1))
        await one.asked(plugin, "Allocate")
        second = asyncio.create_task(one.running("q", 1))
        await one.offer(plugin, "a", "b", "c")
        assert len(plugin.asked("Allocate")) == 1
        release.set()
        await asyncio.gather(first, second)


@asynchronous
async def test_a_plugin_that_is_lost_over_an_answer_costs_the_pod(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        plugin.hold("Allocate")
        work = asyncio.create_task(one.refused("p", 1))
        await one.asked(plugin, "Allocate")
        one.manager.cut(THING)
        assert await work == "rpc error: code = Canceled desc = grpc: the client connection is closing"


@asynchronous
async def test_the_answer_is_in_the_checkpoint(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        given = answer(envs={"A": "1"}, cdi_devices=[{"name": "vendor.com/x=a"}])
        plugin.on_allocate = lambda ids: [given]
        await one.running("p", 1)
        assert responses(tmp_path) == [given]


@asynchronous
@pytest.mark.parametrize(("version", "node_without"), [("1.20", "0"), ("1.31", "-1"), ("1.36", "-1")])
async def test_devices_without_topology_are_recorded_by_version(
    tmp_path: Path, version: str, node_without: str
) -> None:
    async with node(tmp_path, version) as one:
        await one.plugin("a", device("b", numa=[]))
        await one.running("p", 2)
        assert held(tmp_path) == {("c", THING): {node_without: {"a", "b"}}}


@asynchronous
async def test_devices_are_recorded_under_each_numa_node(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin(device("a", numa=[0, 1]), device("b", numa=[1]))
        await one.running("p", 2)
        assert held(tmp_path) == {("c", THING): {"0": {"a"}, "1": {"a", "b"}}}


@asynchronous
async def test_a_pod_that_asks_for_another_number_by_now_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", "b", "c")
        await one.running("p", container("c", 1))
        uid = one.manager.pod_status("p").pod.uid
        changed = pod("q", container("c", 2))
        changed["metadata"]["uid"] = uid
        status = await one.manager.admit(changed)
        assert f'pod "{uid}" container "c" changed request for resource "{THING}" from 1 to 2' in status.message


@asynchronous
async def test_a_pod_that_gets_no_device_does_not_touch_the_checkpoint(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 0)
        await one.logged("Checkpoint file written", 1)


@asynchronous
async def test_an_endpoint_that_is_gone_by_then_is_unknown(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", prefer=True)
        release = plugin.hold("GetPreferredAllocation")
        work = asyncio.create_task(one.refused("p", 1))
        await one.asked(plugin, "GetPreferredAllocation")
        del one.manager._session.devices.endpoints[THING]
        release.set()
        assert await work == f"unknown Device Plugin {THING}"


# What becomes of them.


@asynchronous
async def test_what_the_first_container_got_is_not_given_back_at_once(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", "b", "c")
        await one.refused("p", container("c1", 2), container("c2", 2))
        assert list(held(tmp_path)) == [("c1", THING)]


@asynchronous
async def test_what_a_refused_pod_got_is_free_at_the_next_admission(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", "b", "c")
        await one.refused("p", container("c1", 2), container("c2", 2))
        await one.running("q", 3)


@asynchronous
async def test_a_removed_pods_devices_are_free_at_the_next_admission(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 1)
        await one.manager.remove("p")
        assert list(held(tmp_path)) == [("c", THING)]
        await one.running("q", 1)


@asynchronous
async def test_a_pod_that_asks_for_no_device_frees_none(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 1)
        await one.manager.remove("p")
        await one.running("q", container("c", {}))
        assert "Pods to be removed" not in "".join(one.lines)


@asynchronous
async def test_a_pod_that_has_ended_frees_its_devices(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 1, restart="Never")
        one.runtime.ended["c"](0)
        await one.running("q", 1)


@asynchronous
async def test_a_pod_of_the_same_name_is_another_pod(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.manager.remove("p")
        await one.running("p", 1)
        assert allocated(plugin) == [["a"], ["a"]]


@asynchronous
async def test_a_pod_of_the_same_uid_keeps_its_devices(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1, static=True)
        await one.manager.remove("p")
        await one.running("p", 1, static=True)
        assert allocated(plugin) == [["a"]]


# Init containers.


@asynchronous
async def test_init_containers_lend_their_devices_to_later_containers(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", container("c", 2), init=[container("i1", 2), container("i2", 1)])
        first, second, third = allocated(plugin)
        assert (first, third) == (["a", "b"], ["a", "b"])
        assert len(second) == 1


@asynchronous
async def test_what_a_container_has_taken_is_not_lent_to_the_next(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c")
        await one.running("p", container("c1", 1), container("c2", 1), init=[container("i", 2)])
        lent, first, second = allocated(plugin)
        assert sorted(first + second) == lent


@asynchronous
async def test_a_container_that_needs_more_takes_what_was_lent_first(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c", prefer=True)
        await one.running("p", container("c", 2), init=[container("i", 1)])
        (lent,), (first, second) = allocated(plugin)
        assert lent in (first, second)
        assert plugin.asked("GetPreferredAllocation")[-1] == (["a", "b", "c"], [lent], 2)


@asynchronous
async def test_a_sidecar_keeps_its_devices(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", container("c", 1), init=[container("s", 1, restartPolicy="Always")])
        assert sorted(allocated(plugin)) == [["a"], ["b"]]


@asynchronous
async def test_a_sidecar_takes_what_was_lent(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        init = [container("i", 1), container("s", 1, restartPolicy="Always")]
        await one.running("p", container("c", 1), init=init)
        lent, of_sidecar, of_container = allocated(plugin)
        assert lent == of_sidecar != of_container


@asynchronous
async def test_devices_are_lent_within_a_pod_only(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", container("c", 0), init=[container("i", 1)])
        assert await one.refused("q", 1) == too_few(1, 0)


@asynchronous
async def test_what_an_init_container_has_lent_and_nobody_taken_stays_in_use(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", "b", "c")
        await one.running("p", container("c", 1), init=[container("i", 3)])
        assert await one.refused("q", 1) == too_few(1, 0)


# Preferred allocation.


@asynchronous
async def test_a_plugin_is_asked_what_it_prefers_where_it_wants_to_be(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c", prefer=True)
        plugin.on_prefer = lambda available, must, size: ["c", "a"]
        await one.running("p", 2)
        assert plugin.asked("GetPreferredAllocation") == [(["a", "b", "c"], [], 2)]
        assert allocated(plugin) == [["a", "c"]]


@asynchronous
async def test_a_plugin_that_does_not_want_to_be_asked_is_not(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", 1)
        assert plugin.asked("GetPreferredAllocation") == []


@asynchronous
async def test_a_plugin_is_asked_even_where_there_is_no_choice(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", prefer=True)
        await one.running("p", 1)
        assert plugin.asked("GetPreferredAllocation") == [(["a"], [], 1)]


@asynchronous
async def test_a_plugin_is_not_asked_where_all_was_lent(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", prefer=True)
        await one.running("p", container("c", 1), init=[container("i", 2)])
        assert len(plugin.asked("GetPreferredAllocation")) == 1


@asynchronous
@pytest.mark.parametrize("preferred", [["x", "y"], [], None, ["a", "x"]])
async def test_a_preference_that_is_not_enough_is_filled_up(tmp_path: Path, preferred: list[str] | None) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c", prefer=True)
        plugin.on_prefer = lambda available, must, size: preferred
        await one.running("p", 2)
        (ids,) = allocated(plugin)
        assert len(ids) == 2
        assert {"a", "b", "c"} >= set(ids) >= {"a"} & set(preferred or ())


@asynchronous
async def test_a_preference_of_too_many_is_cut(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c", "d", prefer=True)
        plugin.on_prefer = lambda available, must, size: ["a", "b", "c"]
        await one.running("p", 2)
        (ids,) = allocated(plugin)
        assert len(ids) == 2
        assert set(ids) < {"a", "b", "c"}


@asynchronous
async def test_a_device_in_use_is_not_given_because_it_is_preferred(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", prefer=True)
        plugin.on_prefer = lambda available, must, size: ["a"]
        await one.running("p", 1)
        await one.running("q", 1)
        assert allocated(plugin) == [["a"], ["b"]]


@asynchronous
async def test_a_failed_preference_refuses_the_pod(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", prefer=True)
        plugin.on_prefer = fail("no preference")
        assert await one.refused("p", 1) == (
            "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = no preference"
        )


@asynchronous
async def test_a_preference_may_outlast_a_collection_of_garbage(tmp_path: Path) -> None:
    """The table of what is in use is another one by then."""
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", prefer=True)
        plugin.on_prefer = lambda available, must, size: ["a"]
        await one.running("p", 1)
        await one.manager.remove("p")
        release = plugin.hold("GetPreferredAllocation")
        work = asyncio.create_task(one.running("q", 1))
        await one.asked(plugin, "GetPreferredAllocation", 2)
        one.manager._session.allocator.collect_garbage()
        release.set()
        await work
        assert await one.refused("r", 2) == too_few(2, 1)


# The order.


@asynchronous
async def test_a_seed_repeats_the_order(tmp_path: Path) -> None:
    seen = []
    for number in range(2):
        directory = tmp_path / str(number)
        async with node(directory) as one:
            plugin = await one.plugin(*"abcdefgh")
            for name in ("p", "q", "r"):
                await one.running(name, 2)
            seen.append(plugin.asked("Allocate"))
    assert seen[0] == seen[1]


@asynchronous
async def test_devices_are_chosen_in_no_order(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin(*"abcdefgh")
        for number in range(8):
            await one.running(f"p{number}", 1)
        assert allocated(plugin) != sorted(allocated(plugin))


@asynchronous
async def test_resources_are_asked_for_in_no_order(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        order: list[str] = []
        for resource in (THING, OTHER):
            plugin = await one.plugin(*"abcdefgh", resource=resource)
            plugin.on_allocate = recording(order, resource)
        for number in range(8):
            await one.running(f"p{number}", container("c", {THING: 1, OTHER: 1}))
        assert len({order[index] for index in range(0, 16, 2)}) == 2


@asynchronous
async def test_failures_are_measured_too(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        await one.running("p", 1)
        plugin.on_allocate = fail("no")
        await one.refused("q", 1)
        assert (
            f'kubelet_device_plugin_alloc_duration_seconds_count{{resource_name="{THING}"}} 2' in one.manager.metrics()
        )
