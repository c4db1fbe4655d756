"""Which devices pods hold, from the kubelet's pod-resources API (KEP-606)."""

import os

from kubelet_plugin.api.transport import Channel
from kubelet_plugin.errors import RpcError

POD_RESOURCES_SOCKET = "/var/lib/kubelet/pod-resources/kubelet.sock"

_LIMIT = 16 * 1024 * 1024  # a kubelet bounds what it receives here, not what it sends
_TIMEOUT = 5.0


async def held_devices(socket: str, resource_name: str) -> frozenset[str] | None:
    """Ask the kubelet which devices of a resource its pods hold.

    Args:
        socket: The pod-resources socket.
        resource_name: The resource.

    Returns:
        The ids; None where the kubelet cannot be asked.
    """
    if not os.path.exists(socket):
        return None
    from kubelet_plugin.api import podresources_v1 as v1  # noqa: PLC0415 -- most processes never lose a device

    try:
        async with Channel(socket) as channel:
            reply = await channel.call(
                v1.PodResourcesLister.LIST, v1.ListPodResourcesRequest(), timeout=_TIMEOUT, limit=_LIMIT
            )
    except (OSError, RpcError, TimeoutError):
        return None
    return frozenset(
        device_id
        for pod in reply.pod_resources
        for container in pod.containers
        for devices in container.devices
        if devices.resource_name == resource_name
        for device_id in devices.device_ids
    )
