"""`serve` and `run`: a plugin, or several, against the kubelet of this node."""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import resource_names
from kubelet_plugin.api.transport import Server
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime import logs
from kubelet_plugin.runtime.endpoint import socket_name
from kubelet_plugin.runtime.hooks import is_cancelled
from kubelet_plugin.runtime.inventory import Inventory
from kubelet_plugin.runtime.plugin import DevicePlugin
from kubelet_plugin.runtime.reconcile import OurSocket, stay_registered
from kubelet_plugin.runtime.registration import Registration
from kubelet_plugin.runtime.service import Service
from kubelet_plugin.runtime.settings import Backoff, Settings
from kubelet_plugin.runtime.specs import SpecFile
from kubelet_plugin.runtime.statelog import ERROR, INFO, StateLog
from kubelet_plugin.runtime.streams import Streams
from kubelet_plugin.runtime.supply import Supply

logger = logging.getLogger("kubelet_plugin.runtime")

_DEFAULTS = Settings()
_FAREWELL = 0.5  # seconds for streams to end, before the process goes regardless


def check(plugins: Sequence[DevicePlugin], settings: Settings = _DEFAULTS) -> None:
    """Refuse what can be known to fail before anything is started.

    Raises:
        ConfigurationError: There is no plugin, a resource name, a CDI kind or the directory cannot work, or two plugins
            are in each other's way.
    """
    if not plugins:
        raise ConfigurationError("there is no plugin to serve")
    taken: dict[str, str] = {}
    for plugin in plugins:
        if not isinstance(plugin, DevicePlugin):
            raise ConfigurationError(f"{plugin!r} is no DevicePlugin: give an instance of a subclass of it")
        if fault := resource_names.fault(getattr(plugin, "resource_name", "")):
            raise ConfigurationError(fault)
        files = [os.path.join(settings.plugin_dir, socket_name(plugin.resource_name, settings.plugin_dir))]
        if settings.inject.by_cdi:
            files.append(cdi.spec_path(_kind(plugin), settings.cdi_dir))
        for file in files:
            if file in taken:
                both = f"{taken[file]} and {plugin.resource_name}"
                raise ConfigurationError(f"{both} would share the file {file}: serve one of them, or name it otherwise")
            taken[file] = plugin.resource_name


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
    log = StateLog(logger, plugin.resource_name)
    wake = asyncio.Event()
    streams = Streams(wake.set)
    inventory = Inventory()
    name = socket_name(plugin.resource_name, settings.plugin_dir)
    socket = OurSocket(os.path.join(settings.plugin_dir, name), settings, log)
    spec = SpecFile(_kind(plugin), settings.cdi_dir, socket.is_ours) if settings.inject.by_cdi else None
    service = Service(plugin, inventory, streams, spec, settings, log)
    server = Server(service.handlers(), name=plugin.resource_name)
    request = v1beta1.RegisterRequest(
        version="v1beta1",
        endpoint=name,
        resource_name=plugin.resource_name,
        options=service.options(),  # kubelets of 1.20's age read them here alone, newer ones never do
    )
    supply = Supply(plugin, inventory, spec, settings, log)
    registration = Registration(request, streams, wake, settings, log)
    async with asyncio.TaskGroup() as tasks:

        async def claimed() -> None:
            if socket.claims == 1:
                tasks.create_task(supply.run())
                await supply.first()
            else:
                supply.offer()  # the spec file is ours to write again

        await stay_registered(socket, server, claimed, registration, wake, settings)


def run(*plugins: DevicePlugin, settings: Settings | None = None) -> int:
    """Serve plugins until SIGTERM or SIGINT. This is a whole program's `main`.

    A plugin whose serving fails for a reason of its own is begun anew after a while; the others go on.

    Log records go to standard error as lines of text, unless the program has set up logging itself.

    Args:
        plugins: The plugins.
        settings: Where and how, for all of them; if not given, what the environment says, as
            `Settings.from_environment` reads it.

    Returns:
        The exit code, 0.

    Raises:
        ConfigurationError: Something about the plugins, or a variable of the environment, cannot work.
    """
    if settings is None:
        settings = Settings.from_environment(os.environ)
    check(plugins, settings)
    if not logging.getLogger().handlers:
        logs.configure("text", "info")
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_run(plugins, settings))
    finally:
        _close(loop)
    return 0


async def _run(plugins: Sequence[DevicePlugin], settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = {asyncio.create_task(_persist(plugin, settings)) for plugin in plugins}
    await stop.wait()
    logger.log(INFO, "stopping")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_FAREWELL)


async def _persist(plugin: DevicePlugin, settings: Settings) -> None:
    backoff = Backoff(settings)
    while True:
        try:
            await serve(plugin, settings)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the other plugins go on
            if is_cancelled():
                return
            StateLog(logger, plugin.resource_name).event(
                ERROR, f"serving failed: {type(error).__name__}: {error}; beginning anew", error=error
            )
        await asyncio.sleep(backoff.next())


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop without waiting for what does not end: asyncio.run would."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_FAREWELL / 2))
    loop.close()
