"""The sockets in plugins_registry."""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from kubelet_plugin.discovery.inotify import Watches
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet import log

if TYPE_CHECKING:
    from asyncinotify import Watch


class Sockets:
    """The sockets below a directory; a `kubelet_plugin.discovery.inotify.Subscriber`.

    What became of a name is seen by looking. Each socket's inode is held open for that: its number stays its own, so
    that another socket of the name is told from it, and its link count tells a removal from a rename, which kubelets
    take no notice of.

    Args:
        directory: The directory.
        changed: Called when `markers` may have changed.

    Attributes:
        markers: By path, an object that stands for the socket's creation: another one for each.
    """

    def __init__(self, directory: str, changed: Callable[[], None]) -> None:
        self.markers: dict[str, object] = {}
        self._directory = directory
        self._changed = changed
        self._directories: dict[Watch, str] = {}
        self._inodes: dict[str, int] = {}
        self._noticed: dict[str, None] = {}
        self._watches: Watches | None = None

    def open(self) -> None:
        """Begin, with what is there.

        Raises:
            ConfigurationError: The directory cannot be made.
        """
        log.info(2, "Plugin Watcher Start", path=self._directory)
        try:
            os.makedirs(self._directory, 0o750, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the plugin registration directory {self._directory} cannot be made: {error.strerror or error}; give "
                "one that this user may write to"
            ) from error
        self._watches = Watches.of_loop(asyncio.get_running_loop())
        self._watches.attach(self)
        self._walk(self._directory)

    def close(self) -> None:
        """End."""
        if self._watches is not None:
            self._watches.detach(self)
            self._watches = None
        while self._inodes:
            os.close(self._inodes.popitem()[1])

    def notice(self, watch: "Watch", name: str) -> bool:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        directory = self._directories[watch]
        self._noticed[os.path.join(directory, name) if name else directory] = None
        return True

    def overflow(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        self._noticed.update(dict.fromkeys([*self._inodes, self._directory]))

    def act(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        while self._noticed:
            path = next(iter(self._noticed))
            del self._noticed[path]
            self._look(path)
        self._changed()

    def _look(self, path: str) -> None:
        """See what has become of a name."""
        try:
            now = os.lstat(path)
        except OSError:
            self._let_go(path)
            self._unwatch(path)
            return
        if path in self._inodes:
            if os.path.samestat(os.fstat(self._inodes[path]), now):
                return
            self._let_go(path)
        if os.path.basename(path).startswith(".") and path != self._directory:
            log.info(5, "Ignoring file (starts with '.')", path=path)
        elif stat.S_ISDIR(now.st_mode):
            self._walk(path)
        else:
            self._take(path)

    def _walk(self, directory: str) -> None:
        """Watch a directory and all below it, and take what is there."""
        assert self._watches is not None
        try:
            watch = self._watches.add(os.path.realpath(directory), self)
            if watch is not None:
                self._directories[watch] = directory
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            log.error(error, "Error accessing path", path=directory)
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):  # with a dot too: kubelets heed that when a name comes alone
                self._walk(entry.path)
            else:
                self._look(entry.path)

    def _take(self, path: str) -> None:
        with contextlib.suppress(OSError):  # it may have gone again
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                log.info(5, "Ignoring non socket file", path=path)
                return
            self._inodes[path] = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            self.markers[path] = object()
            log.info(2, "Adding socket path or updating timestamp to desired state cache", path=path)

    def _let_go(self, path: str) -> None:
        """Take note that a socket's name has gone or is another's."""
        if (inode := self._inodes.pop(path, None)) is None:
            return
        was_removed = os.fstat(inode).st_nlink == 0
        os.close(inode)
        if was_removed:
            log.info(2, "Removing socket path from desired state cache", path=path)
            del self.markers[path]

    def _unwatch(self, directory: str) -> None:
        assert self._watches is not None
        kept = {watch: path for watch, path in self._directories.items() if path != directory}
        if len(kept) != len(self._directories):
            self._directories = kept
            self._watches.keep(self, kept)
