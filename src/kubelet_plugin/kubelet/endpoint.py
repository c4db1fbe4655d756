"""The kubelet's client of one registered plugin."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import TypeVar

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.message import Message
from kubelet_plugin.api.method import Method
from kubelet_plugin.api.transport import MESSAGE_LIMIT, Channel
from kubelet_plugin.errors import EndpointError, RpcError
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.faults import Faults

DIAL_TIMEOUT = 10.0
PRE_START_TIMEOUT = 30.0

_LOST = "rpc error: code = Unavailable desc = error reading from server: EOF"
_CLOSED = "rpc error: code = Canceled desc = grpc: the client connection is closing"
_FIRST_PAUSE, _PAUSE_FACTOR = 1.0, 1.6  # gRPC's own, between two tries to connect

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


class Endpoint:
    """One registration's connection to its plugin.

    Attributes:
        resource: The resource.
        path: The plugin's socket.
        calls: The names of the calls that it has not answered yet, ListAndWatch aside.
        options: What the plugin wants to be called for; None where nobody asked.
        stopped_at: When the kubelet noticed that its plugin is gone, by the clock; None while it has not.
    """

    def __init__(self, resource: str, path: str, *, clock: Clock, faults: Faults, limit: int = MESSAGE_LIMIT) -> None:
        self.resource = resource
        self.path = path
        self.calls: list[str] = []
        self.options: v1beta1.DevicePluginOptions | None = None
        self.stopped_at: float | None = None
        self._clock = clock
        self._faults = faults
        self._limit = limit
        self._channel = Channel(path)
        self._reading: asyncio.Task[str] | None = None
        self._gone = asyncio.Event()

    @classmethod
    def stopped(cls, resource: str, *, clock: Clock, faults: Faults) -> "Endpoint":
        """Stand in for a plugin that was registered before a restart and has not come back."""
        endpoint = cls(resource, "", clock=clock, faults=faults)
        endpoint.stop()
        return endpoint

    def stop(self) -> None:
        """Take the plugin for gone from now on: no call is made any more."""
        self.stopped_at = self._clock.now()

    def __str__(self) -> str:
        return f"&{{{self.resource} {self.path}}}"

    async def dial(self) -> None:
        """Connect, trying again for `DIAL_TIMEOUT` seconds.

        Raises:
            EndpointError: Nobody answered.
        """
        try:
            await self._clock.within(DIAL_TIMEOUT, self._connect())
        except TimeoutError:
            raise EndpointError("context deadline exceeded") from None

    async def _connect(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            with contextlib.suppress(OSError):
                await self._channel.connect()
                return
            await self._clock.sleep(pause)
            pause *= _PAUSE_FACTOR

    async def get_options(self) -> v1beta1.DevicePluginOptions:
        """Ask which calls the plugin wants, without any deadline.

        Raises:
            EndpointError: The call failed.
        """
        return await self._call(v1beta1.DevicePlugin.GET_DEVICE_PLUGIN_OPTIONS, v1beta1.Empty())

    async def run(self, listed: Callable[[list[v1beta1.Device]], None]) -> str:
        """Hand over every list of devices the plugin sends, until the stream ends; return why it did."""
        self._reading = asyncio.ensure_future(self._read(listed))
        try:
            await asyncio.wait({self._reading})
        finally:
            self._reading.cancel()
        return _LOST if self._reading.cancelled() else self._reading.result()

    async def _read(self, listed: Callable[[list[v1beta1.Device]], None]) -> str:
        try:
            await self._faults.meet(self.resource, "ListAndWatch", self._gone)
            stream = self._channel.stream(v1beta1.DevicePlugin.LIST_AND_WATCH, v1beta1.Empty(), limit=self._limit)
            async with contextlib.aclosing(stream):
                async for response in stream:
                    listed(response.devices)
        except (RpcError, OSError) as error:
            return self._text(error)
        return "EOF"

    def cut(self) -> None:
        """End the stream of lists, as a lost connection would."""
        if self._reading is not None:
            self._reading.cancel()

    async def close(self) -> None:
        """Close the connection; calls under way fail."""
        self._gone.set()
        await self._channel.close()

    async def allocate(self, ids: Collection[str]) -> v1beta1.AllocateResponse:
        """Ask for what a container gets that is given these devices. There is no deadline.

        Raises:
            EndpointError: The call failed, or the connection has ended.
        """
        request = v1beta1.ContainerAllocateRequest(devices_ids=list(ids))
        return await self._call(v1beta1.DevicePlugin.ALLOCATE, v1beta1.AllocateRequest(container_requests=[request]))

    async def get_preferred_allocation(
        self, available: Collection[str], must_include: Collection[str], size: int
    ) -> list[str]:
        """Ask which devices go well together.

        Raises:
            EndpointError: The call failed, or the connection has ended.
        """
        request = v1beta1.ContainerPreferredAllocationRequest(
            available_deviceIDs=list(available), must_include_deviceIDs=list(must_include), allocation_size=size
        )
        response = await self._call(
            v1beta1.DevicePlugin.GET_PREFERRED_ALLOCATION,
            v1beta1.PreferredAllocationRequest(container_requests=[request]),
        )
        return response.container_responses[0].deviceIDs if response.container_responses else []

    async def pre_start_container(self, ids: Collection[str]) -> None:
        """Let the plugin make devices ready; it has `PRE_START_TIMEOUT` seconds.

        Raises:
            EndpointError: The call failed, or the connection has ended.
        """
        request = v1beta1.PreStartContainerRequest(devices_ids=list(ids))
        call = self._call(v1beta1.DevicePlugin.PRE_START_CONTAINER, request, timeout=PRE_START_TIMEOUT)
        try:
            await self._clock.within(PRE_START_TIMEOUT, call)
        except TimeoutError as error:
            raise EndpointError(go_text(error)) from None

    async def _call(self, method: Method[Request, Reply], request: Request, *, timeout: float | None = None) -> Reply:
        if self.stopped_at is not None:
            raise EndpointError(f"endpoint {self} has been stopped")
        name = method.path.rpartition("/")[2]
        self.calls.append(name)
        try:
            await self._faults.meet(self.resource, name, self._gone)
            return await self._channel.call(method, request, timeout=timeout, limit=self._limit)
        except (RpcError, OSError) as error:  # a TimeoutError is an OSError
            raise EndpointError(self._text(error)) from error
        finally:
            self.calls.remove(name)

    def _text(self, error: RpcError | OSError) -> str:
        ours = (self.path, f"the connection to {self.path}")  # the beginnings of our transport's own words
        if isinstance(error, RpcError) and error.code == "UNAVAILABLE" and error.message.startswith(ours):
            return _CLOSED if self._gone.is_set() else _LOST
        return go_text(error)


_GO_CODES = {"OK": "OK", "CANCELLED": "Canceled"}


def go_text(error: Exception) -> str:
    """What a kubelet's log and statuses say of a call that failed."""
    match error:
        case RpcError():
            code = _GO_CODES.get(error.code) or "".join(word.capitalize() for word in error.code.split("_"))
            return f"rpc error: code = {code} desc = {error.message}"
        case TimeoutError():
            return "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        case _:
            return f"rpc error: code = Unavailable desc = connection error: {error}"
