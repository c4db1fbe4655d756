"""Plugins that announce themselves by a socket in plugins_registry (KEP-595), instead of calling Register."""

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from kubelet_plugin.api import pluginregistration_v1 as v1
from kubelet_plugin.api.transport import Channel
from kubelet_plugin.errors import Error, RpcError
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.clock import Clock, go_duration
from kubelet_plugin.kubelet.endpoint import DIAL_TIMEOUT, go_text
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.sockets import Sockets

INFO_TIMEOUT = 1.0
NOTIFY_TIMEOUT = 5.0

FIRST_PAUSE = 0.5
"""Seconds after a failed try until the next one; it doubles each time."""

MOST_PAUSE = 122.0
"""The longest pause."""

_FIRST_DIAL_PAUSE, _MOST_DIAL_PAUSE = 0.01, 1.0


class Handler(Protocol):
    """What becomes of plugins of the type DevicePlugin."""

    def validate(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
        """Say why a plugin is refused; an empty string where it is not.

        Args:
            name: Its resource.
            endpoint: The socket of its service.
            versions: Which versions of the service it has.
        """

    async def register_endpoint(self, resource: str, path: str) -> str:
        """Connect to the plugin of a resource at its socket; return what went wrong, or an empty string."""

    async def disconnect(self, resource: str) -> None:
        """Disconnect whoever is registered for a resource."""


class _RegistrationError(Error):
    """A plugin is not registered; the text is the kubelet's."""


@dataclass(frozen=True, slots=True)
class _Registered:
    """A plugin that was registered.

    Attributes:
        marker: What marked the creation of its socket.
        name: Its resource.
        endpoint: The socket of its service.
    """

    marker: object
    name: str
    endpoint: str


class PluginWatcher:
    """Registers the plugins whose sockets are in a directory, and deregisters those whose sockets are removed.

    Args:
        directory: plugins_registry, with all that is below it; it is made where there is none.
        handler: What becomes of device plugins; those of other types have no handler in this kubelet.
        profile: How it behaves.
        clock: The time.
    """

    def __init__(self, directory: str, handler: Handler, *, profile: Profile, clock: Clock) -> None:
        self._sockets = Sockets(directory, self._reconcile)
        self._handler = handler
        self._profile = profile
        self._clock = clock
        self._registered: dict[str, _Registered] = {}
        self._failures: dict[str, tuple[float, float]] = {}  # by path: the pause, and when it is over
        self._settling: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Watch the directory; sockets that are there already are registered as if they had just come.

        Raises:
            ConfigurationError: The directory cannot be made.
        """
        self._sockets.open()
        self._reconcile()

    async def stop(self) -> None:
        """Stop, and leave all as it is: nothing is deregistered, no file is removed."""
        self._sockets.close()
        tasks = list(self._settling.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _reconcile(self) -> None:
        """See to it that what is registered becomes what the sockets are; one thing at a time for each of them."""
        for path in dict.fromkeys([*self._registered, *self._sockets.markers]):  # so deregistrations come first
            if path not in self._settling and not self._is_settled(path):
                self._settling[path] = asyncio.get_running_loop().create_task(self._settle(path))

    def _is_settled(self, path: str) -> bool:
        registered = self._registered.get(path)
        return (registered and registered.marker) is self._sockets.markers.get(path)

    async def _settle(self, path: str) -> None:
        try:
            while not self._is_settled(path):
                _, over = self._failures.get(path, (0.0, 0.0))
                if (left := over - self._clock.now()) > 0:
                    await self._clock.sleep(left)
                else:
                    await self._try(path)
        finally:
            del self._settling[path]

    async def _try(self, path: str) -> None:
        try:
            if path in self._registered:
                log.info(1, "OperationExecutor.UnregisterPlugin started", plugin=_details(path))
                await self._deregister(path)
            else:
                log.info(1, "OperationExecutor.RegisterPlugin started", plugin=_details(path))
                await self._register(path, self._sockets.markers[path])
        except _RegistrationError as error:
            self._failed(path, error)
        else:
            self._failures.pop(path, None)

    def _failed(self, path: str, error: _RegistrationError) -> None:
        before, _ = self._failures.get(path, (FIRST_PAUSE / 2, 0.0))
        pause = min(before * 2, MOST_PAUSE)
        self._failures[path] = pause, self._clock.now() + pause
        until = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(self._clock.wall() + pause))
        log.error(
            None,
            f"Operation for {json.dumps(path)} failed. No retries permitted until {until} "
            f"(durationBeforeRetry {go_duration(pause)}). Error: {error}",
        )

    async def _register(self, path: str, marker: object) -> None:
        async with _Plugin(path, self._clock) as plugin:
            info = await plugin.info()
            if fault := self._fault(path, info):
                await plugin.refuse(fault)
            registered = _Registered(marker, info.name, info.endpoint or path)
            self._registered[path] = registered
            try:
                await self._connect(plugin, registered)
            except _RegistrationError:
                if self._profile.retries_registration:
                    await self._deregister(path)
                raise

    def _fault(self, path: str, info: v1.PluginInfo) -> str:
        """Why a plugin is refused before anybody connects to it; empty where it is not."""
        if info.type != "DevicePlugin":
            return f"RegisterPlugin error -- no handler registered for plugin type: {info.type} at socket {path}"
        endpoint, versions = info.endpoint or path, info.supported_versions
        log.info(2, "Got plugin at endpoint with versions", plugin=info.name, endpoint=endpoint, versions=versions)
        fault = self._handler.validate(info.name, endpoint, versions)
        return f"RegisterPlugin error -- plugin validation failed with err: {fault}" if fault else ""

    async def _connect(self, plugin: "_Plugin", registered: _Registered) -> None:
        log.info(2, "Registering plugin at endpoint", plugin=registered.name, endpoint=registered.endpoint)
        if fault := await self._handler.register_endpoint(registered.name, registered.endpoint):
            await plugin.notify(f"RegisterPlugin error -- plugin registration failed with err: {fault}")  # and raise it
        await plugin.accept()

    async def _deregister(self, path: str) -> None:
        """Disconnect whoever has the plugin's resource by now: kubelets do not ask whether it is this plugin."""
        registered = self._registered.pop(path)
        log.info(2, "Deregistering plugin", plugin=registered.name, endpoint=registered.endpoint)
        await self._handler.disconnect(registered.name)


class _Plugin:
    """The registration service of one plugin, as an asynchronous context manager that dials it."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._channel = Channel(path)

    async def __aenter__(self) -> Self:
        try:
            await self._clock.within(DIAL_TIMEOUT, self._dial())
        except TimeoutError:
            raise _RegistrationError(
                f"RegisterPlugin error -- dial failed at socket {self._path}, err: failed to dial socket {self._path}, "
                "err: context deadline exceeded"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def _dial(self) -> None:
        pause = _FIRST_DIAL_PAUSE  # the plugin may not listen yet: kubelets look once a second, and come later than we
        while True:
            with contextlib.suppress(OSError):
                await self._channel.connect()
                return
            await self._clock.sleep(pause)
            pause = min(pause * 2, _MOST_DIAL_PAUSE)

    async def info(self) -> v1.PluginInfo:
        call = self._channel.call(v1.Registration.GET_INFO, v1.InfoRequest(), timeout=None)
        try:
            return await self._clock.within(INFO_TIMEOUT, call)
        except (RpcError, OSError) as error:  # a TimeoutError is an OSError
            raise _RegistrationError(
                f"RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket {self._path}, "
                f"err: {go_text(error)}"
            ) from error

    async def refuse(self, fault: str) -> None:
        """Tell the plugin why it is refused.

        Raises:
            _RegistrationError: Always; kubelets take the refusal for a failure to send it.
        """
        try:
            await self.notify(fault)
        except _RegistrationError as error:
            raise _RegistrationError(
                f"RegisterPlugin error -- failed to send error at socket {self._path}, err: {error}"
            ) from error

    async def accept(self) -> None:
        """Tell the plugin that it is registered.

        Raises:
            _RegistrationError: It could not be told.
        """
        try:
            await self.notify("")
        except _RegistrationError as error:
            raise _RegistrationError(
                f"RegisterPlugin error -- failed to send registration status at socket {self._path}, err: {error}"
            ) from error

    async def notify(self, fault: str) -> None:
        """Tell the plugin what became of it.

        Raises:
            _RegistrationError: It has a fault, or could not be told.
        """
        status = v1.RegistrationStatus(plugin_registered=not fault, error=fault)
        call = self._channel.call(v1.Registration.NOTIFY_REGISTRATION_STATUS, status, timeout=None)
        try:
            await self._clock.within(NOTIFY_TIMEOUT, call)
        except (RpcError, OSError) as error:
            raise _RegistrationError(f"{fault}: {go_text(error)}") from error
        if fault:
            raise _RegistrationError(fault)


def _details(path: str) -> dict[str, object]:
    return {"SocketPath": path, "Handler": None, "Name": ""}
