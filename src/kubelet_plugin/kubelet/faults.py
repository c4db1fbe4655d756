"""What is to go wrong on the plugin's side of the wire, as the device manager sees it."""

import asyncio
from collections import defaultdict, deque

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.errors import ConfigurationError, RpcError

_METHODS = frozenset(
    method.path.rpartition("/")[2]
    for method in (
        v1beta1.DevicePlugin.GET_DEVICE_PLUGIN_OPTIONS,
        v1beta1.DevicePlugin.LIST_AND_WATCH,
        v1beta1.DevicePlugin.GET_PREFERRED_ALLOCATION,
        v1beta1.DevicePlugin.ALLOCATE,
        v1beta1.DevicePlugin.PRE_START_CONTAINER,
    )
)


class Faults:
    """Faults to come, by resource and method (`Allocate`, `ListAndWatch` and so on); each is met by one call.

    The call never reaches the plugin: to the manager that is as if the plugin itself had failed or hung.
    """

    def __init__(self) -> None:
        self._coming: dict[tuple[str, str], deque[RpcError | asyncio.Event]] = defaultdict(deque)

    def fail(self, resource: str, method: str, message: str, *, code: str = "UNKNOWN", times: int = 1) -> None:
        """Let the next calls fail.

        Args:
            resource: The resource whose plugin is called.
            method: The name of the call.
            message: The status message of the failure.
            code: The name of its gRPC status code.
            times: How many calls fail.

        Raises:
            ConfigurationError: Plugins have no such call.
        """
        self._coming[resource, _known(method)].extend(RpcError(code, message) for _ in range(times))

    def hang(self, resource: str, method: str) -> asyncio.Event:
        """Let the next call hang; it goes on, to the plugin, when the event that is returned is set.

        Raises:
            ConfigurationError: Plugins have no such call.
        """
        release = asyncio.Event()
        self._coming[resource, _known(method)].append(release)
        return release

    async def meet(self, resource: str, method: str, gone: asyncio.Event) -> None:
        """Called before each call to a plugin.

        Args:
            resource: The resource whose plugin is called.
            method: The name of the call.
            gone: Set when the connection is closed: nothing hangs for longer than that.

        Raises:
            RpcError: The call fails.
        """
        coming = self._coming.get((resource, method))
        if not coming:
            return
        fault = coming.popleft()
        if isinstance(fault, RpcError):
            raise fault
        waits = [asyncio.ensure_future(event.wait()) for event in (fault, gone)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _known(method: str) -> str:
    if method not in _METHODS:
        raise ConfigurationError(f"plugins have no call {method!r}: give one of {', '.join(sorted(_METHODS))}")
    return method
