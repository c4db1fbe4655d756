"""Plugins introduce themselves, are dialled back, and their lists are taken in."""

import asyncio
import contextlib
import posixpath
from collections.abc import Callable, Coroutine, Iterator, Sequence

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import resource_names
from kubelet_plugin.errors import EndpointError, RpcError
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.devices import Devices
from kubelet_plugin.kubelet.endpoint import Endpoint
from kubelet_plugin.kubelet.faults import Faults
from kubelet_plugin.kubelet.journal import Journal
from kubelet_plugin.kubelet.metrics import Metrics
from kubelet_plugin.kubelet.profile import Profile

VERSION = "v1beta1"

_NOT_DIALLED = "failed to dial device plugin"


def invalid_name(resource: str) -> str:
    """How a kubelet says that a name is none of an extended resource; empty where it is one."""
    return f"the ResourceName {_quoted(resource)} is invalid" if resource_names.fault(resource) else ""


def refusal(version: str, resource: str) -> str:
    """Why a registration is refused before anybody is dialled; empty where it is not."""
    if version != VERSION:
        supported = f'Supported version is ["{VERSION}"]'
        return f"requested API version {_quoted(version)} is not supported by kubelet. {supported}"
    return invalid_name(resource)


_ESCAPES = {chr(code): f"\\x{code:02x}" for code in (*range(0x20), 0x7F)} | {
    character: f"\\{letter}" for character, letter in zip('\a\b\f\n\r\t\v"\\', 'abfnrtv"\\', strict=True)
}


def _quoted(text: str) -> str:
    """A text as Go's %q shows it."""

    def shown(character: str) -> str:
        return character if character.isprintable() else f"\\u{ord(character):04x}"

    return f'"{"".join(_ESCAPES.get(each) or shown(each) for each in text)}"'


class Registration:
    """The registered plugins.

    Args:
        plugin_dir: Where the plugins' sockets are.
        devices: The tables that their lists go into.
        profile: How it behaves.
        clock: The time.
        faults: What is to go wrong.
        metrics: Counts registrations.
        limit: How many bytes a plugin's message may have.
        journal: Where it is recorded what plugins say; nowhere by default.
        listed: Called when a list was taken in.
        changed: Called when a plugin came or went.
    """

    def __init__(
        self,
        plugin_dir: str,
        devices: Devices,
        *,
        profile: Profile,
        clock: Clock,
        faults: Faults,
        metrics: Metrics,
        limit: int,
        journal: Journal | None = None,
        listed: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._plugin_dir = plugin_dir
        self._devices = devices
        self._profile = profile
        self._clock = clock
        self._faults = faults
        self._metrics = metrics
        self._limit = limit
        self._journal = journal
        self._listed = listed
        self._changed = changed
        self._clients: dict[str, Endpoint] = {}
        self._open: set[Endpoint] = set()
        self._tasks: set[asyncio.Task[str]] = set()

    async def register(self, request: v1beta1.RegisterRequest) -> v1beta1.Empty:
        """Answer a plugin's Register.

        Raises:
            RpcError: The registration is refused, or the plugin did not answer.
        """
        failure = await self._register(request)
        if self._journal is not None:
            self._journal.add_registration(request, failure)
            self._changed()
        if failure:
            raise RpcError("UNKNOWN", failure)
        return v1beta1.Empty()

    async def _register(self, request: v1beta1.RegisterRequest) -> str:
        """Do what a Register asks for; return what the plugin is told that went wrong, or an empty string."""
        resource = request.resource_name
        log.info(0, "Got registration request from device plugin with resource", resourceName=resource)
        self._metrics.registered(resource)
        if text := refusal(request.version, resource):
            if request.version != VERSION:
                message = "Bad registration request from device plugin with resource"
                log.info(0, message, resourceName=resource, err=text)
            else:
                log.info(0, "Bad registration request from device plugin", err=text)
            return text
        endpoint = self._endpoint(resource, posixpath.normpath(f"{self._plugin_dir}/{request.endpoint}"))
        if not self._profile.dials_inside_register:
            self._start(self._adopt(endpoint, request.options))
            return ""
        if self._profile.bounds_dial_by_register:
            failure = await self._connect(endpoint)
        else:  # it goes on when the plugin has given up
            failure = await asyncio.shield(self._start(self._connect(endpoint)))
        if failure:
            log.info(0, "Error connecting to device plugin client", err=failure)
        return failure

    def validate(self, name: str, endpoint: str, versions: Sequence[str]) -> str:  # noqa: ARG002 - see watcher.Handler
        """Why a plugin that announced itself in plugins_registry is refused; empty where it is not."""
        if VERSION not in versions:
            return f"manager version, {VERSION}, is not among plugin supported versions [{' '.join(versions)}]"
        fault = invalid_name(name)
        return f"invalid name of device plugin socket: {fault}" if fault else ""

    async def register_endpoint(self, resource: str, path: str) -> str:
        """Register a plugin that announced itself in plugins_registry; return what went wrong, or an empty string."""
        failure = await self._connect(self._endpoint(resource, path))
        if failure.startswith(_NOT_DIALLED) and not self._profile.dials_inside_register:
            return f"{_NOT_DIALLED} with socketPath {path}: {failure}"
        return failure

    def _endpoint(self, resource: str, path: str) -> Endpoint:
        return Endpoint(resource, path, clock=self._clock, faults=self._faults, limit=self._limit)

    def _start(self, work: Coroutine[None, None, str]) -> asyncio.Task[str]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _adopt(self, endpoint: Endpoint, options: v1beta1.DevicePluginOptions | None) -> str:
        """What old kubelets do after they have answered: a failure is logged, and nobody hears of it."""
        self._open.add(endpoint)
        try:
            with self._dialling(endpoint):
                await endpoint.dial()
        except EndpointError as error:
            failure = f"{_NOT_DIALLED}: {error}"
            log.error(failure, "Failed to dial device plugin with request", resourceName=endpoint.resource)
            await self._let_go(endpoint)
            return failure
        self._run(endpoint, options)
        return ""

    async def _connect(self, endpoint: Endpoint) -> str:
        """Dial a plugin, ask for its options and follow its lists; return what went wrong, or an empty string."""
        resource = endpoint.resource
        self._clients[resource] = endpoint  # an older one is neither closed nor forgotten by its stream
        self._open.add(endpoint)
        log.info(2, "Registered client", name=resource)
        try:
            with self._dialling(endpoint):
                options = await self._introduce(endpoint)
        except (EndpointError, asyncio.CancelledError) as error:
            self._clients.pop(resource, None)  # whose ever it is by now
            log.info(2, "Deregistered client", name=resource)
            await self._let_go(endpoint)
            if isinstance(error, asyncio.CancelledError):
                raise
            log.error(error, "Failed to connect to new client", resource=resource)
            return str(error)
        self._run(endpoint, options)
        return ""

    @contextlib.contextmanager
    def _dialling(self, endpoint: Endpoint) -> Iterator[None]:
        dialled = self._journal.dialled if self._journal is not None else []
        dialled.append(endpoint)
        try:
            yield
        finally:
            dialled.remove(endpoint)

    async def _introduce(self, endpoint: Endpoint) -> v1beta1.DevicePluginOptions:
        try:
            await endpoint.dial()
        except EndpointError as error:
            failure = EndpointError(f"{_NOT_DIALLED}: {error}")
            log.error(failure, "Unable to connect to device plugin client with socket path", path=endpoint.path)
            raise failure from error
        try:
            return await endpoint.get_options()
        except EndpointError as error:
            raise EndpointError(f"failed to get device plugin options: {error}") from error

    def _run(self, endpoint: Endpoint, options: v1beta1.DevicePluginOptions | None) -> None:
        self._open.add(endpoint)
        endpoint.options = options
        self._devices.endpoints[endpoint.resource] = endpoint
        log.info(2, "Device plugin connected", resourceName=endpoint.resource)
        if self._profile.logs_pods:
            log.info(2, "Connected to new client", resource=endpoint.resource)
        self._start(self._follow(endpoint))
        self._changed()

    async def _follow(self, endpoint: Endpoint) -> str:
        """Take in a plugin's lists until its stream ends."""
        resource = endpoint.resource

        def take(devices: Sequence[v1beta1.Device]) -> None:
            log.info(2, "State pushed for device plugin", resource=resource, resourceCapacity=len(devices))
            self._devices.replace(resource, devices)
            if self._journal is not None:
                self._journal.add_list(resource, devices)
            self._listed()

        why = await endpoint.run(take)
        log.error(why, "ListAndWatch ended unexpectedly for device plugin", resource=resource)
        if self._profile.disconnects_by_name:
            await self.disconnect(resource)
        else:
            await self._end(endpoint)
        return why

    async def disconnect(self, resource: str) -> None:
        """Disconnect whoever is registered under a resource by now."""
        if not self._profile.disconnects_by_name:
            if endpoint := self._devices.endpoints.get(resource):
                await endpoint.close()  # that ends its stream, and the stream's end does the rest
            return
        client = self._clients.pop(resource, None)
        if client is None:
            return
        log.info(2, "Deregistered client", name=resource)
        if current := self._devices.endpoints.get(resource):  # not the client's while that is being dialled
            self._lose(current)
        await self._let_go(client)
        if self._profile.logs_pods:
            log.info(2, "Device plugin disconnected", resource=resource)

    async def _end(self, endpoint: Endpoint) -> None:
        """What a stream's end means where it concerns its own endpoint alone."""
        if self._devices.endpoints.get(endpoint.resource) is endpoint:
            self._lose(endpoint)
        await self._let_go(endpoint)

    def _lose(self, endpoint: Endpoint) -> None:
        self._devices.mark_unhealthy(endpoint.resource)
        named = {"endpoint": str(endpoint)} if self._profile.logs_endpoints else {}
        log.info(2, "Endpoint became unhealthy", resourceName=endpoint.resource, **named)
        endpoint.stop()
        self._changed()

    async def _let_go(self, endpoint: Endpoint) -> None:
        self._open.discard(endpoint)
        await endpoint.close()

    def cut(self, resource: str) -> None:
        """End the stream of the plugin of a resource, as a lost connection would."""
        if endpoint := self._devices.endpoints.get(resource):
            endpoint.cut()

    async def close(self) -> None:
        """Drop all connections, as the end of a kubelet's process does."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for endpoint in list(self._open):
            await endpoint.close()
        self._open.clear()
        self._clients.clear()
