"""One plugin against the kubelet of this node."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import resource_names
from kubelet_plugin.api.transport import Server
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime.endpoint import socket_name
from kubelet_plugin.runtime.inventory import DeviceList, Inventory
from kubelet_plugin.runtime.plugin import DevicePlugin
from kubelet_plugin.runtime.reconcile import OurSocket, stay_registered
from kubelet_plugin.runtime.registration import Registration
from kubelet_plugin.runtime.service import Service
from kubelet_plugin.runtime.settings import Settings
from kubelet_plugin.runtime.specs import SpecFile
from kubelet_plugin.runtime.statelog import INFO, StateLog
from kubelet_plugin.runtime.streams import Streams
from kubelet_plugin.runtime.supply import Supply

logger = logging.getLogger("kubelet_plugin.runtime")

_DEFAULTS = Settings()
_FAREWELL = 0.5  # seconds for kubelets to take the last list


def check(plugins: Iterable[DevicePlugin], settings: Settings = _DEFAULTS) -> None:
    """Refuse what can be known to fail before anything is started.

    Raises:
        ConfigurationError: A resource name, a CDI kind or the directory cannot work, or two plugins are in each other's
            way.
    """
    taken: dict[str, str] = {}
    for plugin in plugins:
        if not isinstance(plugin, DevicePlugin):
            raise ConfigurationError(f"{plugin!r} is no DevicePlugin: give an instance of a subclass of it")
        if fault := resource_names.fault(getattr(plugin, "resource_name", "")):
            raise ConfigurationError(fault)
        for file in files_of(plugin, settings):
            if taken.get(file) == plugin.resource_name:
                raise ConfigurationError(f"the resource {plugin.resource_name} is there twice: serve it once")
            if file in taken:
                both = f"{taken[file]} and {plugin.resource_name}"
                raise ConfigurationError(f"{both} would share the file {file}: serve one of them, or name it otherwise")
            taken[file] = plugin.resource_name


def files_of(plugin: DevicePlugin, settings: Settings) -> list[str]:
    """List the files that a plugin needs for itself: its socket, and its CDI spec where there is one.

    Raises:
        ConfigurationError: They cannot be.
    """
    files = [os.path.join(settings.plugin_dir, socket_name(plugin.resource_name, settings.plugin_dir))]
    if (plugin.inject or settings.inject).by_cdi:
        files.append(cdi.spec_path(_kind(plugin), settings.cdi_dir))
    return files


def _kind(plugin: DevicePlugin) -> str:
    try:
        if plugin.cdi_kind:
            cdi.validate_kind(plugin.cdi_kind)
        return plugin.cdi_kind or cdi.kind_of(plugin.resource_name)
    except cdi.Error as error:
        raise ConfigurationError(f"{plugin.resource_name}: no CDI kind can be had: {error}") from error


async def serve(plugin: DevicePlugin, settings: Settings = _DEFAULTS) -> None:
    """Serve one plugin until cancelled; then its streams end and its socket goes.

    Whatever is missing -- the kubelet, the plugin directory, the device -- is waited for, and said once.

    Args:
        plugin: The plugin.
        settings: Where and how.

    Raises:
        ConfigurationError: The plugin's names cannot work.
    """
    check([plugin], settings)
    await Serving(plugin, settings, asyncio.Semaphore()).run()


class Serving:
    """One plugin that is served, once.

    Args:
        plugin: The plugin, checked.
        settings: Where and how.
        turns: Taken for a Register, by all who register with one kubelet.
    """

    def __init__(self, plugin: DevicePlugin, settings: Settings, turns: asyncio.Semaphore) -> None:
        self._settings = settings = replace(settings, inject=plugin.inject or settings.inject)
        self._name = plugin.resource_name
        self._log = log = StateLog(logger, self._name)
        self._wake = asyncio.Event()
        self._streams = Streams(self._wake.set)
        self._inventory = Inventory()
        socket, spec = self._files(plugin)
        self._socket = socket
        service = Service(plugin, self._inventory, self._streams, spec, settings, log)
        self._server = Server(service.handlers(), name=self._name)
        request = v1beta1.RegisterRequest(
            version="v1beta1",
            endpoint=os.path.basename(socket.path),
            resource_name=self._name,
            options=service.options(),  # kubelets of 1.20's age read them here alone, newer ones never do
        )
        self._supply = Supply(plugin, self._inventory, spec, settings, log)
        self._supplying: asyncio.Task[None] | None = None
        self._registration = Registration(request, self._streams, self._wake, settings, log, turns)
        self._withdrawn = self._hurried = False

    def _files(self, plugin: DevicePlugin) -> tuple[OurSocket, SpecFile | None]:
        settings = self._settings
        name = socket_name(plugin.resource_name, settings.plugin_dir)
        socket = OurSocket(os.path.join(settings.plugin_dir, name), settings, self._log)
        if not settings.inject.by_cdi:
            return socket, None
        return socket, SpecFile(_kind(plugin), settings.cdi_dir, socket.is_ours)

    async def run(self) -> None:
        """Serve until cancelled or withdrawn; then streams end and the socket goes."""
        async with asyncio.TaskGroup() as tasks:

            async def claimed() -> None:
                if self._socket.claims == 1:
                    self._supplying = tasks.create_task(self._supply.run())
                    await self._supply.first()
                else:
                    self._supply.offer()  # the spec file is ours to write again

            try:
                await self._stay_registered(claimed)
                await self._say_goodbye()
            finally:
                await self._registration.close()
                self._socket.release()
                await self._server.close()

    def withdraw(self) -> None:
        """Let it end with an empty list to every open stream, since there are no such devices any more.

        A kubelet has half a second to take it. The CDI spec stays: running pods replay its names.
        """
        self._withdrawn = True
        if self._supplying:
            self._supplying.cancel()
        self._inventory.end(DeviceList(self._name, ()))
        self._wake.set()

    def hurry(self) -> None:
        """Let what was withdrawn wait for no kubelet any more."""
        self._hurried = True
        self._wake.set()

    async def _stay_registered(self, claimed: Callable[[], Awaitable[None]]) -> None:
        await stay_registered(
            self._socket,
            self._server,
            claimed,
            self._registration,
            self._wake,
            self._settings,
            ticked=self._supply.offer,
            over=lambda: self._withdrawn,
        )

    async def _say_goodbye(self) -> None:
        await self._registration.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                while self._streams.any_open and not self._hurried:
                    self._wake.clear()
                    await self._wake.wait()
        self._log.event(INFO, "withdrawn")
