"""A plugin of ours that is served while a test runs."""

import asyncio
from collections.abc import Callable

from kubelet_plugin.runtime import DevicePlugin, Settings, serve


class Serving:
    """One plugin that is served on the running event loop.

    Args:
        plugin: The plugin.
        settings: Where and how.
        ended: Called when serving has ended, on that loop.
    """

    def __init__(self, plugin: DevicePlugin, settings: Settings, ended: Callable[[], None]) -> None:
        self._plugin = plugin
        self._settings = settings
        self._ended = ended
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin.

        Raises:
            ConfigurationError: The plugin's names cannot work.
        """
        self._task = asyncio.get_running_loop().create_task(serve(self._plugin, self._settings))
        self._task.add_done_callback(lambda _: self._ended())
        await asyncio.sleep(0)  # what can be known to fail has failed by then
        if failure := self.failure():
            raise failure

    async def end(self) -> None:
        """End: streams end, and the socket goes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def failure(self) -> BaseException | None:
        """Why serving has ended; None while it has not, and when it was ended."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return _cause(self._task.exception())

    def note(self) -> str:
        """Say why serving has ended, where it has."""
        failure = self.failure()
        return f"{self.story()} That has failed: {failure!r}" if failure else ""

    def story(self) -> str:
        """Say what it is, for people."""
        return f"{type(self._plugin).__name__} is served as {self._plugin.resource_name}."


def _cause(error: BaseException | None) -> BaseException | None:
    """The one error of a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
