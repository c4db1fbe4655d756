"""Waiting until something may have changed in directories, those that do not exist yet included."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from kubelet_plugin.cdi.errors import Error

if TYPE_CHECKING:
    from types import TracebackType

    from asyncinotify import Watch

_ATTRIB, _CLOSE_WRITE = 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
_ONLYDIR, _MASK_ADD = 0x1000000, 0x20000000
_COMING = _MOVED_TO | _CREATE | _DELETE_SELF | _MOVE_SELF
_ALL = _COMING | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _DELETE

# A writer that does not replace its file at once makes several events: they count as one.
_SETTLE = 0.02

_REMEDIES = {
    errno.EMFILE: "raise fs.inotify.max_user_instances by sysctl, or this process's limit on open files",
    errno.ENFILE: "raise fs.file-max by sysctl",
    errno.ENOSPC: "raise fs.inotify.max_user_watches by sysctl",
}


class DirectoryWatch:
    """An inotify instance on directories; of one that is missing, on the nearest one above it that is there.

    Args:
        directories: The directories.

    Raises:
        Error: The system grants no inotify instance.
    """

    def __init__(self, directories: Iterable[str]) -> None:
        from asyncinotify import Inotify  # noqa: PLC0415  # it takes ctypes along and runs ldconfig

        self._directories = tuple(os.path.abspath(each) for each in directories)
        self._watches: set[Watch] = set()
        try:
            self._inotify = Inotify(cache_size=32, sync_timeout=0)
        except OSError as error:
            raise _refusal("CDI directories", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self._inotify.close()

    def renew(self) -> None:
        """Watch what is there now. Whatever happens from here on ends the next `wait`.

        Raises:
            Error: The system grants no watch.
        """
        before, self._watches = self._watches, {self._watched(each) for each in self._directories}
        for watch in before - self._watches:
            with contextlib.suppress(OSError):  # the directory is gone, and the watch with it
                self._inotify.rm_watch(watch)

    async def wait(self, timeout: float) -> None:
        """Wait until something happened, or for so many seconds."""
        loop, happened = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._inotify.fd, happened.set)
        try:
            async with asyncio.timeout(timeout):
                await happened.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(self._inotify.fd)
        await asyncio.sleep(_SETTLE)
        while self._inotify.sync_get() is not None:
            pass

    def _watched(self, directory: str) -> "Watch":
        while True:
            path, missing = directory, ""
            while (watch := self._add(path, _COMING if missing else _ALL)) is None:
                path, missing = os.path.dirname(path), path
            # What was missing may have come before there was a watch to tell of it.
            if not missing or self._add(missing, _COMING) is None:
                return watch

    def _add(self, path: str, events: int) -> "Watch | None":
        from asyncinotify import Mask  # noqa: PLC0415

        try:
            return self._inotify.add_watch(path, Mask(events | _ONLYDIR | _MASK_ADD))
        except OSError as error:
            if error.errno in _REMEDIES or path == "/":
                raise _refusal(path, error) from error
            return None


def _refusal(what: str, error: OSError) -> Error:
    remedy = _REMEDIES.get(error.errno or 0)
    return Error(f"cannot watch {what}: {error.strerror}" + (f"; {remedy}" if remedy else ""))
