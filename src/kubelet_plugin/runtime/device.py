"""What a plugin offers: one device, and the state it is in."""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubelet_plugin.cdi import ContainerEdits, DeviceNode
from kubelet_plugin.errors import ConfigurationError

if TYPE_CHECKING:
    from kubelet_plugin.discovery import Node

NO_EDITS = ContainerEdits()

_MODE_WHILE_ABSENT = 0o660  # a spec must say something; it is rewritten before the device is Healthy


class Health(enum.StrEnum):
    """The two states a kubelet knows; compared by it letter by letter."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True)
class Device:
    """One schedulable device of a resource.

    Attributes:
        id: Names the device to the kubelet. The same device has the same id across restarts of plugin, kubelet and
            node, for kubelets keep it in their checkpoint. It must be a valid CDI device name.
        edits: What a container gets that is given this device.
        health: Only a Healthy device is handed out.
        reason: Why the device is in this state, for people; may be empty when it is Healthy.
        numa_nodes: The NUMA nodes the device is close to; empty where unknown. Never -1.
        cdi_device: The device's name in its CDI spec, where that is not its id: shares of one device have ids of
            their own and one name in common.
        grace: For how many seconds it stays listed, as Unhealthy, once it is no longer yielded; None: as its plugin
            says.
        annotations: Annotations of a container that is given this device, for its runtime to see: pairs of key and
            value.
        links: Stable symbolic links to its nodes, pairs of the real path on the host and the link. A device spec names
            the link, for runtimes follow it; CDI, which does not, has the real path.
    """

    id: str
    edits: ContainerEdits = NO_EDITS
    health: Health = Health.HEALTHY
    reason: str = ""
    numa_nodes: tuple[int, ...] = ()
    cdi_device: str = ""
    grace: float | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_node(cls, device_id: str, node: "Node", *, permissions: str = "rw") -> "Device":
        """Offer a device node under the path it has on the host; a symbolic link is kept as the stable way to it.

        The CDI edit carries the node's mode, but no owner: a runtime then gives the node to the container's own user,
        which is what lets a pod that does not run as root open it.

        Args:
            device_id: The device's id.
            node: The node as found by `kubelet_plugin.discovery`; its health and reason become the device's.
            permissions: What the container's device cgroup allows: any of `r`, `w`, `m`.
        """
        mode = node.mode if node.present else _MODE_WHILE_ABSENT
        return cls(
            device_id,
            ContainerEdits(
                device_nodes=(DeviceNode(node.path, host_path=node.target, permissions=permissions, file_mode=mode),)
            ),
            Health.HEALTHY if node.healthy else Health.UNHEALTHY,
            node.reason,
            links=((node.target, node.path),) if node.target and not node.outside else (),
        )

    @property
    def cdi_name(self) -> str:
        """The device's name in the CDI spec of its resource."""
        return self.cdi_device or self.id

    def shared(self, count: int) -> tuple["Device", ...]:
        """Offer this device to `count` containers at once.

        Returns:
            The device itself for a count of 1; else shares with the ids `ID::0` to `ID::count-1`, which all name this
            device in CDI. Raising a count later keeps the ids of the shares that were there.

        Raises:
            ConfigurationError: The count is below 1.
        """
        if count < 1:
            raise ConfigurationError(f"device {self.id} cannot be shared among {count} containers: give 1 or more")
        if count == 1:
            return (self,)
        rest = (self.edits, self.health, self.reason, self.numa_nodes, self.cdi_name)
        more = (self.grace, self.annotations, self.links)
        return tuple(Device(f"{self.id}::{share}", *rest, *more) for share in range(count))
