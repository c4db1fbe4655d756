import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import podresources_v1 as v1
from kubelet_plugin.api.transport import Channel
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet.allocations import Allocation, Allocations
from kubelet_plugin.kubelet.clock import ManualClock
from kubelet_plugin.kubelet.devices import Devices
from kubelet_plugin.kubelet.podresources import LIST_V1ALPHA1, PodResources
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.status import Phase, PodStatus
from tests.asynchronous import asynchronous
from tests.foreign import messages
from tests.unit.api.grpcio import failure, unary

foreign = messages("podresources/v1.proto")
lister = v1.PodResourcesLister

THING = "example.com/thing"
NONE = -1

Entry = tuple[list[str], list[int] | None]  # the ids and the NUMA nodes; None for no topology


class Kubelet:
    """What the API is asked about, and the API."""

    def __init__(self, path: Path, version: str = "1.36") -> None:
        self.path = path
        self.clock = ManualClock()
        self.statuses: list[PodStatus] = []
        self.devices = Devices()
        self.allocations = Allocations()
        self.ended: list[str] = []  # the uids of pods that the next collection of garbage forgets
        self.api = PodResources(
            str(path),
            profile=Profile.of(version),
            clock=self.clock,
            pods=lambda: self.statuses,
            devices=self.devices,
            allocations=self.allocations.of_container,
            collect_garbage=lambda: self.allocations.delete(self.ended),
        )

    def add(
        self,
        name: str = "pod",
        *,
        namespace: str = "default",
        uid: str = "uid",
        phase: Phase = Phase.RUNNING,
        inits: tuple[Container, ...] = (),
    ) -> None:
        """A pod with a container named `main`."""
        main = Container(name="main")
        pod = Pod(name=name, namespace=namespace, uid=uid, init_containers=inits, containers=(main,))
        self.statuses.append(PodStatus(pod=pod, phase=phase))

    def give(self, devices: Mapping[int, list[str]], uid: str = "uid") -> None:
        """Allocate devices to the container of a pod, by NUMA node."""
        answer = v1beta1.ContainerAllocateResponse()
        self.allocations.insert(Allocation.of(uid, "main", THING, devices, answer))

    async def listed(self) -> Any:
        return foreign.ListPodResourcesResponse.FromString(await unary(self.path, lister.LIST)).pod_resources

    async def entries(self) -> list[Entry]:
        """What List says of the first container of the first pod."""
        (pod, *_) = await self.listed()
        return sorted(_entries(pod.containers[0].devices))

    async def allocatable(self) -> list[Entry]:
        reply = await unary(self.path, lister.GET_ALLOCATABLE_RESOURCES)
        return sorted(_entries(foreign.AllocatableResourcesResponse.FromString(reply).devices))


def _entries(devices: Any) -> Iterator[Entry]:
    for entry in devices:
        nodes = [node.ID for node in entry.topology.nodes] if entry.HasField("topology") else None
        yield list(entry.device_ids), nodes


def _get(name: str, namespace: str = "default") -> bytes:
    return bytes(foreign.GetPodResourcesRequest(pod_name=name, pod_namespace=namespace).SerializeToString())


def _device(name: str, *nodes: int, health: str = "Healthy") -> v1beta1.Device:
    topology = v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=node) for node in nodes]) if nodes else None
    return v1beta1.Device(ID=name, health=health, topology=topology)


@contextlib.asynccontextmanager
async def kubelet(tmp_path: Path, version: str = "1.36") -> AsyncIterator[Kubelet]:
    made = Kubelet(tmp_path / "pod-resources" / "kubelet.sock", version)
    await made.api.start()
    try:
        yield made
    finally:
        await made.api.stop()


# The socket.


@asynchronous
async def test_the_socket_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        async with kubelet(tmp_path) as node:
            assert await node.listed() == []


@asynchronous
async def test_the_name_the_socket_was_made_under_is_gone(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        assert os.listdir(node.path.parent) == ["kubelet.sock"]


@asynchronous
async def test_its_directory_is_closed_to_others(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        async with kubelet(tmp_path) as node:
            assert stat.S_IMODE(node.path.parent.stat().st_mode) == 0o750
    finally:
        os.umask(umask)


@asynchronous
async def test_it_is_removed_at_the_end(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        pass
    assert not node.path.exists()


@asynchronous
async def test_it_can_be_removed_by_somebody_else_before_that(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.path.unlink()


@asynchronous
async def test_a_directory_that_cannot_be_made_is_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"/file/kubelet\.sock: Not a directory"):
        await Kubelet(tmp_path / "file" / "kubelet.sock").api.start()


@asynchronous
async def test_a_path_that_no_client_could_use_is_the_users_fault(tmp_path: Path) -> None:
    path = tmp_path / ("s" * (108 - len(str(tmp_path)) - 1))
    with pytest.raises(ConfigurationError, match="too long"):
        await Kubelet(path).api.start()
    assert os.listdir(tmp_path) == []


# List.


@asynchronous
async def test_list_names_each_pod_and_its_containers(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add("first", namespace="space")
        node.add("second")
        pods = [(pod.name, pod.namespace, [each.name for each in pod.containers]) for pod in await node.listed()]
        assert pods == [("first", "space", ["main"]), ("second", "default", ["main"])]


@asynchronous
async def test_list_has_an_entry_for_each_device(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        node.give({NONE: ["a", "b"]})
        assert await node.entries() == [(["a"], None), (["b"], None)]


@asynchronous
async def test_list_names_the_resource(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        node.give({NONE: ["a"]})
        (pod,) = await node.listed()
        assert [entry.resource_name for entry in pod.containers[0].devices] == [THING]


@asynchronous
async def test_list_has_two_entries_for_a_device_on_two_numa_nodes(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        node.give({0: ["a"], 1: ["a", "b"]})
        assert await node.entries() == [(["a"], [0]), (["a"], [1]), (["b"], [1])]


@asynchronous
async def test_list_has_the_topology_of_the_time_of_allocation(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        node.give({0: ["a"]})
        node.devices.replace(THING, [_device("a", 1)])
        assert await node.entries() == [(["a"], [0])]


@asynchronous
async def test_list_has_sidecars_first_and_no_other_init_containers(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add(inits=(Container(name="init"), Container(name="sidecar", restarts_always=True)))
        (pod,) = await node.listed()
        assert [each.name for each in pod.containers] == ["sidecar", "main"]


@asynchronous
async def test_list_collects_garbage_first(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        node.give({NONE: ["a"]})
        node.ended.append("uid")
        assert await node.entries() == []


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
@asynchronous
async def test_list_leaves_out_a_pod_that_has_ended(tmp_path: Path, phase: Phase) -> None:
    async with kubelet(tmp_path) as node:
        node.add("ended", phase=phase)
        node.add("pending", phase=Phase.PENDING)
        assert [pod.name for pod in await node.listed()] == ["pending"]


@asynchronous
async def test_list_has_pods_that_have_ended_before_1_34(tmp_path: Path) -> None:
    async with kubelet(tmp_path, "1.33") as node:
        node.add("ended", phase=Phase.FAILED)
        assert [pod.name for pod in await node.listed()] == ["ended"]


@asynchronous
async def test_an_answer_may_be_larger_than_what_clients_take_by_default(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node, Channel(str(node.path)) as channel:
        node.add()
        node.give({NONE: [f"{number}{'x' * 100_000}" for number in range(50)]})
        reply = await channel.call(lister.LIST, v1.ListPodResourcesRequest(), timeout=None, limit=16 * 1024 * 1024)
        assert len(reply.pod_resources[0].containers[0].devices) == 50


# Get.


@asynchronous
async def test_get_finds_a_pod_by_both_names(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add("pod", namespace="elsewhere")
        node.add("other", uid="of another")
        node.add("pod", uid="of this one")
        node.give({NONE: ["a"]}, "of this one")
        reply = foreign.GetPodResourcesResponse.FromString(await unary(node.path, lister.GET, _get("pod")))
        assert list(_entries(reply.pod_resources.containers[0].devices)) == [(["a"], None)]


@asynchronous
async def test_get_finds_a_pod_that_has_ended(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add("pod", phase=Phase.SUCCEEDED)
        reply = foreign.GetPodResourcesResponse.FromString(await unary(node.path, lister.GET, _get("pod")))
        assert reply.pod_resources.name == "pod"


@asynchronous
async def test_get_of_an_unknown_pod_fails(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        expected = ("UNKNOWN", "pod nobody in namespace space not found")
        assert await failure(node.path, lister.GET, _get("nobody", "space")) == expected


@asynchronous
async def test_get_is_disabled_before_1_34(tmp_path: Path) -> None:
    async with kubelet(tmp_path, "1.33") as node:
        node.add()
        expected = ("UNKNOWN", "PodResources API Get method disabled")
        assert await failure(node.path, lister.GET, _get("pod")) == expected


# GetAllocatableResources.


@asynchronous
async def test_allocatable_is_what_is_healthy_given_or_not(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.devices.replace(THING, [_device("given"), _device("free"), _device("ill", health="Unhealthy")])
        node.devices.in_use[THING] = {"given"}
        assert await node.allocatable() == [(["free"], None), (["given"], None)]


@asynchronous
async def test_nothing_of_a_lost_plugin_is_allocatable(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.devices.replace(THING, [_device("a")])
        node.devices.mark_unhealthy(THING)
        assert await node.allocatable() == []


@asynchronous
async def test_allocatable_has_an_entry_for_each_numa_node(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.devices.replace(THING, [_device("a", 0, 1)])
        assert await node.allocatable() == [(["a"], [0]), (["a"], [1])]


@asynchronous
async def test_a_device_whose_topology_is_empty_is_not_shown(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        empty = v1beta1.Device(ID="empty", health="Healthy", topology=v1beta1.TopologyInfo())
        node.devices.replace(THING, [empty, _device("none")])
        assert await node.allocatable() == [(["none"], None)]


# The limit.


@asynchronous
async def test_an_eleventh_call_at_once_is_rejected(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        for _ in range(10):
            await node.listed()
        assert await failure(node.path, lister.LIST) == ("RESOURCE_EXHAUSTED", "rejected by rate limit")


@asynchronous
async def test_a_call_is_answered_again_after_a_hundredth_of_a_second(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        for _ in range(10):
            await node.listed()
        node.clock.advance(0.01)
        await node.listed()
        assert (await failure(node.path, lister.LIST))[0] == "RESOURCE_EXHAUSTED"


@asynchronous
async def test_a_long_silence_does_not_allow_more_than_ten_at_once(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.clock.advance(3600)
        for _ in range(10):
            await node.listed()
        assert (await failure(node.path, lister.LIST))[0] == "RESOURCE_EXHAUSTED"


@asynchronous
async def test_all_calls_share_the_limit(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        for _ in range(5):
            await unary(node.path, LIST_V1ALPHA1)
            await unary(node.path, lister.GET, _get("pod"))
        assert (await failure(node.path, lister.GET_ALLOCATABLE_RESOURCES))[0] == "RESOURCE_EXHAUSTED"


# The deprecated API.


@asynchronous
async def test_v1alpha1_has_the_devices_without_their_topology(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        node.give({1: ["a", "b"]})
        reply = foreign.ListPodResourcesResponse.FromString(await unary(node.path, LIST_V1ALPHA1))
        assert list(_entries(reply.pod_resources[0].containers[0].devices)) == [(["a"], None), (["b"], None)]


@asynchronous
async def test_v1alpha1_has_pods_that_have_ended_and_no_sidecars(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add(phase=Phase.SUCCEEDED, inits=(Container(name="sidecar", restarts_always=True),))
        reply = foreign.ListPodResourcesResponse.FromString(await unary(node.path, LIST_V1ALPHA1))
        assert [[each.name for each in pod.containers] for pod in reply.pod_resources] == [["main"]]


@asynchronous
async def test_v1alpha1_collects_garbage_first(tmp_path: Path) -> None:
    async with kubelet(tmp_path) as node:
        node.add()
        node.give({NONE: ["a"]})
        node.ended.append("uid")
        reply = foreign.ListPodResourcesResponse.FromString(await unary(node.path, LIST_V1ALPHA1))
        assert list(reply.pod_resources[0].containers[0].devices) == []


# 1.20.


@pytest.mark.parametrize("method", [lister.GET, lister.GET_ALLOCATABLE_RESOURCES])
@asynchronous
async def test_1_20_has_list_alone(tmp_path: Path, method: Any) -> None:
    async with kubelet(tmp_path, "1.20") as node:
        assert (await failure(node.path, method))[0] == "UNIMPLEMENTED"


@asynchronous
async def test_1_20_lists_the_devices_of_a_numa_node_in_one_entry(tmp_path: Path) -> None:
    async with kubelet(tmp_path, "1.20") as node:
        node.add()
        node.give({0: ["a", "b"], 1: ["b"]})
        assert await node.entries() == [(["a", "b"], [0]), (["b"], [1])]


@asynchronous
async def test_1_20_has_no_limit(tmp_path: Path) -> None:
    async with kubelet(tmp_path, "1.20") as node:
        for _ in range(11):
            await node.listed()


@asynchronous
async def test_1_20_knows_no_sidecars(tmp_path: Path) -> None:
    async with kubelet(tmp_path, "1.20") as node:
        node.add(inits=(Container(name="sidecar", restarts_always=True),))
        (pod,) = await node.listed()
        assert [each.name for each in pod.containers] == ["main"]
