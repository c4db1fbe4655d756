"""The device manager: plugins, devices and pods of one node, through all its kubelet's restarts."""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from kubelet_plugin.api.transport import MESSAGE_LIMIT
from kubelet_plugin.errors import AdmissionError, ConfigurationError
from kubelet_plugin.kubelet import identity, log
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.devices import HEALTHY
from kubelet_plugin.kubelet.directory import PluginDirectory
from kubelet_plugin.kubelet.endpoint import Endpoint
from kubelet_plugin.kubelet.faults import Faults
from kubelet_plugin.kubelet.journal import Journal
from kubelet_plugin.kubelet.lifecycle import Life, Runtime
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.podresources import PodResources
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.runtimes import DryRuntime
from kubelet_plugin.kubelet.session import Session, Settings
from kubelet_plugin.kubelet.status import PodStatus
from kubelet_plugin.kubelet.topology import Policy, check_machine
from kubelet_plugin.kubelet.watcher import PluginWatcher

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeResource:
    """What the node's status says of a resource.

    Attributes:
        capacity: How many devices there are.
        allocatable: How many of them are healthy, taken or not.
    """

    capacity: int
    allocatable: int


class DeviceManager:
    """A kubelet, as far as device plugins see it.

    An asynchronous context manager. All of it happens on the event loop it is started on.

    Args:
        plugin_dir: The device-plugin directory; plugins register at `kubelet.sock` in it.
        profile: Which kubelet it is: a version such as `1.36`, or a profile with switches of your own.
        clock: The time; a `ManualClock` lets a test move it.
        grace: For how many seconds a resource keeps its capacity after its plugin has gone.
        numa_nodes: The machine's NUMA nodes.
        topology_policy: `none`, `best-effort`, `restricted` or `single-numa-node`.
        seed: Makes the order random in the same way each time: of ids in requests, of resources in a container.
        checkpoint: The checkpoint's file; by default `kubelet_internal_checkpoint` in the plugin directory.
        pod_resources: The socket of the pod-resources API; none by default.
        plugins_registry: A directory in which plugins announce themselves, instead of registering; none by default.
        message_limit: How many bytes a plugin's message may have.
        journal: Where it is recorded what plugins say; nowhere by default.
        runtime: What starts containers; by default nothing does, and what they would be is composed.

    Attributes:
        faults: What is to go wrong on the plugin's side.

    Raises:
        ConfigurationError: There is no such profile or policy, or no kubelet starts on such a machine.
    """

    def __init__(
        self,
        plugin_dir: str,
        profile: str | Profile = "1.36",
        *,
        clock: Clock | None = None,
        grace: float = 300.0,
        numa_nodes: Collection[int] = (0,),
        topology_policy: str = Policy.NONE,
        seed: int | None = None,
        checkpoint: str = "",
        pod_resources: str = "",
        plugins_registry: str = "",
        message_limit: int = MESSAGE_LIMIT,
        journal: Journal | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.faults = Faults()
        self._settings = Settings(
            plugin_dir=plugin_dir,
            profile=profile if isinstance(profile, Profile) else Profile.of(profile),
            clock=clock or Clock(),
            grace=grace,
            numa_nodes=tuple(sorted(numa_nodes)),
            topology_policy=Policy.of(topology_policy),
            order=random.Random(seed),  # noqa: S311 -- nothing here is a secret
            checkpoint=checkpoint,
            message_limit=message_limit,
            journal=journal,
        )
        check_machine(self._settings.topology_policy, self._settings.numa_nodes)
        self._pod_resources = pod_resources
        self._plugins_registry = plugins_registry
        self._services: list[PodResources | PluginWatcher] = []
        self._runtime = runtime or DryRuntime()
        self._lives: dict[str, Life] = {}
        self._forgotten: set[str] = set()
        self._waiting: asyncio.Future[None] | None = None
        self._admitting = asyncio.Lock()
        self._session = self._new_session()

    @property
    def profile(self) -> Profile:
        """Which kubelet it is."""
        return self._settings.profile

    @property
    def plugin_dir(self) -> str:
        """The device-plugin directory."""
        return self._settings.plugin_dir

    # Its life.

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, and all pods."""
        await self.stop()
        for life in self._lives.values():
            await life.end()
        self._lives.clear()
        PluginDirectory(self.plugin_dir, self.profile).remove_socket()

    def _new_session(self) -> Session:
        running = {
            (life.pod.uid, each.name)
            for life in self._lives.values()
            for each in life.pod.all_containers
            if life.is_running(each.name)
        }
        return Session(self._settings, self.faults, pods=self._lives.values, running=running, changed=self._notify)

    async def start(self, pods: Iterable[Pod] = ()) -> None:
        """Start the kubelet. Pods from before a stop are looked at again; those whose containers run go on.

        Args:
            pods: Pods that it finds at once. No plugin can have registered by then.

        Raises:
            ConfigurationError: The plugin directory cannot be used.
        """
        session = self._session = self._new_session()
        try:
            await session.start()
            await self._start_services(session)
        except ConfigurationError:
            await self.stop()
            raise
        for life in list(self._lives.values()):
            if life.is_active or (life.was_refused and life.pod.is_static):  # to an API server a refusal is final
                await self._admit(life)
        for pod in pods:
            await self.admit(pod)
        session.sources_ready = True
        self._notify()

    async def _start_services(self, session: Session) -> None:
        if self._pod_resources:
            pod_resources = PodResources(
                self._pod_resources,
                profile=self.profile,
                clock=self._settings.clock,
                pods=self.pods,
                devices=session.devices,
                allocations=session.allocator.allocations.of_container,
                collect_garbage=session.allocator.collect_garbage,
            )
            await pod_resources.start()
            self._services.append(pod_resources)
        if self._plugins_registry:
            watcher = PluginWatcher(
                self._plugins_registry, session.registration, profile=self.profile, clock=self._settings.clock
            )
            watcher.start()
            self._services.append(watcher)

    async def stop(self) -> None:
        """End the kubelet, as the end of its process does: plugins lose their connections, containers go on."""
        for life in self._lives.values():
            await life.pause()
        for service in self._services:
            await service.stop()
        self._services = []
        await self._session.close()
        self._notify()

    async def restart(self) -> None:
        """Stop the kubelet and start it again."""
        await self.stop()
        await self.start()

    # Pods.

    async def admit(self, pod: Pod | Mapping[str, Any]) -> PodStatus:
        """Hand a pod to the kubelet: it is admitted or refused, and its containers are started as far as they can be.

        Args:
            pod: The pod, or its manifest.

        Returns:
            What became of it by then. Containers that could not be started are tried again later.

        Raises:
            ManifestError: The manifest is none of a pod.
            ConfigurationError: There is a pod of that name.
        """
        if not isinstance(pod, Pod):
            pod = self._created(pod)
        key = pod.full_name
        if key in self._lives:
            raise ConfigurationError(f"there is a pod {key} already: remove it first, or give this one another name")
        life = self._lives[key] = Life(
            pod,
            runtime=self._runtime,
            clock=self._settings.clock,
            options=self._options,
            held=self._held,
            changed=self._notify,
        )
        await self._admit(life)
        return life.status

    def _created(self, document: Mapping[str, Any]) -> Pod:
        """Make a pod as an API server does: without a uid in the manifest it is another pod each time."""
        pod = Pod.from_document(document)
        if document["metadata"].get("uid"):
            return pod
        uid = identity.uid(f"{document['metadata'].get('name')} {self._settings.order.random()}")
        return Pod.from_document({**document, "metadata": {**document["metadata"], "uid": uid}})

    async def _admit(self, life: Life) -> None:
        async with self._admitting:  # one pod at a time
            life.admit()
            try:
                await self._session.admit(life.pod, self._allocatable)
            except AdmissionError as error:
                log.info(
                    0,
                    "Event occurred",
                    object=life.pod.full_name,
                    kind="Pod",
                    type="Warning",
                    reason=error.reason,
                    message=error.message,
                )
                prefix = "Pod was rejected: " if self.profile.says_cannot else "Pod "
                await life.refuse(error, prefix)
                return
        await life.sync()

    async def _options(self, pod: Pod, container: Container) -> RunContainerOptions:
        return await self._session.run_container_options(pod, container)

    def _held(self, pod: Pod, container: Container) -> Mapping[str, tuple[str, ...]]:
        held = self._session.allocator.allocations.of_container(pod.uid, container.name)
        return {resource: tuple(sorted(allocation.ids)) for resource, allocation in held.items()}

    def pods(self) -> list[PodStatus]:
        """What became of all pods, in the order in which they came."""
        return [life.status for life in self._lives.values()]

    def pod_status(self, name: str, namespace: str = "default") -> PodStatus:
        """What became of a pod.

        Raises:
            KeyError: There is no such pod.
        """
        return self._lives[_key(name, namespace)].status

    async def remove(self, name: str, namespace: str = "default") -> None:
        """End a pod and forget it. Its devices are free once the next allocation collects garbage.

        Raises:
            KeyError: There is no such pod.
        """
        life = self._lives.pop(_key(name, namespace))
        await life.end()

    async def restart_container(self, name: str, container: str = "", namespace: str = "default") -> PodStatus:
        """Start a container of a pod again, as after its end; the first one where no name is given.

        Raises:
            KeyError: There is no such pod or container.
        """
        life = self._lives[_key(name, namespace)]
        wanted = container or life.pod.containers[0].name
        found = {each.name: each for each in life.pod.all_containers}[wanted]
        await life.restart(found)
        return life.status

    # What it sees.

    def resources(self) -> dict[str, NodeResource]:
        """What the node's status says by now of device plugins' resources; one that was forgotten stays, at 0."""
        capacity, allocatable, forgotten = self._session.capacity()
        self._forgotten.update(forgotten)
        return {
            resource: NodeResource(capacity.get(resource, 0), allocatable.get(resource, 0))
            for resource in sorted({*self._forgotten, *capacity})
        }

    def _allocatable(self) -> dict[str, int]:
        return {resource: of.allocatable for resource, of in self.resources().items()}

    def devices(self, resource: str) -> dict[str, str]:
        """The health of each device in the latest list of a resource, as its plugin said it."""
        return {name: device.health for name, device in self._session.devices.listed.get(resource, {}).items()}

    def health(self, resource: str, device: str) -> str:
        """The health that pod status gives for a device that a container holds: `Healthy` also for an unknown one."""
        health = self.devices(resource).get(device, HEALTHY)
        return HEALTHY if health == HEALTHY else "Unhealthy"

    def endpoint(self, resource: str) -> Endpoint | None:
        """The connection to the plugin of a resource, to make calls of one's own; None where there never was one."""
        return self._session.devices.endpoints.get(resource)

    def metrics(self) -> str:
        """The kubelet's metrics of device plugins, in Prometheus' text format."""
        return self._session.metrics.text()

    async def until(self, look: Callable[[], T | None]) -> T:
        """Wait until `look` finds something, and return it; it is called now and after each change."""
        while (found := look()) is None:
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiting)
        return found

    def _notify(self) -> None:
        if self._waiting is not None:
            self._waiting.set_result(None)
            self._waiting = None

    # What a test does to a plugin.

    def cut(self, resource: str) -> None:
        """End the stream of a resource's plugin, as a lost connection would."""
        self._session.registration.cut(resource)

    def delete_sockets(self) -> None:
        """Remove all sockets of the plugin directory, the kubelet's own too."""
        PluginDirectory(self.plugin_dir, self.profile).delete_sockets()


def _key(name: str, namespace: str) -> str:
    return f"{namespace}/{name}"
