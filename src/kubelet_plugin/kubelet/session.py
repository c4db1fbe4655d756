"""One process of a kubelet: what a restart begins anew."""

import contextlib
import os
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import wire
from kubelet_plugin.api.transport import MESSAGE_LIMIT, Server
from kubelet_plugin.errors import (
    AdmissionError,
    AllocationError,
    CheckpointError,
    ContainerStartError,
    EndpointError,
    WireError,
)
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.allocations import Allocations
from kubelet_plugin.kubelet.allocator import Allocator
from kubelet_plugin.kubelet.checkpoint import Checkpoint, Entry
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.devices import Devices
from kubelet_plugin.kubelet.directory import CHECKPOINT, SOCKET, PluginDirectory
from kubelet_plugin.kubelet.endpoint import Endpoint
from kubelet_plugin.kubelet.faults import Faults
from kubelet_plugin.kubelet.journal import Journal
from kubelet_plugin.kubelet.lifecycle import Life, requested
from kubelet_plugin.kubelet.metrics import Metrics
from kubelet_plugin.kubelet.options import RunContainerOptions, annotated, merge
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.registration import VERSION, Registration
from kubelet_plugin.kubelet.topology import Policy


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a device manager behaves. Times are in seconds.

    Attributes:
        plugin_dir: The device-plugin directory.
        profile: Which kubelet it is.
        clock: The time.
        grace: How long a resource keeps its capacity after its plugin has gone.
        numa_nodes: The machine's NUMA nodes.
        topology_policy: What becomes of a container whose devices are far from each other.
        order: What stands in for the random order of a kubelet's maps and sets.
        checkpoint: The checkpoint's file; empty: as kubelets name it, in the plugin directory.
        message_limit: How many bytes a plugin's message may have.
        journal: Where it is recorded what plugins say; None: nowhere.
    """

    plugin_dir: str
    profile: Profile
    clock: Clock = field(default_factory=Clock)
    grace: float = 300.0
    numa_nodes: tuple[int, ...] = (0,)
    topology_policy: Policy = Policy.NONE
    order: random.Random = field(default_factory=random.Random)
    checkpoint: str = ""
    message_limit: int = MESSAGE_LIMIT
    journal: Journal | None = None


class Session:
    """One process of a kubelet, as far as device plugins see it.

    Args:
        settings: How it behaves.
        faults: What is to go wrong.
        pods: The lives of all pods it knows.
        running: The containers that were running when it started, as (pod uid, container).
        changed: Called after each change that shows.

    Attributes:
        devices: The tables.
        metrics: What was counted.
        registration: The registered plugins.
        allocator: Who holds which devices.
        sources_ready: Whether all pods are known: not so just after a start.
    """

    def __init__(
        self,
        settings: Settings,
        faults: Faults,
        *,
        pods: Callable[[], Iterable[Life]],
        running: Collection[tuple[str, str]],
        changed: Callable[[], None],
    ) -> None:
        self.devices = Devices()
        self.metrics = Metrics()
        self.sources_ready = False
        self._settings = settings
        self._faults = faults
        self._pods = pods
        self._changed = changed
        self._directory = PluginDirectory(settings.plugin_dir, settings.profile)
        self._checkpoint_path = settings.checkpoint or os.path.join(settings.plugin_dir, CHECKPOINT)
        self._checkpoint = Checkpoint(self._checkpoint_path)
        self.registration = Registration(
            settings.plugin_dir,
            self.devices,
            profile=settings.profile,
            clock=settings.clock,
            faults=faults,
            metrics=self.metrics,
            limit=settings.message_limit,
            journal=settings.journal,
            listed=self._listed,
            changed=changed,
        )
        self.allocator = Allocator(
            self.devices,
            profile=settings.profile,
            clock=settings.clock,
            order=settings.order,
            numa_nodes=settings.numa_nodes,
            policy=settings.topology_policy,
            metrics=self.metrics,
            active=self._active,
            is_running=lambda pod_uid, container: (pod_uid, container) in running,
            write_checkpoint=self._write_checkpoint,
        )
        self._server = Server({v1beta1.Registration.REGISTER: self.registration.register}, name="kubelet")

    async def start(self) -> None:
        """Read the checkpoint, clean the plugin directory, and wait for plugins.

        Raises:
            ConfigurationError: The plugin directory cannot be used.
        """
        socket = os.path.join(self._settings.plugin_dir, SOCKET)
        log.info(2, "Creating Device Plugin manager", path=socket)
        log.info(2, "Creating device plugin registration server", version=VERSION, socket=socket)
        log.info(2, "Starting Device Plugin manager")
        self._read_checkpoint()
        log.info(2, "Starting device plugin registration server")
        self._directory.clean(self._checkpoint_path)
        await self._server.listen(self._directory.listen())
        self._directory.leave_note()

    async def close(self) -> None:
        """End as a process does: connections drop, and nobody answers at the registration socket any more."""
        await self._server.close()
        await self.registration.close()

    # What is remembered.

    def _read_checkpoint(self) -> None:
        try:
            found = self._checkpoint.read()
        except (CheckpointError, OSError) as error:
            message = "Continue after failing to read checkpoint file. Device allocation info may NOT be up-to-date"
            log.error(error, message)
            return
        if found is None:
            return
        entries, registered = found
        self.allocator.restore(Allocations(entry for entry in entries if _is_whole(entry)))
        self.devices.await_return(
            Endpoint.stopped(resource, clock=self._settings.clock, faults=self._faults) for resource in registered
        )
        if self._settings.profile.logs_pods:
            log.info(4, "Read data from checkpoint file", checkpoint=CHECKPOINT)

    def _write_checkpoint(self) -> None:
        entries = [allocation.entry for allocation in self.allocator.allocations]
        try:
            self._checkpoint.write(entries, {name: sorted(ids) for name, ids in self.devices.healthy.items()})
        except OSError as error:
            text = f'failed to write checkpoint file "{CHECKPOINT}": {error}'
            log.error(text, "Failed to write checkpoint file")
            raise AllocationError(text) from error
        if self._settings.profile.logs_pods:
            log.info(4, "Checkpoint file written", checkpoint=CHECKPOINT)

    def _listed(self) -> None:
        with contextlib.suppress(AllocationError):  # it is logged, and the next list tries again
            self._write_checkpoint()
        self._changed()

    def _active(self) -> set[str] | None:
        return {life.pod.uid for life in self._pods() if life.is_active} if self.sources_ready else None

    # What the node offers.

    def capacity(self) -> tuple[Mapping[str, int], Mapping[str, int], Collection[str]]:
        """Compute the node's capacity and allocatable of device plugins' resources, as its next status would.

        A resource whose plugin has been gone for longer than the grace time is forgotten by it; the third value has
        those that are forgotten this time.
        """
        expired = self.devices.forget_expired(self._settings.clock.now(), self._settings.grace)
        for resource in expired:
            if self._settings.profile.logs_expiry_twice:
                log.info(0, "Unexpected: unhealthyDevices and endpoints became out of sync")
            log.info(2, "Set capacity for removed resource to 0 on device removal", device=resource)
        if expired:
            self._listed()
        return self.devices.capacity(), self.devices.allocatable(), expired

    # Admission.

    async def admit(self, pod: Pod, node_allocatable: Callable[[], Mapping[str, int]]) -> None:
        """Give a pod its devices, and see whether the node has what it asks for.

        Args:
            pod: The pod.
            node_allocatable: Computes what the node offers in all, by resource.

        Raises:
            AdmissionError: It is not admitted. What its first containers were given stays theirs for a while.
        """
        for container in pod.all_containers:
            if not self.allocator.align(pod, container):
                raise AdmissionError("TopologyAffinityError", "Resources cannot be allocated with Topology locality")
            try:
                await self.allocator.allocate(pod, container)
            except AllocationError as error:
                message = f"Allocate failed due to {error}, which is unexpected"
                raise AdmissionError("UnexpectedAdmissionError", message) from error
        self._fit(pod, node_allocatable())
        for resource in requested(pod):
            if not self.devices.knows(resource):  # no kubelet says it, and it is what most people trip over
                message = "The pod is admitted without what no device plugin has offered yet, as by any kubelet"
                log.info(0, message, pod=pod.full_name, resourceName=resource)

    def _fit(self, pod: Pod, allocatable: Mapping[str, int]) -> None:
        """What a kubelet's own predicate says; resources the node does not have are none of its business."""
        offers = dict(allocatable)
        if pod.uid in self.allocator.allocations.pods():  # what is in use is there, whatever its plugin says by now
            for resource, ids in self.devices.in_use.items():
                offers[resource] = max(offers.get(resource, 0), len(ids))
        for resource, needed in requested(pod).items():
            if not needed and not self._settings.profile.refuses_zero:
                continue
            offered = offers.get(resource)
            if offered is None:
                continue
            others = (life for life in self._pods() if life.pod is not pod and life.is_active)
            used = sum(life.requested.get(resource, 0) for life in others)
            if needed + used <= offered:
                continue
            if pod.is_static:  # such a pod is critical, and a kubelet looks for others that could make room
                raise AdmissionError(
                    "UnexpectedAdmissionError",
                    "Unexpected error while attempting to recover from admission failure: preemption: error finding a "
                    "set of pods to preempt: no set of running pods found to reclaim resources: "
                    f"[(res: {resource}, q: {needed + used - offered}), ]",
                )
            raise AdmissionError(
                f"OutOf{resource}",
                f"Node didn't have enough resource: {resource}, requested: {needed}, used: {used}, capacity: {offered}",
            )

    # Container start.

    async def run_container_options(self, pod: Pod, container: Container) -> RunContainerOptions:
        """What a container gets for its devices: the answers of its allocation, replayed at each start.

        Raises:
            ContainerStartError: It cannot be started just now.
        """
        try:
            await self._prepare(pod, container)
        except (AllocationError, EndpointError) as error:
            raise ContainerStartError("CreateContainerConfigError", str(error)) from error
        held = list(self.allocator.allocations.of_container(pod.uid, container.name).values())
        self._settings.order.shuffle(held)
        profile = self._settings.profile
        options = merge((each.response for each in held), cdi_devices=profile.passes_cdi_devices)
        return annotated(options, pod.uid, container.name) if profile.annotates_cdi_devices else options

    async def _prepare(self, pod: Pod, container: Container) -> None:
        profile = self._settings.profile
        reallocates = profile.reallocates_any_pod or any(life.pod is pod and life.is_active for life in self._pods())
        lacking = False
        resources = sorted(container.limits)
        self._settings.order.shuffle(resources)
        for resource in resources:
            required = container.limits[resource]
            if self.devices.knows(resource) and (required or not profile.skips_zero_at_start):
                await self._pre_start(pod, container, resource)
                lacking = lacking or self.allocator.allocations.get(pod.uid, container.name, resource) is None
        if lacking and reallocates:
            message = "Needs to re-allocate device plugin resources for pod"
            log.info(2, message, pod=pod.full_name, containerName=container.name)
            await self.allocator.allocate(pod, container)

    async def _pre_start(self, pod: Pod, container: Container, resource: str) -> None:
        endpoint = self.devices.endpoints.get(resource)
        if endpoint is None:
            raise EndpointError(f"endpoint not found in cache for a registered resource: {resource}")
        if endpoint.options is None or not endpoint.options.pre_start_required:
            message, whose = "Plugin options indicate to skip PreStartContainer for resource", {}
            if self._settings.profile.logs_pods:
                whose = {"podUID": pod.uid, "containerName": container.name}
            log.info(5 if whose else 4, message, resourceName=resource, **whose)
            return
        held = self.allocator.allocations.get(pod.uid, container.name, resource)
        if held is None:
            raise EndpointError(
                f"no devices found allocated in local cache for pod {pod.uid}, container {container.name}, "
                f"resource {resource}"
            )
        log.info(4, "Issuing a PreStartContainer call for container", containerName=container.name, podUID=pod.uid)
        try:
            await endpoint.pre_start_container(self._settings.order.sample(sorted(held.ids), len(held.ids)))
        except EndpointError as error:
            raise EndpointError(f"device plugin PreStartContainer rpc failed with err: {error}") from error


def _is_whole(entry: Entry) -> bool:
    """Tell whether an entry of the checkpoint can be used, and log it."""
    keys = {"podUID": entry.pod_uid, "containerName": entry.container, "resourceName": entry.resource}
    log.info(2, "Get checkpoint entry", **keys, deviceIDs=dict(entry.devices), allocated=entry.response)
    try:
        wire.decode(v1beta1.ContainerAllocateResponse, entry.response)
    except WireError as error:
        log.error(error, "Can't unmarshal allocResp", **keys)
        return False
    return True
