import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from kubelet_plugin.errors import ContainerStartError
from kubelet_plugin.kubelet.profile import VERSIONS
from kubelet_plugin.kubelet.status import Phase, State
from tests.asynchronous import asynchronous
from tests.unit.kubelet.foreign_plugin import THING, PluginError, answer
from tests.unit.kubelet.node import Node, container, node

CONFIG_ERROR = "CreateContainerConfigError"
FAILED = "device plugin PreStartContainer rpc failed with err: "
OTHER = "example.com/other"


def prevent(_: list[str]) -> None:
    raise PluginError("not now", grpc.StatusCode.UNAVAILABLE)


def allow(_: list[str]) -> None:
    pass


async def runs(one: Node, name: str, of_container: str = "") -> None:
    await one.until(lambda: one.manager.pod_status(name).container(of_container).state is State.RUNNING)


async def started(one: Node, times: int) -> None:
    await one.until(lambda: len(one.runtime.started) == times)


# PreStartContainer.


@asynchronous
async def test_a_plugin_is_told_before_a_container_starts(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", pre_start=True)
        await one.running("p", 2)
        assert [call[0] for call in plugin.calls[-2:]] == ["Allocate", "PreStartContainer"]
        assert plugin.asked("PreStartContainer") == [(["a", "b"],)]


@asynchronous
async def test_a_plugin_that_does_not_want_to_be_told_is_not(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        assert plugin.asked("PreStartContainer") == []


@asynchronous
async def test_a_plugin_is_told_of_init_containers_too(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        await one.running("p", container("c", 1), init=[container("i", 1)])
        assert plugin.asked("PreStartContainer") == [(["a"],)] * 2


@asynchronous
async def test_a_plugin_is_told_each_time_a_container_starts(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        await one.running("p", 1)
        await one.manager.restart_container("p")
        assert (len(plugin.asked("PreStartContainer")), len(plugin.asked("Allocate"))) == (2, 1)


@asynchronous
async def test_a_start_that_the_plugin_prevents_waits(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        plugin.on_pre_start = prevent
        assert (await one.admit("p", 1)).phase is Phase.PENDING
        assert one.waiting("p") == (CONFIG_ERROR, f"{FAILED}rpc error: code = Unavailable desc = not now")


@asynchronous
async def test_a_start_that_the_plugin_prevents_is_tried_again_after_ten_seconds(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        plugin.on_pre_start = prevent
        await one.admit("p", 1)
        plugin.on_pre_start = allow
        one.clock.advance(10)
        await runs(one, "p")


@asynchronous
async def test_several_containers_that_wait_are_tried_again_once_each_time(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", "c", pre_start=True)
        plugin.on_pre_start = prevent
        await one.admit("p", *(container(name, 1) for name in ("c1", "c2", "c3")))
        for tries in (6, 9, 12):
            await one.until(lambda: one.clock.sleepers == 1)
            one.clock.advance(10)
            await one.asked(plugin, "PreStartContainer", tries)


@asynchronous
async def test_a_plugin_has_thirty_seconds(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        release = plugin.hold("PreStartContainer")
        work = asyncio.create_task(one.admit("p", 1))
        await one.asked(plugin, "PreStartContainer")
        one.clock.advance(29.9)
        await one.offer(plugin, "a", "b")
        assert not work.done()
        one.clock.advance(0.1)
        await work
        release.set()
        text = "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        assert one.waiting("p") == (CONFIG_ERROR, FAILED + text)


@asynchronous
async def test_other_pods_are_admitted_while_a_container_waits_for_its_plugin(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b", pre_start=True)
        release = plugin.hold("PreStartContainer")
        work = asyncio.create_task(one.running("p", 1))
        await one.asked(plugin, "PreStartContainer")
        await one.running("q", 1)
        release.set()
        await work


@asynchronous
async def test_a_container_that_asks_for_none_is_started_without_a_call(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        await one.running("p", 0)
        assert plugin.asked("PreStartContainer") == []


@asynchronous
async def test_kubelet_1_20_does_not_start_a_container_that_asks_for_none_of_a_plugin_that_must_be_told(
    tmp_path: Path,
) -> None:
    async with node(tmp_path, "1.20") as one:
        await one.plugin("a", pre_start=True)
        status = await one.admit("p", 0)
        text = f"no devices found allocated in local cache for pod {status.pod.uid}, container c, resource {THING}"
        assert one.waiting("p") == (CONFIG_ERROR, text)


@asynchronous
async def test_a_pod_that_is_removed_meanwhile_is_not_started(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        release = plugin.hold("PreStartContainer")
        work = asyncio.create_task(one.admit("p", 1))
        await one.asked(plugin, "PreStartContainer")
        await one.manager.remove("p")
        release.set()
        await work
        assert one.runtime.started == []


@asynchronous
async def test_a_pod_that_is_removed_while_a_container_starts_is_ended_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        one.runtime.gate = asyncio.Event()
        work = asyncio.create_task(one.admit("p", 0))
        await one.runtime.entered.wait()
        await one.manager.remove("p")
        one.runtime.gate.set()
        await work
        assert one.runtime.stopped == ["p", "p"]


@asynchronous
async def test_a_start_that_ends_with_the_kubelet_is_not_tried_again_by_it(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        plugin.hold("PreStartContainer")
        work = asyncio.create_task(one.admit("p", 1))
        await one.asked(plugin, "PreStartContainer")
        await one.manager.stop()
        await work
        assert one.clock.sleepers == 0


# The answer, replayed.


@asynchronous
async def test_a_container_that_starts_again_gets_the_answer_of_before(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer(envs={"A": "1"})]
        await one.running("p", 1)
        plugin.on_allocate = lambda ids: [answer(envs={"A": "2"})]
        await one.manager.restart_container("p")
        assert [options.envs for _, options in one.runtime.started] == [{"A": "1"}] * 2


@asynchronous
async def test_a_container_gets_the_answers_of_all_its_plugins(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        things, others = await one.plugin("a"), await one.plugin("b", resource=OTHER)
        things.on_allocate = lambda ids: [answer(envs={"A": "1"})]
        others.on_allocate = lambda ids: [answer(envs={"B": "2"})]
        await one.running("p", container("c", {THING: 1, OTHER: 1}))
        assert one.runtime.started[0][1].envs == {"A": "1", "B": "2"}


@asynchronous
async def test_which_of_two_plugins_is_first_is_chance(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        things, others = await one.plugin("a"), await one.plugin("b", resource=OTHER)
        things.on_allocate = lambda ids: [answer(envs={"A": "1"})]
        others.on_allocate = lambda ids: [answer(envs={"A": "2"})]
        await one.running("p", container("c", {THING: 1, OTHER: 1}))
        for _ in range(10):
            await one.manager.restart_container("p")
        assert {options.envs["A"] for _, options in one.runtime.started} == {"1", "2"}


@asynchronous
@pytest.mark.parametrize("version", VERSIONS)
async def test_cdi_names_are_passed_on_by_version(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer(cdi_devices=[{"name": "vendor.com/x=a"}])]
        await one.running("p", 1)
        assert one.runtime.started[0][1].cdi_devices == (() if version == "1.20" else ("vendor.com/x=a",))


@asynchronous
@pytest.mark.parametrize("version", VERSIONS)
async def test_kubelet_1_31_annotates_cdi_names(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer(cdi_devices=[{"name": "vendor.com/x=a"}])]
        uid = (await one.running("p", 1)).pod.uid
        key = f"cdi.k8s.io/devicemanager_{uid}-c"
        assert one.runtime.started[0][1].annotations == ({key: "vendor.com/x=a"} if version == "1.31" else {})


@asynchronous
async def test_unqualified_cdi_names_are_passed_on_too(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer(cdi_devices=[{"name": "nonsense"}])]
        await one.running("p", 1)
        assert one.runtime.started[0][1].cdi_devices == ("nonsense",)


# Allocated only now.


@asynchronous
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_container_without_an_allocation_gets_one_when_it_starts(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        await one.running("p", 1)
        plugin = await one.plugin("a")
        await one.manager.restart_container("p")
        assert plugin.asked("Allocate") == [(["a"],)]


@asynchronous
async def test_a_container_that_lacks_one_of_several_gets_that_one(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        things = await one.plugin("a", "b", "c", "d")
        names = ["p", "q", "r", "s"]  # whatever the order in which the resources are looked at
        for name in names:
            await one.running(name, container("c", {THING: 1, OTHER: 1}))
        others = await one.plugin("a", "b", "c", "d", resource=OTHER)
        for name in names:
            await one.manager.restart_container(name)
        assert [len(each.asked("Allocate")) for each in (things, others)] == [4, 4]


@asynchronous
async def test_a_container_that_gets_no_device_now_waits(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 1)
        plugin = await one.plugin("a")
        one.manager.faults.fail(THING, "Allocate", "no")
        await one.manager.restart_container("p")
        assert one.waiting("p") == (CONFIG_ERROR, "rpc error: code = Unknown desc = no")
        assert plugin.asked("Allocate") == []


@asynchronous
async def test_a_container_without_an_allocation_whose_plugin_must_be_told_waits(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        uid = (await one.running("p", 1)).pod.uid
        await one.plugin("a", pre_start=True)
        await one.manager.restart_container("p")
        text = f"no devices found allocated in local cache for pod {uid}, container c, resource {THING}"
        assert one.waiting("p") == (CONFIG_ERROR, text)


@asynchronous
@pytest.mark.parametrize(("version", "calls"), [("1.20", 1), ("1.31", 0), ("1.36", 0)])
async def test_a_container_of_a_pod_that_has_ended_gets_none(tmp_path: Path, version: str, calls: int) -> None:
    async with node(tmp_path, version) as one:
        await one.running("p", 1, restart="Never")
        one.runtime.ended["c"](0)
        plugin = await one.plugin("a")
        await one.manager.restart_container("p")
        assert len(plugin.asked("Allocate")) == calls


# The life of containers.


@asynchronous
async def test_a_container_that_the_runtime_cannot_start_waits(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        one.runtime.failures = [ContainerStartError("CreateContainerError", "no such file")]
        await one.admit("p", 0)
        assert one.waiting("p") == ("CreateContainerError", "no such file")


@asynchronous
async def test_a_container_that_could_not_be_started_is_not_counted_as_started_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        one.runtime.failures = [ContainerStartError("CreateContainerError", "no such file")]
        await one.admit("p", 0)
        one.clock.advance(10)
        await runs(one, "p")
        assert one.manager.pod_status("p").container().restarts == 0


@asynchronous
async def test_a_container_that_has_ended_is_started_again_at_once(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        one.runtime.ended["c"](1)
        assert one.manager.pod_status("p").phase is Phase.RUNNING
        await one.until(lambda: one.runtime.names() == ["c", "c"])


@asynchronous
@pytest.mark.parametrize(("code", "reason"), [(0, "Completed"), (1, "Error"), (137, "Error")])
async def test_how_a_container_has_ended_is_in_its_status(tmp_path: Path, code: int, reason: str) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        one.clock.advance(5)
        one.runtime.ended["c"](code)
        status = one.manager.pod_status("p").container()
        assert (status.state, status.reason, status.message) == (State.TERMINATED, reason, "")
        assert (status.exit_code, status.finished_at) == (code, one.clock.wall())


@asynchronous
async def test_the_end_of_an_earlier_start_is_no_news(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        earlier = one.runtime.ended["c"]
        await one.manager.restart_container("p")
        earlier(1)
        assert one.manager.pod_status("p").container().state is State.RUNNING


@asynchronous
async def test_a_container_that_waits_for_its_time_is_not_started_with_another(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", container("c1", 0), container("c2", 0))
        for starts in (3, 4):
            one.runtime.ended["c1"](1)
            one.clock.advance(10)
            await started(one, starts)
        one.runtime.ended["c1"](1)
        one.runtime.failures = [ContainerStartError("CreateContainerError", "no such file")]
        one.runtime.ended["c2"](1)
        await one.until(lambda: one.manager.pod_status("p").container("c2").state is State.WAITING)
        one.clock.advance(10)
        await runs(one, "p", "c2")
        assert one.waiting("p", "c1")[0] == "CrashLoopBackOff"


@asynchronous
async def test_a_container_that_ends_again_and_again_waits_longer_each_time(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        uid = (await one.running("p", 0)).pod.uid
        one.runtime.ended["c"](0)
        for starts, pause in enumerate(("10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"), 2):
            await started(one, starts)
            one.runtime.ended["c"](0)
            text = f"back-off {pause} restarting failed container=c pod=p_default({uid})"
            assert one.waiting("p") == ("CrashLoopBackOff", text)
            assert one.manager.pod_status("p").phase is Phase.RUNNING
            await one.until(lambda: one.clock.sleepers == 1)
            one.clock.advance(300)


@asynchronous
async def test_a_container_that_has_run_long_is_started_again_at_once(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        one.runtime.ended["c"](0)
        await started(one, 2)
        one.clock.advance(601)
        one.runtime.ended["c"](0)
        await started(one, 3)


@asynchronous
async def test_a_container_that_was_started_by_hand_is_not_started_once_more(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        one.runtime.ended["c"](0)
        await started(one, 2)
        one.runtime.ended["c"](0)
        await one.manager.restart_container("p")
        one.clock.advance(10)
        await one.until(lambda: one.clock.sleepers == 0)
        await one.running("q", 0)
        assert len(one.runtime.started) == 4


@asynchronous
@pytest.mark.parametrize(
    ("restart", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded"), ("OnFailure", 1, "Running")],
)
async def test_how_a_pod_ends_is_in_its_phase(tmp_path: Path, restart: str, code: int, phase: str) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0, restart=restart)
        one.runtime.ended["c"](code)
        assert one.manager.pod_status("p").phase.value == phase


@asynchronous
async def test_a_pod_is_pending_until_all_its_containers_have_started(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", "b", pre_start=True)
        one.manager.faults.fail(THING, "PreStartContainer", "no")
        status = await one.admit("p", container("c1", 1), container("c2", 1))
        assert [each.state for each in status.containers] == [State.WAITING, State.RUNNING]
        assert status.phase is Phase.PENDING


@asynchronous
async def test_init_containers_that_end_well_let_a_pod_run_that_is_never_restarted(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", container("c", 0), init=[container("i", 0)], restart="Never")


@asynchronous
async def test_init_containers_run_one_after_the_other(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        one.runtime.inits_end = False
        status = await one.admit("p", container("c", 0), init=[container("i1", 0), container("i2", 0)])
        assert (status.phase, one.runtime.names()) == (Phase.PENDING, ["i1"])
        one.runtime.ended["i1"](0)
        await one.until(lambda: one.runtime.names() == ["i1", "i2"])
        one.runtime.ended["i2"](0)
        await runs(one, "p", "c")


@asynchronous
async def test_a_sidecar_runs_beside_the_others(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        sidecar: dict[str, Any] = container("s", 0, restartPolicy="Always")
        await one.running("p", container("c", 0), init=[sidecar])
        assert one.manager.pod_status("p").container("s").state is State.RUNNING


@asynchronous
async def test_a_sidecar_that_fails_is_started_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", container("c", 0), init=[container("s", 0, restartPolicy="Always")], restart="Never")
        one.runtime.ended["s"](1)
        assert one.manager.pod_status("p").phase is Phase.RUNNING
        await one.until(lambda: one.runtime.names() == ["s", "c", "s"])


@asynchronous
async def test_an_init_container_that_fails_is_started_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        one.runtime.inits_end = False
        await one.admit("p", container("c", 0), init=[container("i", 0)])
        one.runtime.ended["i"](1)
        assert one.manager.pod_status("p").phase is Phase.PENDING
        await one.until(lambda: one.runtime.names() == ["i", "i"])
        one.runtime.ended["i"](0)
        await runs(one, "p", "c")


@asynchronous
async def test_an_init_container_that_fails_for_good_fails_the_pod(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        one.runtime.inits_end = False
        await one.admit("p", container("c", 0), init=[container("i", 0)], restart="Never")
        one.runtime.ended["i"](1)
        await one.running("q", container("other", 0))
        assert (one.manager.pod_status("p").phase, one.runtime.names()) == (Phase.FAILED, ["i", "other"])


@asynchronous
async def test_a_removed_pod_is_ended(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        await one.manager.remove("p")
        assert (one.runtime.stopped, one.manager.pods()) == (["p"], [])


@asynchronous
async def test_the_end_of_a_kubelet_for_good_ends_its_pods(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
    assert one.runtime.stopped == ["p"]
