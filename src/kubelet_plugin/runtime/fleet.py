"""A set of plugins in one process, which may change at run time; `run` is the program around one that does not."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime import logs
from kubelet_plugin.runtime.hooks import is_cancelled
from kubelet_plugin.runtime.plugin import DevicePlugin
from kubelet_plugin.runtime.serving import Serving, check, files_of
from kubelet_plugin.runtime.settings import Backoff, Settings
from kubelet_plugin.runtime.statelog import ERROR, INFO, StateLog

logger = logging.getLogger("kubelet_plugin.runtime")

_FAREWELL = 0.5  # seconds for streams to end, before the process goes regardless
_REGISTERING = 8  # at once: more would wait in the kubelet all the same, and take memory meanwhile
_MANY = 100  # plugins; of more, each looks less often whether something happened that no event told of
_PATIENCE = 1.0  # seconds that a plugin waits for one before it, whose code may never end


class Fleet:
    """Serves a set of plugins that may change.

    A plugin whose serving fails for a reason of its own is begun anew after a while; the others go on. All is done on
    the running event loop.

    Args:
        settings: Where and how, for all of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._members: dict[str, _Member] = {}
        self._leaving: set[_Member] = set()
        self._turns = asyncio.Semaphore(_REGISTERING)

    def apply(self, plugins: Iterable[DevicePlugin]) -> None:
        """Serve these plugins and no others, from now on.

        A plugin that is served already, the same object, is not touched: its streams and its socket stay. For one that
        has its resource name with another, the other one ends as at SIGTERM, and only then it begins. One that is not
        among them any more is withdrawn: an empty list goes to every open stream, then the streams end, then the socket
        goes, within a second even where a kubelet does not read. Its CDI spec stays for running pods.

        Args:
            plugins: All of them; may be none.

        Raises:
            ConfigurationError: They cannot be served together; nothing has changed.
        """
        wanted = tuple(plugins)
        check(wanted, self._settings)
        by_name = {plugin.resource_name: plugin for plugin in wanted}
        for name, member in list(self._members.items()):
            plugin = by_name.get(name)
            if plugin is not member.plugin:
                self._let_go(self._members.pop(name), withdraw=plugin is None)
        settings = replace(self._settings, tick=self._settings.tick * max(1.0, len(by_name) / _MANY))
        for name, plugin in by_name.items():
            if name not in self._members:
                self._members[name] = self._begin(plugin, settings)

    async def close(self) -> None:
        """End all of them as at SIGTERM: streams end, sockets go; without a goodbye list, for they are to come back."""
        members = {*self._members.values(), *self._leaving}
        self._members.clear()
        for member in members:
            member.end()
        if members:
            await asyncio.wait({member.task for member in members}, timeout=_FAREWELL)

    def _begin(self, plugin: DevicePlugin, settings: Settings) -> "_Member":
        files = frozenset(files_of(plugin, self._settings))
        before = {member.task for member in self._leaving if not files.isdisjoint(member.files)}
        return _Member(plugin, files, settings, self._turns, before)

    def _let_go(self, member: "_Member", *, withdraw: bool) -> None:
        self._leaving.add(member)
        member.task.add_done_callback(lambda _: self._leaving.discard(member))
        if withdraw:
            member.withdraw()
        else:
            member.end()


class _Member:
    """One plugin of a fleet.

    Args:
        plugin: The plugin.
        files: The files it needs for itself.
        settings: Where and how.
        turns: Taken for a Register.
        before: What must have ended before it begins, for it had some of these files.
    """

    def __init__(
        self,
        plugin: DevicePlugin,
        files: frozenset[str],
        settings: Settings,
        turns: asyncio.Semaphore,
        before: set[asyncio.Task[None]],
    ) -> None:
        self.plugin = plugin
        self.files = files
        self._settings = settings
        self._turns = turns
        self._serving: Serving | None = None
        self._ending = False
        self.task = asyncio.get_running_loop().create_task(self._persist(before))

    def end(self) -> None:
        """Let it end as at SIGTERM, at once."""
        if not self._ending:
            self._ending = True
            self.task.cancel()
        elif self._serving:
            self._serving.hurry()  # to cancel it once more would break off what it does to end

    def withdraw(self) -> None:
        """Let it end with an empty list to every open stream."""
        self._ending = True
        if self._serving:
            self._serving.withdraw()
        else:
            self.task.cancel()

    async def _persist(self, before: set[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before, timeout=_PATIENCE)
        backoff = Backoff(self._settings)
        while True:
            try:
                self._serving = Serving(self.plugin, self._settings, self._turns)
                await self._serving.run()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the other plugins go on
                if is_cancelled():
                    return
                StateLog(logger, self.plugin.resource_name).event(
                    ERROR, f"serving failed: {type(error).__name__}: {error}; beginning anew", error=error
                )
            self._serving = None
            if self._ending:
                return
            await asyncio.sleep(backoff.next())


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
    if not plugins:
        raise ConfigurationError("there is no plugin to serve")
    check(plugins, settings)

    async def keep(fleet: Fleet) -> None:
        fleet.apply(plugins)

    return run_fleet(keep, settings)


def run_fleet(keep: Callable[[Fleet], Coroutine[Any, Any, None]], settings: Settings) -> int:
    """Serve a set of plugins that may change, until SIGTERM or SIGINT. This, too, is a whole program's `main`.

    Args:
        keep: Applies the plugins to the fleet, and may go on to do so; it is cancelled at the end. Where it returns,
            things go on as they are; what it raises ends the program.
        settings: Where and how, for all plugins.

    Returns:
        The exit code, 0.

    Raises:
        BaseException: What `keep` raised.
    """
    if not logging.getLogger().handlers:
        logs.configure("text", "info")
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_run(keep, settings))
    finally:
        _close(loop)
    return 0


async def _run(keep: Callable[[Fleet], Coroutine[Any, Any, None]], settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    fleet = Fleet(settings)
    keeping = asyncio.create_task(keep(fleet))

    def kept(task: asyncio.Task[None]) -> None:
        if _failure(task):
            stop.set()

    keeping.add_done_callback(kept)
    await stop.wait()
    failure = _failure(keeping)
    if failure is None:
        logger.log(INFO, "stopping")
    keeping.cancel()
    await fleet.close()
    if failure is not None:
        raise failure


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop without waiting for what does not end: asyncio.run would."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_FAREWELL / 2))
    loop.close()
