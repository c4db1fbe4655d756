"""A sample: every /dev/crand* is a device that comes and goes at run time."""

from collections.abc import AsyncIterator, Sequence

from kubelet_plugin.discovery import watch
from kubelet_plugin.plugins import DOMAIN
from kubelet_plugin.runtime import Device, DevicePlugin


class CrandPlugin(DevicePlugin):
    """Offers each `/dev/crand*` as a device of `DOMAIN/crand`, named after its file.

    Args:
        domain: The vendor part of the resource name.
        host_root: Where the host's root is seen, when that is not `/`.
    """

    def __init__(self, *, domain: str = DOMAIN, host_root: str = "/") -> None:
        self.resource_name = f"{domain}/crand"
        self.host_root = host_root

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        """Yield a device for each node there is."""
        async for nodes in watch("/dev/crand*", host_root=self.host_root):
            yield [Device.from_node(node.name, node) for node in nodes]
