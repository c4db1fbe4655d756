"""Who holds which devices: what the checkpoint remembers."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import wire
from kubelet_plugin.kubelet.checkpoint import Entry


@dataclass(frozen=True)
class Allocation:
    """What one container got of one resource.

    Attributes:
        entry: It, as the checkpoint holds it.
    """

    entry: Entry

    @classmethod
    def of(
        cls,
        pod_uid: str,
        container: str,
        resource: str,
        devices: Mapping[int, Collection[str]],
        response: v1beta1.ContainerAllocateResponse,
    ) -> "Allocation":
        """Make one of the devices, by NUMA node, and the first answer of the plugin."""
        by_node = {node: tuple(ids) for node, ids in devices.items()}
        return cls(Entry(pod_uid, container, resource, by_node, wire.encode(response)))

    @cached_property
    def ids(self) -> frozenset[str]:
        """The devices."""
        return frozenset(device for ids in self.entry.devices.values() for device in ids)

    @property
    def response(self) -> v1beta1.ContainerAllocateResponse:
        """What the container gets; decoded anew each time, for that is at its start alone."""
        return wire.decode(v1beta1.ContainerAllocateResponse, self.entry.response)


class Allocations:
    """All allocations, in the order in which they were made."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._pods: dict[str, dict[str, dict[str, Allocation]]] = {}
        for entry in entries:
            self.insert(Allocation(entry))

    def insert(self, allocation: Allocation) -> None:
        """Remember one, instead of an earlier one of the same container and resource."""
        entry = allocation.entry
        self._pods.setdefault(entry.pod_uid, {}).setdefault(entry.container, {})[entry.resource] = allocation

    def get(self, pod_uid: str, container: str, resource: str) -> Allocation | None:
        """The allocation of a container and resource."""
        return self.of_container(pod_uid, container).get(resource)

    def of_container(self, pod_uid: str, container: str) -> Mapping[str, Allocation]:
        """The allocations of a container, by resource."""
        return self._pods.get(pod_uid, {}).get(container, {})

    def pods(self) -> set[str]:
        """The uids of all pods that hold devices."""
        return set(self._pods)

    def delete(self, pod_uids: Iterable[str]) -> None:
        """Forget what these pods hold."""
        for uid in pod_uids:
            self._pods.pop(uid, None)

    def in_use(self) -> dict[str, set[str]]:
        """The devices in use, by resource."""
        used: dict[str, set[str]] = {}
        for allocation in self:
            used.setdefault(allocation.entry.resource, set()).update(allocation.ids)
        return used

    def __iter__(self) -> Iterator[Allocation]:
        for containers in self._pods.values():
            for resources in containers.values():
                yield from resources.values()
