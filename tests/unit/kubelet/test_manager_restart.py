import asyncio
import os
from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError, ContainerStartError
from kubelet_plugin.kubelet.checkpoint import Checkpoint, Entry
from kubelet_plugin.kubelet.manager import DeviceManager, NodeResource
from kubelet_plugin.kubelet.pods import Pod
from kubelet_plugin.kubelet.profile import VERSIONS
from kubelet_plugin.kubelet.status import Phase, State
from tests.asynchronous import asynchronous
from tests.unit.kubelet.foreign_plugin import THING, answer, device
from tests.unit.kubelet.node import Runtime, container, node, pod, why

NONE_HEALTHY = f"no healthy devices present; cannot allocate unhealthy devices {THING}"
CHECKPOINT = "kubelet_internal_checkpoint"


@asynchronous
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_pod_runs_on_through_a_restart(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        await one.manager.restart()
        status = one.manager.pod_status("p")
        assert (status.phase, status.container().devices) == (Phase.RUNNING, {THING: ("a",)})
        assert (len(plugin.asked("Allocate")), len(one.runtime.started), one.runtime.stopped) == (1, 1, [])


@asynchronous
@pytest.mark.parametrize(("version", "reason"), [("1.20", "UnexpectedAdmissionError"), ("1.36", f"OutOf{THING}")])
async def test_a_pod_that_runs_without_the_devices_it_asks_for_does_not_survive_a_restart(
    tmp_path: Path, version: str, reason: str
) -> None:
    """It was there before the plugin. With newer kubelets it is let pass since it runs, and then the node has too few."""
    async with node(tmp_path, version) as one:
        await one.running("p", 1)
        await one.plugin("a")
        await one.manager.restart()
        assert one.manager.pod_status("p").reason == reason


@asynchronous
async def test_a_pod_that_runs_is_let_pass_only_while_not_all_pods_are_known(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 1, static=True)
        await one.manager.restart()
        await one.manager.remove("p")
        assert await one.refused("p", 1, static=True) == NONE_HEALTHY


@asynchronous
async def test_plugins_lose_their_connections_when_the_kubelet_ends(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.manager.stop()
        await one.asked(plugin, "ListAndWatch ended")
        assert one.ends == 0  # whose process has ended says nothing of it


@asynchronous
async def test_after_a_restart_the_node_has_none_of_a_known_resource(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.manager.restart()
        assert one.manager.resources() == {THING: NodeResource(0, 0)}


@asynchronous
async def test_devices_are_back_when_the_plugin_has_registered_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.manager.restart()
        await one.plugin("a")
        assert one.manager.resources() == {THING: NodeResource(1, 1)}


@asynchronous
async def test_a_restart_makes_another_socket(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        socket, kept = tmp_path / "kubelet.sock", tmp_path / "directory" / "kept"
        kept.parent.mkdir()
        os.link(socket, kept)  # so that the inode's number stays its own
        await one.manager.restart()
        assert not socket.samefile(kept)


@asynchronous
async def test_a_kubelet_that_has_ended_leaves_its_socket(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.manager.stop()
        assert (tmp_path / "kubelet.sock").is_socket()


@asynchronous
async def test_a_restart_removes_plugins_sockets(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.manager.restart()
        assert not plugin.socket.exists()


@asynchronous
async def test_held_devices_stay_held_through_a_restart(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", "b")
        ((first,),) = (await one.running("p", 1)).container().devices.values()
        await one.manager.restart()
        plugin = await one.plugin("a", "b")
        await one.running("q", 1)
        assert plugin.asked("Allocate") == [([({"a", "b"} - {first}).pop()],)]


@asynchronous
@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("1.20", f"requested number of devices unavailable for {THING}. Requested: 1, Available: 0"),
        ("1.36", NONE_HEALTHY),
    ],
)
async def test_a_new_pod_is_refused_until_the_plugin_is_back(tmp_path: Path, version: str, text: str) -> None:
    async with node(tmp_path, version) as one:
        await one.plugin("a")
        await one.manager.restart()
        assert await one.refused("p", 1) == text


@asynchronous
async def test_a_plugin_has_five_minutes_anew_after_a_restart(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(299)
        await one.manager.restart()
        one.clock.advance(300)
        one.manager.resources()
        assert one.manager.endpoint(THING) is not None
        one.clock.advance(0.1)
        one.manager.resources()
        assert one.manager.endpoint(THING) is None


@asynchronous
async def test_a_resource_that_was_forgotten_before_a_restart_stays_forgotten(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        one.clock.advance(301)
        one.manager.resources()
        await one.manager.restart()
        assert (one.manager.endpoint(THING), one.manager.resources()) == (None, {THING: NodeResource(0, 0)})


@asynchronous
async def test_after_a_restart_a_plugin_is_not_told_of_a_start(tmp_path: Path) -> None:
    """Its options are not known until it has registered again."""
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        await one.running("p", 1)
        await one.manager.restart()
        await one.manager.restart_container("p")
        assert (len(one.runtime.started), len(plugin.asked("PreStartContainer"))) == (2, 1)


@asynchronous
async def test_after_a_restart_a_container_gets_the_answer_of_before(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer(envs={"A": "1"})]
        await one.running("p", 1)
        await one.manager.restart()
        await one.manager.restart_container("p")
        assert one.runtime.started[1][1].envs == {"A": "1"}


@asynchronous
async def test_a_restart_counts_anew(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 1)
        await one.manager.restart()
        assert one.manager.metrics() == ""


# Who does not run.


@asynchronous
@pytest.mark.parametrize(("version", "phase"), [("1.20", Phase.PENDING), ("1.36", Phase.FAILED)])
async def test_a_pod_whose_container_waits_does_not_survive_a_restart(
    tmp_path: Path, version: str, phase: Phase
) -> None:
    async with node(tmp_path, version) as one:
        await one.plugin("a")
        one.runtime.failures = [_not_now(), _not_now()]
        await one.admit("p", 1)
        await one.manager.restart()
        assert one.manager.pod_status("p").phase is phase


@asynchronous
async def test_why_such_a_pod_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        one.runtime.failures = [_not_now()]
        await one.admit("p", 1)
        await one.manager.restart()
        assert why(one.manager.pod_status("p")) == NONE_HEALTHY


@asynchronous
@pytest.mark.parametrize(
    ("version", "phase"), [("1.20", Phase.RUNNING), ("1.31", Phase.FAILED), ("1.36", Phase.FAILED)]
)
async def test_a_pod_whose_init_container_has_had_devices_does_not_survive_a_restart(
    tmp_path: Path, version: str, phase: Phase
) -> None:
    """An init container that has ended does not run, so that its devices are looked at."""
    async with node(tmp_path, version) as one:
        await one.plugin("a")
        await one.running("p", container("c", 1), init=[container("i", 1)])
        await one.manager.restart()
        assert one.manager.pod_status("p").phase is phase


@asynchronous
async def test_a_pod_that_is_refused_after_a_restart_is_ended(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", container("c", 1), init=[container("i", 1)])
        await one.manager.restart()
        assert one.runtime.stopped == ["p"]


@asynchronous
async def test_a_refused_pod_stays_refused(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        await one.refused("p", 1)
        one.clock.advance(301)
        one.manager.resources()
        await one.manager.restart()
        assert one.manager.pod_status("p").phase is Phase.FAILED


@asynchronous
async def test_a_refused_static_pod_is_looked_at_again(tmp_path: Path) -> None:
    """By then nobody knows its resource any more: it is let pass, and is short of a device only on the node."""
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.lose(plugin)
        await one.refused("p", 1, static=True)
        one.clock.advance(301)
        one.manager.resources()
        await one.manager.restart()
        assert "preemption" in one.manager.pod_status("p").message


@asynchronous
async def test_a_pod_that_has_ended_is_not_looked_at_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 1, restart="Never")
        one.runtime.ended["c"](0)
        await one.manager.restart()
        assert one.manager.pod_status("p").phase is Phase.SUCCEEDED


@asynchronous
async def test_pods_that_have_ended_are_not_collected_before_all_pods_are_known(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.running("p", 1, restart="Never")
        await one.running("q", 0)
        await one.manager.stop()
        one.runtime.ended["c"](0)
        before = len(one.lines)
        await one.manager.start()
        assert not any("Pods to be removed" in line for line in one.lines[before:])


@asynchronous
async def test_a_pod_that_is_there_at_the_start_is_refused(tmp_path: Path) -> None:
    """No plugin can have registered by then."""
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.manager.stop()
        await one.manager.start([Pod.from_document(pod("p", 1))])
        assert why(one.manager.pod_status("p")) == NONE_HEALTHY


# While it is down.


@asynchronous
async def test_nothing_is_started_while_the_kubelet_is_down(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        await one.manager.stop()
        one.runtime.ended["c"](1)
        assert one.manager.pod_status("p").container().state is State.TERMINATED
        assert (len(one.runtime.started), one.clock.sleepers) == (1, 0)


@asynchronous
async def test_what_has_ended_meanwhile_is_started_by_the_next_kubelet(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        await one.manager.stop()
        one.runtime.ended["c"](1)
        await one.manager.start()
        assert one.manager.pod_status("p").container().restarts == 1


@asynchronous
async def test_what_has_ended_for_good_is_not_started_by_the_next_kubelet(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", container("c1", 0), container("c2", 0), restart="OnFailure")
        one.runtime.ended["c1"](0)
        await one.manager.restart()
        assert one.runtime.names() == ["c1", "c2"]


@asynchronous
async def test_the_next_kubelet_does_not_know_how_long_to_wait(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        one.runtime.ended["c"](1)
        await one.until(lambda: len(one.runtime.started) == 2)
        one.runtime.ended["c"](1)
        assert one.waiting("p")[0] == "CrashLoopBackOff"
        await one.manager.restart()
        assert len(one.runtime.started) == 3
        one.runtime.ended["c"](1)
        await one.until(lambda: len(one.runtime.started) == 4)


@asynchronous
async def test_nothing_is_tried_again_while_the_kubelet_is_down(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        one.runtime.failures = [_not_now()]
        await one.admit("p", 0)
        await one.until(lambda: one.clock.sleepers == 1)
        await one.manager.stop()
        one.clock.advance(10)
        assert (one.runtime.started, one.clock.sleepers) == ([], 0)


@asynchronous
async def test_a_call_that_hangs_ends_with_the_kubelet(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        one.manager.faults.hang(THING, "Allocate")
        work = asyncio.create_task(one.refused("p", 1))
        await one.logged("Making allocation request for device plugin")
        await one.manager.restart()
        assert await work == "rpc error: code = Canceled desc = grpc: the client connection is closing"
        assert plugin.asked("Allocate") == []


# The checkpoint.


@asynchronous
async def test_another_process_knows_who_holds_what(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        plugin = await one.plugin("a")
        plugin.on_allocate = lambda ids: [answer(envs={"A": "1"})]
        await one.running("p", 1, static=True)
    runtime = Runtime()
    async with DeviceManager(str(tmp_path), "1.20", runtime=runtime) as manager:
        status = await manager.admit(pod("p", 1, static=True))
        assert status.container().devices == {THING: ("a",)}
        assert runtime.started[0][1].envs == {"A": "1"}


@asynchronous
@pytest.mark.parametrize(
    "content", ["", "{", "{}", '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":1}']
)
async def test_a_corrupt_checkpoint_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / CHECKPOINT).write_text(content)
    async with node(tmp_path) as one:
        assert one.manager.resources() == {}
        assert any("Continue after failing to read checkpoint file" in line for line in one.lines)


@asynchronous
async def test_without_its_checkpoint_a_kubelet_knows_no_resource(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        await one.manager.stop()
        (tmp_path / CHECKPOINT).unlink()
        await one.manager.start()
        assert one.manager.resources() == {}


@asynchronous
async def test_without_its_checkpoint_a_kubelet_lets_pods_run_on_and_gives_their_devices_to_others(
    tmp_path: Path,
) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a", device("b", "Unhealthy"))
        await one.running("p", 1)
        await one.manager.stop()
        (tmp_path / CHECKPOINT).unlink()
        await one.manager.start()
        assert one.manager.pod_status("p").phase is Phase.RUNNING
        plugin = await one.plugin("a", "b", prefer=True)
        plugin.on_prefer = lambda available, must, size: ["a"]
        await one.running("q", 1)
        assert plugin.asked("Allocate") == [(["a"],)]


@asynchronous
async def test_a_checkpoint_that_cannot_be_read_is_ignored(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).mkdir()
    async with node(tmp_path) as one:
        assert any("Continue after failing to read checkpoint file" in line for line in one.lines)


@asynchronous
async def test_a_pod_is_refused_where_the_checkpoint_cannot_be_written(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        (tmp_path / CHECKPOINT).unlink()
        (tmp_path / CHECKPOINT).mkdir()
        assert (await one.refused("p", 1)).startswith(f'failed to write checkpoint file "{CHECKPOINT}": ')


@asynchronous
async def test_an_allocation_whose_answer_is_nonsense_is_left_out(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        Checkpoint(str(tmp_path / CHECKPOINT)).write([Entry("p", "c", THING, {-1: ("a",)}, b"\xff")], {THING: ["a"]})
        await one.manager.restart()
        await one.logged("Can't unmarshal allocResp")
        await one.plugin("a")
        await one.running("q", 1)


@asynchronous
@pytest.mark.parametrize("version", ["1.31", "1.36"])
async def test_the_checkpoint_may_be_elsewhere(tmp_path: Path, version: str) -> None:
    file = tmp_path / "elsewhere"
    async with node(tmp_path, version, checkpoint=str(file)) as one:
        await one.plugin("a")
        await one.manager.restart()
        assert one.manager.resources() == {THING: NodeResource(0, 0)}
        assert (file.exists(), (tmp_path / CHECKPOINT).exists()) == (True, False)


@asynchronous
async def test_devices_that_a_plugin_does_not_list_any_more_fail_the_pod_that_is_looked_at_again(
    tmp_path: Path,
) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        await one.running("p", 1, static=True)
        await one.offer(plugin, "b")
        await one.manager.remove("p")
        assert await one.refused("p", 1, static=True) == (
            f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {THING}"
        )


@asynchronous
async def test_devices_that_are_unhealthy_by_now_fail_the_pod_that_is_looked_at_again(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", "b")
        ((first,),) = (await one.running("p", 1, static=True)).container().devices.values()
        (second,) = {"a", "b"} - {first}
        await one.offer(plugin, device(first, "Unhealthy"), second)
        await one.manager.remove("p")
        assert "previously allocated devices" in await one.refused("p", 1, static=True)


# Starts that fail.


@asynchronous
async def test_the_directory_of_a_living_kubelet_is_left_alone(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        with pytest.raises(ConfigurationError, match="another kubelet answers"):
            await DeviceManager(str(tmp_path), runtime=Runtime()).start()
        assert plugin.socket.exists()


@asynchronous
async def test_a_kubelet_that_cannot_start_listens_nowhere(tmp_path: Path) -> None:
    manager = DeviceManager(str(tmp_path), runtime=Runtime(), pod_resources=f"/{'x' * 200}/kubelet.sock")
    with pytest.raises(ConfigurationError, match="pod-resources"):
        await manager.start()
    async with DeviceManager(str(tmp_path), runtime=Runtime()):
        pass


def test_a_kubelet_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no profile of kubelet '1\.19'"):
        DeviceManager(str(tmp_path), "1.19", runtime=Runtime())


@asynchronous
async def test_a_second_pod_of_a_name_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.running("p", 0)
        with pytest.raises(ConfigurationError, match="there is a pod default/p already"):
            await one.admit("p", 0)


@asynchronous
async def test_sockets_can_be_deleted_under_a_kubelet(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        one.manager.delete_sockets()
        assert sorted(os.listdir(tmp_path)) == ["DEPRECATION", CHECKPOINT]


@asynchronous
async def test_a_plugin_whose_socket_is_deleted_stays_connected(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a")
        one.manager.delete_sockets()
        await one.running("p", 1)
        assert plugin.asked("Allocate") == [(["a"],)]


def _not_now() -> ContainerStartError:
    return ContainerStartError("CreateContainerError", "not now")
