"""The device manager's tables: which devices there are, how they are, and which are taken."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.endpoint import Endpoint

HEALTHY = "Healthy"


@dataclass(slots=True)
class Devices:
    """The tables, by resource.

    Attributes:
        endpoints: The latest endpoint of each resource.
        listed: The devices of the latest list by id; of equal ids the last.
        healthy: The ids that were listed Healthy.
        unhealthy: The ids that were not, or whose plugin is gone. An id may stand in both.
        numa: The NUMA nodes of each device of the latest list; None where it has no topology.
        in_use: The ids that containers hold, or that an allocation under way has chosen.
    """

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    listed: dict[str, dict[str, v1beta1.Device]] = field(default_factory=dict)
    healthy: dict[str, set[str]] = field(default_factory=dict)
    unhealthy: dict[str, set[str]] = field(default_factory=dict)
    numa: dict[str, dict[str, tuple[int, ...] | None]] = field(default_factory=dict)
    in_use: dict[str, set[str]] = field(default_factory=dict)

    def knows(self, resource: str) -> bool:
        """Tell whether a resource is a device plugin's: listed once, or held by a container."""
        return resource in self.healthy or resource in self.in_use

    def replace(self, resource: str, devices: Sequence[v1beta1.Device]) -> None:
        """Take a plugin's list for all there is of the resource."""
        healthy = [device.ID for device in devices if device.health == HEALTHY]
        self.healthy[resource] = set(healthy)
        self.unhealthy[resource] = {device.ID for device in devices if device.health != HEALTHY}
        self.listed[resource] = {device.ID: device for device in devices}
        self.numa[resource] = {
            device.ID: tuple(node.ID for node in device.topology.nodes) if device.topology else None
            for device in devices
        }
        log.info(
            2,
            "Processed device updates for resource",
            resourceName=resource,
            totalCount=len(devices),
            healthyCount=len(healthy),
        )

    def mark_unhealthy(self, resource: str) -> None:
        """Take all devices of a resource for unhealthy, since its plugin is gone."""
        log.info(2, "Mark all resources Unhealthy for resource", resourceName=resource)
        healthy = self.healthy.get(resource, set())
        if resource in self.healthy:
            self.healthy[resource] = set()
        self.unhealthy[resource] = self.unhealthy.get(resource, set()) | healthy

    def await_return(self, endpoints: Iterable[Endpoint]) -> None:
        """Know resources from before a restart, whose plugins have not come back yet."""
        for endpoint in endpoints:
            self.endpoints[endpoint.resource] = endpoint
            self.healthy[endpoint.resource] = set()
            self.unhealthy[endpoint.resource] = set()

    def forget_expired(self, now: float, grace: float) -> list[str]:
        """Forget the resources whose plugin has been gone for longer than `grace` seconds; return which."""
        expired = [
            resource
            for resource in self.healthy | self.unhealthy
            if (endpoint := self.endpoints.get(resource)) is None
            or (endpoint.stopped_at is not None and now - endpoint.stopped_at > grace)
        ]
        for resource in expired:
            for table in (self.endpoints, self.healthy, self.unhealthy):
                table.pop(resource, None)
        return expired

    def capacity(self) -> dict[str, int]:
        """How many devices each resource has, healthy or not."""
        return {
            resource: len(self.healthy.get(resource, ())) + len(self.unhealthy.get(resource, ()))
            for resource in self.healthy | self.unhealthy
        }

    def allocatable(self) -> dict[str, int]:
        """How many healthy devices each resource has, taken or not."""
        return {resource: len(self.healthy.get(resource, ())) for resource in self.healthy | self.unhealthy}
