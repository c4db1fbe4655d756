"""Handing out devices: which ones a container gets, and what the plugin says it gets with them."""

import random
from collections.abc import Callable, Collection

from kubelet_plugin.errors import AllocationError, EndpointError
from kubelet_plugin.kubelet import log, topology
from kubelet_plugin.kubelet.allocations import Allocation, Allocations
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.devices import Devices
from kubelet_plugin.kubelet.metrics import Metrics
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.topology import Hint, Policy

_NO_NUMA = -1


class Allocator:
    """Allocates devices to the containers of one pod after the other.

    Args:
        devices: The tables.
        profile: How it behaves.
        clock: For the metrics.
        order: What stands in for the random order of a kubelet's maps and sets.
        numa_nodes: The machine's NUMA nodes.
        policy: The topology policy.
        metrics: Counts allocations.
        active: The uids of the pods that have not ended; None while not all pods are known yet after a start.
        is_running: Tells whether a container was running when the kubelet started.
        write_checkpoint: Called when allocations have changed.

    Attributes:
        allocations: Who holds what.
    """

    def __init__(
        self,
        devices: Devices,
        *,
        profile: Profile,
        clock: Clock,
        order: random.Random,
        numa_nodes: Collection[int],
        policy: Policy,
        metrics: Metrics,
        active: Callable[[], Collection[str] | None],
        is_running: Callable[[str, str], bool],
        write_checkpoint: Callable[[], None],
    ) -> None:
        self.allocations = Allocations()
        self._devices = devices
        self._profile = profile
        self._clock = clock
        self._order = order
        self._numa_nodes = sorted(numa_nodes)
        self._policy = policy
        self._metrics = metrics
        self._active = active
        self._is_running = is_running
        self._write_checkpoint = write_checkpoint
        self._affinity: dict[tuple[str, str], Hint] = {}
        self._reusable: dict[str, set[str]] = {}
        self._reusable_of = ""

    def restore(self, allocations: Allocations) -> None:
        """Go on from what a checkpoint remembers."""
        self.allocations = allocations
        self._devices.in_use = allocations.in_use()
        self._affinity = {}

    def collect_garbage(self) -> None:
        """Free the devices of pods that have ended, where all pods are known."""
        active = self._active()
        if active is None:
            return
        ended = self.allocations.pods().difference(active)
        if ended:
            log.info(3, "Pods to be removed", podUIDs=ended)
            self.allocations.delete(ended)
            self._affinity = {key: hint for key, hint in self._affinity.items() if key[0] not in ended}
            self._rebuild_in_use()

    def _rebuild_in_use(self) -> None:
        self._devices.in_use = self.allocations.in_use()

    # Topology.

    def align(self, pod: Pod, container: Container) -> bool:
        """Choose the NUMA nodes for a container; tell whether the topology policy admits it."""
        if self._policy is Policy.NONE:
            return True
        self.collect_garbage()
        hints = {resource: self._hints(pod, container, resource) for resource in container.limits}
        hint, admitted = topology.admit(self._policy, self._numa_nodes, hints, strict=self._profile.merges_strictly)
        if admitted:
            self._affinity[pod.uid, container.name] = hint
        return admitted

    def _hints(self, pod: Pod, container: Container, resource: str) -> list[Hint] | None:
        if not self._devices.knows(resource):
            return None
        held = self.allocations.get(pod.uid, container.name, resource)
        return topology.device_hints(
            devices=self._devices.numa.get(resource, {}),
            available=self._available(resource),
            reusable=self._reusable_by(pod).get(resource, set()),
            required=container.limits[resource],
            machine_nodes=self._numa_nodes,
            device_nodes_only=self._profile.hints_device_nodes_only,
            allocated=held.ids if held else (),
            empty_topology_counts=self._profile.counts_empty_topology,
        )

    def _available(self, resource: str) -> set[str]:
        return self._devices.healthy.get(resource, set()) - self._devices.in_use.get(resource, set())

    # Allocation.

    async def allocate(self, pod: Pod, container: Container) -> None:
        """Give a container of a pod its devices.

        Raises:
            AllocationError: It does not get them.
        """
        reusable = self._reusable_by(pod)
        await self._allocate(pod, container, reusable)
        held = self.allocations.of_container(pod.uid, container.name)
        lends = container in pod.init_containers and not container.restarts_always
        for resource, allocation in held.items():
            if lends:
                reusable.setdefault(resource, set()).update(allocation.ids)
            elif resource in reusable:
                reusable[resource] -= allocation.ids

    def _reusable_by(self, pod: Pod) -> dict[str, set[str]]:
        """What init containers of this pod leave to later ones, by resource; kept for one pod at a time."""
        if self._reusable_of != pod.uid:
            self._reusable_of, self._reusable = pod.uid, {}
        return self._reusable

    async def _allocate(self, pod: Pod, container: Container, reusable: dict[str, set[str]]) -> None:
        collected = changed = False
        resources = sorted(container.limits)
        self._order.shuffle(resources)
        for resource in resources:
            required = container.limits[resource]
            log.info(
                3, "Looking for needed resources", resourceName=resource, **self._whose(pod, container), needed=required
            )
            if not self._devices.knows(resource):
                continue
            if not collected:
                self.collect_garbage()
                collected = True
            chosen = await self._choose(pod, container, resource, required, reusable.get(resource, set()))
            if chosen:
                await self._ask(pod, container, resource, chosen)
                changed = True
        if changed:
            self._write_checkpoint()

    def _whose(self, pod: Pod, container: Container) -> dict[str, str]:
        if not self._profile.logs_pods:
            return {}
        return {"pod": pod.full_name, "containerName": container.name}

    async def _ask(self, pod: Pod, container: Container, resource: str, chosen: set[str]) -> None:
        """Let the plugin say what the container gets, and remember it."""
        began = self._clock.now()
        endpoint = self._devices.endpoints.get(resource)
        if endpoint is None:
            self._rebuild_in_use()
            raise AllocationError(f"unknown Device Plugin {resource}")
        ids = self._shuffled(chosen)
        log.info(
            4 if self._profile.logs_pods else 3,
            "Making allocation request for device plugin",
            devices=ids,
            resourceName=resource,
            **self._whose(pod, container),
        )
        try:
            response = await endpoint.allocate(ids)
        except EndpointError as error:
            self._rebuild_in_use()
            raise AllocationError(str(error)) from error
        finally:
            self._metrics.allocated(resource, self._clock.now() - began)
        if not response.container_responses:
            shown = "&AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}"
            dump = shown if self._profile.dumps_go_structs else ""
            raise AllocationError(f"no containers return in allocation response {dump}")
        self.allocations.insert(
            Allocation.of(
                pod.uid, container.name, resource, self._by_numa(resource, ids), response.container_responses[0]
            )
        )

    def _by_numa(self, resource: str, ids: list[str]) -> dict[int, list[str]]:
        nodes = self._devices.numa.get(resource, {})
        found: dict[int, list[str]] = {}
        for device in ids:
            for node in nodes.get(device) or (_NO_NUMA if self._profile.records_no_numa else 0,):
                found.setdefault(node, []).append(device)
        return found

    async def _choose(
        self, pod: Pod, container: Container, resource: str, required: int, reusable: set[str]
    ) -> set[str]:
        """Choose devices for a container and mark them in use; none where it holds them already, or needs none."""
        held = self.allocations.get(pod.uid, container.name, resource)
        if held is not None:
            log.info(
                3,
                "Found pre-allocated devices for resource on pod",
                resourceName=resource,
                containerName=container.name,
                podUID=pod.uid,
                devices=held.ids,
            )
            if len(held.ids) != required:
                raise AllocationError(
                    f'pod "{pod.uid}" container "{container.name}" changed request for resource "{resource}" '
                    f"from {len(held.ids)} to {required}"
                )
        needed = 0 if held is not None else required
        keys = {
            "deviceNumber": needed,
            "resourceName": resource,
            "podUID": pod.uid,
            "containerName": container.name,
        }
        checks = self._profile.checks_before_need
        if checks and self._active() is None and self._is_running(pod.uid, container.name):
            log.info(3, "Container detected running, nothing to do", **keys)
            return set()
        if needed or checks:
            log.info(3, "Need devices to allocate for pod", **keys)
            if resource not in self._devices.healthy:
                raise self._unregistered(resource)
        if checks:
            self._check_health(resource, held.ids if held is not None else frozenset())
        if not needed:
            return set()
        return await self._take(pod, container, resource, required, reusable)

    def _unregistered(self, resource: str) -> AllocationError:
        cannot = "cannot" if self._profile.says_cannot else "can't"
        return AllocationError(f"{cannot} allocate unregistered device {resource}")

    def _check_health(self, resource: str, held: frozenset[str]) -> None:
        healthy = self._devices.healthy[resource]
        if not healthy:
            raise AllocationError(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
        if not held <= healthy:
            raise AllocationError(
                f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
            )

    async def _take(self, pod: Pod, container: Container, resource: str, required: int, reusable: set[str]) -> set[str]:
        taking = _Taking(self._devices, resource, required, self._order)
        if taking.enough(reusable):
            return taking.taken
        available = self._available(resource)
        if len(available) < taking.needed:
            raise AllocationError(
                f"requested number of devices unavailable for {resource}. "
                f"Requested: {taking.needed}, Available: {len(available)}"
            )
        hint = self._affinity.get((pod.uid, container.name), Hint(None, preferred=True))
        split = topology.split(self._devices.numa.get(resource, {}), available, hint)
        if taking.needed < len(split.aligned):
            offered, pools = set(split.aligned), [split.aligned]
        else:
            if taking.enough(split.aligned):
                return taking.taken
            offered, pools = available, [split.unaligned, split.no_affinity]
        preferred = await self._prefer(pod, container, resource, offered | taking.taken, taking.taken, required)
        if any(taking.enough(pool) for pool in [preferred & offered, *pools]):
            return taking.taken
        raise AllocationError(
            f"unexpectedly allocated less resources than required. "
            f"Requested: {required}, Got: {required - taking.needed}"
        )

    async def _prefer(
        self, pod: Pod, container: Container, resource: str, available: set[str], must_include: set[str], size: int
    ) -> set[str]:
        """Ask the plugin which devices go well together, where it wants to be asked."""
        endpoint = self._devices.endpoints.get(resource)
        if endpoint is None:
            raise AllocationError(f"endpoint not found in cache for a registered resource: {resource}")
        keys = {"podUID": pod.uid, "containerName": container.name}
        of_resource = {"resourceName": resource} if self._profile.logs_pods else {}
        if endpoint.options is None or not endpoint.options.get_preferred_allocation_available:
            message = "Plugin options indicate to skip GetPreferredAllocation for resource"
            log.info(5 if of_resource else 4, message, resourceName=resource, **(keys if of_resource else {}))
            return set()
        log.info(4, "Issuing a GetPreferredAllocation call for container", **of_resource, **keys)
        try:
            chosen = await endpoint.get_preferred_allocation(
                self._shuffled(available), self._shuffled(must_include), size
            )
        except EndpointError as error:
            raise AllocationError(f"device plugin GetPreferredAllocation rpc failed with err: {error}") from error
        return set(chosen)

    def _shuffled(self, ids: Collection[str]) -> list[str]:
        """The ids in a random order that a seed repeats."""
        return self._order.sample(sorted(ids), len(ids))


class _Taking:
    """Devices being chosen for one container; each is marked in use at once, and stays so if the rest fails."""

    def __init__(self, devices: Devices, resource: str, needed: int, order: random.Random) -> None:
        self.taken: set[str] = set()
        self.needed = needed
        self._devices = devices
        self._resource = resource
        self._order = order

    def enough(self, pool: Collection[str]) -> bool:
        """Take from a pool as much as is needed; tell whether that was all."""
        left = sorted(set(pool) - self.taken)
        chosen = self._order.sample(left, min(self.needed, len(left)))
        self._devices.in_use.setdefault(self._resource, set()).update(chosen)  # it may have been rebuilt meanwhile
        self.taken.update(chosen)
        self.needed -= len(chosen)
        return not self.needed
