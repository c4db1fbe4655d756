"""/dev/kvm, so that pods run virtual machines without being privileged."""

from collections.abc import AsyncIterator, Sequence

from kubelet_plugin.discovery import probes, watch
from kubelet_plugin.plugins import DOMAIN
from kubelet_plugin.runtime import Device, DevicePlugin, check_size


class KvmPlugin(DevicePlugin):
    """Offers `/dev/kvm` as `DOMAIN/kvm`: one device, `kvm0`, Healthy while KVM answers.

    Args:
        domain: The vendor part of the resource name.
        count: How many containers may have it at once; shares are `kvm0::0`, `kvm0::1` and so on.
        host_root: Where the host's root is seen, when that is not `/`.
    """

    def __init__(self, *, domain: str = DOMAIN, count: int = 1, host_root: str = "/") -> None:
        self.resource_name = f"{domain}/kvm"
        self.count = count
        self.host_root = host_root
        check_size(self.resource_name, (f"kvm0::{share}" for share in range(count)))

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        """Yield `kvm0`, or its shares, whenever the node or what it answers changes."""
        async for (node,) in watch("/dev/kvm", probe=probes.kvm, host_root=self.host_root):
            yield Device.from_node("kvm0", node).shared(self.count)
