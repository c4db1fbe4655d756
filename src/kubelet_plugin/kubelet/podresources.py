"""The pod-resources API: who holds which devices, for whoever may open its socket (KEP-606)."""

import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from kubelet_plugin import liveness
from kubelet_plugin.api import podresources_v1 as v1
from kubelet_plugin.api.method import Method
from kubelet_plugin.api.transport import Handler, Server
from kubelet_plugin.errors import ConfigurationError, RpcError
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.allocations import Allocation
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.devices import Devices
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.status import Phase, PodStatus

QPS = 100
"""How many calls a second are answered in the long run."""

BURST = 10
"""How many calls are answered at once."""

LIST_V1ALPHA1 = Method("/v1alpha1.PodResourcesLister/List", v1.ListPodResourcesRequest, v1.ListPodResourcesResponse)
"""The deprecated API, whose messages are those of v1 less the topology, CPUs and memory."""

_NO_NUMA_NODE = -1  # as the allocations have it
_MAX_PATH = 107  # bytes, in a socket's address

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class PodResources:
    """The pod-resources API on its socket.

    Args:
        path: The socket. Its directory is made; a socket of that name is replaced, if nobody answers it.
        profile: How it behaves.
        clock: The time.
        pods: Says what has become of all pods.
        devices: The device manager's tables.
        allocations: Says what a container was given, by resource: of which pod's uid, of which container.
        collect_garbage: Frees the devices of pods that have ended.
    """

    def __init__(
        self,
        path: str,
        *,
        profile: Profile,
        clock: Clock,
        pods: Callable[[], Sequence[PodStatus]],
        devices: Devices,
        allocations: Callable[[str, str], Mapping[str, Allocation]],
        collect_garbage: Callable[[], None],
    ) -> None:
        self._path = path
        self._inode = 0
        self._profile = profile
        self._limiter = _Limiter(clock)
        self._pods = pods
        self._devices = devices
        self._allocations = allocations
        self._collect_garbage = collect_garbage
        methods: dict[Method[Any, Any], Handler] = {
            LIST_V1ALPHA1: self._answering(self._list_v1alpha1),
            v1.PodResourcesLister.LIST: self._answering(self._list),
        }
        if profile.lists_allocatable:
            methods[v1.PodResourcesLister.GET_ALLOCATABLE_RESOURCES] = self._answering(self._get_allocatable_resources)
        if profile.has_get:
            methods[v1.PodResourcesLister.GET] = self._answering(self._get)
        self._server = Server(methods, name="pod-resources")

    async def start(self) -> None:
        """Make the socket and serve on it.

        Raises:
            ConfigurationError: It cannot be made.
        """
        await self._server.listen(self._listen())
        if self._profile.limits_pod_resources:
            log.info(0, "Setting rate limiting for endpoint", service="podresources", qps=QPS, burstTokens=BURST)
        log.info(0, "Starting to serve the podresources API", endpoint=f"unix:{self._path}")

    async def stop(self) -> None:
        """Remove the socket, if it is still ours, and drop all connections."""
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        await self._server.close()

    def _check_vacant(self) -> None:
        """Refuse to take the place of anything but a socket that nobody answers."""
        try:
            if not stat.S_ISSOCK(os.lstat(self._path).st_mode):
                raise self._unusable("there is something else than a socket, which is left alone")
            if liveness.is_answered(self._path):
                raise self._unusable("another process answers there")
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error

    def _listen(self) -> socket.socket:
        if len(os.fsencode(self._path)) > _MAX_PATH:
            raise self._unusable("it is too long")
        self._check_vacant()
        directory = os.path.dirname(self._path) or "."
        temporary = os.path.join(directory, os.urandom(4).hex())  # whoever finds the real name is answered at once
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            os.makedirs(directory, 0o750, exist_ok=True)
            listener.bind(temporary)
            listener.listen(128)
            self._inode = os.lstat(temporary).st_ino
            os.rename(temporary, self._path)
        except OSError as error:
            listener.close()
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise self._unusable(error.strerror or str(error)) from error
        return listener

    def _unusable(self, reason: str) -> ConfigurationError:
        return ConfigurationError(
            f"no pod-resources socket can be made at {self._path}: {reason}; give a path of at most {_MAX_PATH} bytes, "
            "in a directory that this user may write to"
        )

    def _answering(self, answer: Callable[[Request], Reply]) -> Callable[[Request], Awaitable[Reply]]:
        async def handle(request: Request) -> Reply:
            if self._profile.limits_pod_resources and not self._limiter.allow():
                raise RpcError("RESOURCE_EXHAUSTED", "rejected by rate limit")
            return answer(request)

        return handle

    # The calls.

    def _list(self, _: v1.ListPodResourcesRequest) -> v1.ListPodResourcesResponse:
        self._collect_garbage()
        return v1.ListPodResourcesResponse(
            pod_resources=[
                self._pod(status.pod)
                for status in self._pods()
                if not self._profile.lists_active_pods or status.phase not in (Phase.SUCCEEDED, Phase.FAILED)
            ]
        )

    def _list_v1alpha1(self, _: v1.ListPodResourcesRequest) -> v1.ListPodResourcesResponse:
        """All pods, and no sidecars: this one is older than both."""
        self._collect_garbage()
        pods = [self._resources(status.pod, status.pod.containers) for status in self._pods()]
        for devices in (devices for pod in pods for container in pod.containers for devices in container.devices):
            devices.topology = None
        return v1.ListPodResourcesResponse(pod_resources=pods)

    def _get(self, request: v1.GetPodResourcesRequest) -> v1.GetPodResourcesResponse:
        if not self._profile.gets_pods:
            raise RpcError("UNKNOWN", "PodResources API Get method disabled")
        for pod in (status.pod for status in self._pods()):
            if (pod.name, pod.namespace) == (request.pod_name, request.pod_namespace):
                return v1.GetPodResourcesResponse(pod_resources=self._pod(pod))
        raise RpcError("UNKNOWN", f"pod {request.pod_name} in namespace {request.pod_namespace} not found")

    def _get_allocatable_resources(self, _: v1.AllocatableResourcesRequest) -> v1.AllocatableResourcesResponse:
        return v1.AllocatableResourcesResponse(
            devices=[
                entry
                for resource, healthy in self._devices.healthy.items()
                for device in self._devices.listed.get(resource, {}).values()
                if device.ID in healthy
                for entry in _of_device(
                    resource, device.ID, [node.ID for node in device.topology.nodes] if device.topology else None
                )
            ]
        )

    # What they answer.

    def _pod(self, pod: Pod) -> v1.PodResources:
        sidecars = [each for each in pod.init_containers if each.restarts_always and self._profile.lists_each_device]
        return self._resources(pod, [*sidecars, *pod.containers])

    def _resources(self, pod: Pod, containers: Sequence[Container]) -> v1.PodResources:
        of_allocation = _one_by_one if self._profile.lists_each_device else _by_numa_node
        return v1.PodResources(
            name=pod.name,
            namespace=pod.namespace,
            containers=[
                v1.ContainerResources(
                    name=container.name,
                    devices=[
                        entry
                        for resource, allocation in self._allocations(pod.uid, container.name).items()
                        for entry in of_allocation(resource, allocation.entry.devices)
                    ],
                )
                for container in containers
            ],
        )


def _one_by_one(resource: str, allocated: Mapping[int, Sequence[str]]) -> Iterator[v1.ContainerDevices]:
    nodes: dict[str, list[int]] = {}
    for node, ids in allocated.items():
        for device in ids:
            nodes.setdefault(device, []).extend([node] if node != _NO_NUMA_NODE else [])
    for device, of_device in nodes.items():
        yield from _of_device(resource, device, of_device or None)


def _of_device(resource: str, device: str, nodes: Sequence[int] | None) -> Iterator[v1.ContainerDevices]:
    """One entry for each NUMA node: none at all for a topology without nodes, as kubelets have it."""
    if nodes is None:
        yield v1.ContainerDevices(resource_name=resource, device_ids=[device])
    for node in nodes or ():
        yield v1.ContainerDevices(resource_name=resource, device_ids=[device], topology=_topology(node))


def _by_numa_node(resource: str, allocated: Mapping[int, Sequence[str]]) -> Iterator[v1.ContainerDevices]:
    for node, ids in allocated.items():
        yield v1.ContainerDevices(resource_name=resource, device_ids=list(ids), topology=_topology(node))


def _topology(node: int) -> v1.TopologyInfo:
    return v1.TopologyInfo(nodes=[v1.NUMANode(ID=node)])


class _Limiter:
    """A bucket of `BURST` tokens, one for each call, that fills at `QPS` tokens a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens = float(BURST)
        self._filled_at = clock.now()

    def allow(self) -> bool:
        now = self._clock.now()
        self._tokens = min(self._tokens + (now - self._filled_at) * QPS, BURST)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
