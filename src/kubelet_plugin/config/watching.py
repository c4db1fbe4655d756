"""Being told when configuration files may say something else."""

import asyncio
import glob
import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kubelet_plugin.config.files import files
from kubelet_plugin.discovery import Changes
from kubelet_plugin.discovery.inotify import Watches
from kubelet_plugin.errors import ConfigurationFileError

if TYPE_CHECKING:
    from asyncinotify import Watch


class FileWatch:
    """Calls `wake` when configuration files may say something else than when they were looked at.

    That is: one is written, comes, goes or is replaced, or a symbolic link or a directory on the way to it is, as when
    a ConfigMap's volume is updated. Level-triggered: a call means "read", and one may stand for many events. Whoever
    calls `look`, then reads, and does both again after each call, misses nothing.

    Args:
        paths: Files, and directories of them; they may come and go.
        wake: Called from the running event loop; must neither block nor raise.
    """

    def __init__(self, paths: Iterable[str], wake: Callable[[], None]) -> None:
        self._paths = tuple(map(os.path.abspath, paths))
        self._wake = wake
        self._watches = Watches.of_loop(asyncio.get_running_loop())
        self._names: dict[Watch, set[str]] = {}
        self._patterns: list[str] = []
        self._changes: Changes | None = None
        self._watches.attach(self)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch nothing any more."""
        if self._changes:
            self._changes.close()
        self._watches.detach(self)

    def look(self) -> None:
        """Watch what leads to the files of now, and what is in them."""
        found = [file for path in self._paths for file in _files(path)]
        below = [f"{glob.escape(path)}/*" for path in self._paths if os.path.isdir(path)]
        self._follow([*map(glob.escape, self._paths), *below])
        self._names = {}
        for file in found:
            directory, name = os.path.split(os.path.realpath(file))
            try:
                watch = self._watches.add(directory, self, contents_too=True)
            except (FileNotFoundError, NotADirectoryError):
                continue  # what is on the way to it will tell
            if watch is not None:
                self._names.setdefault(watch, set()).add(name)
        self._watches.keep(self, self._names)

    def notice(self, watch: "Watch", name: str) -> bool:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        return not name or name in self._names[watch]

    def act(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        self._wake()

    def overflow(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""

    def _follow(self, patterns: list[str]) -> None:
        if self._changes and patterns == self._patterns:
            self._changes.refresh()
            return
        before, self._patterns = self._changes, patterns
        self._changes = Changes(patterns, self._wake)
        if before:
            before.close()  # after the new one has begun: what both watch stays watched


def _files(path: str) -> list[str]:
    try:
        return files(path)
    except ConfigurationFileError:
        return []
