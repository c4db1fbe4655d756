"""The one inotify instance of an event loop: directories in, the names that changed out.

A user may have 128 instances by default (`fs.inotify.max_user_instances`), so all who watch share one, with one watch
for each directory.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asyncinotify import Event, Inotify, Watch

logger = logging.getLogger("kubelet_plugin.discovery")

_ATTRIB, _CLOSE_WRITE = 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_Q_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLYDIR, _DONT_FOLLOW, _MASK_ADD = 0x1000000, 0x2000000, 0x20000000
_SELF = _DELETE_SELF | _MOVE_SELF
_NAMES = _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE

_BATCH = 256  # events handled before the loop gets its turn
_LIMITS = {
    errno.EMFILE: "raise fs.inotify.max_user_instances by sysctl, or this process's limit on open files",
    errno.ENFILE: "raise fs.file-max by sysctl",
    errno.ENOSPC: "raise fs.inotify.max_user_watches by sysctl",
}


class Subscriber(Protocol):
    """One who watches directories."""

    def notice(self, watch: "Watch", name: str) -> bool:
        """Judge an event at once, without acting on it.

        Args:
            watch: The watch it came from.
            name: The name in the directory that changed; empty for the directory itself.

        Returns:
            Whether `act` is to be called once all events at hand are noticed.
        """

    def act(self) -> None:
        """Act on all that was noticed."""

    def overflow(self) -> None:
        """Notice that events were lost."""


class _Subscribers:
    """Those who watch one directory, found by the names they care for.

    Args:
        path: Where the directory is.
        identity: What tells it from any other.
    """

    def __init__(self, path: str, identity: tuple[int, int] | None) -> None:
        self.path = path
        self.identity = identity
        self.all: dict[Subscriber, tuple[tuple[str, ...], tuple[str, ...]] | None] = {}
        self._index: tuple[dict[str, list[Subscriber]], dict[str, list[Subscriber]], tuple[int, ...]] | None = None

    def add(self, subscriber: Subscriber) -> None:
        if subscriber not in self.all:
            self.narrow(subscriber, None)

    def narrow(self, subscriber: Subscriber, narrowed: tuple[tuple[str, ...], tuple[str, ...]] | None) -> None:
        if subscriber not in self.all or self.all[subscriber] != narrowed:
            self.all[subscriber] = narrowed
            self._index = None

    def discard(self, subscriber: Subscriber) -> None:
        self.all.pop(subscriber, None)
        self._index = None

    def of(self, name: str) -> Iterable[Subscriber]:
        """List who may care for a name, once each."""
        if not name or len(self.all) == 1:
            return tuple(self.all)
        by_name, by_prefix, lengths = self._index = self._index or self._indexed()
        concerned = dict.fromkeys(by_name.get(name, ()))
        for length in lengths:
            concerned.update(dict.fromkeys(by_prefix.get(name[:length], ())))
        return concerned

    def _indexed(self) -> tuple[dict[str, list[Subscriber]], dict[str, list[Subscriber]], tuple[int, ...]]:
        by_name: dict[str, list[Subscriber]] = {}
        by_prefix: dict[str, list[Subscriber]] = {}
        for subscriber, narrowed in self.all.items():
            names, prefixes = narrowed or ((), ("",))
            for name in names:
                by_name.setdefault(name, []).append(subscriber)
            for prefix in prefixes:
                by_prefix.setdefault(prefix, []).append(subscriber)
        return by_name, by_prefix, tuple({len(prefix) for prefix in by_prefix})


class Watches:
    """The directories watched on one event loop, and for whom.

    Where the kernel grants no instance or no watch, that is logged once with the limit to raise, and things go on
    without.

    Args:
        loop: The event loop.
        factory: Makes the inotify instance.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, factory: "Callable[[], Inotify] | None" = None) -> None:
        self._loop = loop
        self._factory = factory or _inotify
        self._inotify: Inotify | None = None
        self._held: dict[Subscriber, set[Watch]] = {}
        self._subscribers: dict[Watch, _Subscribers] = {}
        self._said: set[str] = set()

    @classmethod
    def of_loop(cls, loop: asyncio.AbstractEventLoop) -> "Watches":
        """Return those that all share who watch on a loop; they last until the last one has left."""
        return _shared.setdefault(loop, cls(loop))

    def attach(self, subscriber: Subscriber) -> None:
        """Begin to deliver to a subscriber."""
        self._held[subscriber] = set()

    def detach(self, subscriber: Subscriber) -> None:
        """Release all that a subscriber watches; with the last subscriber the instance is closed."""
        if subscriber in self._held:
            self.keep(subscriber, ())
            del self._held[subscriber]
        if not self._held:
            self._close()

    def add(
        self, directory: str, subscriber: Subscriber, *, names_too: bool = True, contents_too: bool = False
    ) -> "Watch | None":
        """Watch a directory for a subscriber; what it is watched for already stays, for all its subscribers.

        Args:
            directory: The directory; no symbolic link.
            subscriber: Who is told.
            names_too: Whether for what happens to the names in it, or for its own end alone.
            contents_too: Whether for files in it that were written, too: when they are closed.

        Returns:
            The watch, the same for all paths to one directory; None where it cannot be watched, which is logged.

        Raises:
            FileNotFoundError: There is no such directory.
            NotADirectoryError: It is something else.
        """
        from asyncinotify import Mask  # noqa: PLC0415

        try:
            events = _SELF | (_NAMES if names_too else 0) | (_CLOSE_WRITE if contents_too else 0)
            watch = self._open().add_watch(directory, Mask(events | _ONLYDIR | _DONT_FOLLOW | _MASK_ADD))
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            self._say(directory, error)
            return None
        self._held[subscriber].add(watch)
        if watch not in self._subscribers:
            self._subscribers[watch] = _Subscribers(directory, _identity(directory))
        self._subscribers[watch].path = directory  # the watch itself keeps the first one, though it be moved
        self._subscribers[watch].add(subscriber)
        return watch

    def path(self, watch: "Watch") -> str:
        """Return under which path a directory was last added; empty where it is watched no longer."""
        return subscribers.path if (subscribers := self._subscribers.get(watch)) else ""

    def covered(self, watches: "Iterable[Watch]") -> bool:
        """Tell whether at one of the watched paths there is another directory by now: one that was mounted over it."""
        return any(
            (subscribers := self._subscribers.get(watch)) is None or subscribers.identity != _identity(subscribers.path)
            for watch in watches
        )

    def narrow(
        self, watch: "Watch", subscriber: Subscriber, *, names: Iterable[str], prefixes: Iterable[str] = ()
    ) -> None:
        """Let a subscriber notice fewer events of a watch: of hundreds, few are to be asked for each.

        Args:
            watch: The watch.
            subscriber: The subscriber.
            names: The names it is told of.
            prefixes: It is told of names that begin so, too. Of the directory itself it is told at any rate.
        """
        if (subscribers := self._subscribers.get(watch)) is not None:
            subscribers.narrow(subscriber, (tuple(names), tuple(prefixes)))

    def keep(self, subscriber: Subscriber, watches: "Iterable[Watch]") -> None:
        """Release what a subscriber watches, but for `watches`."""
        held = self._held[subscriber]
        for watch in held.difference(watches):
            held.discard(watch)
            if (subscribers := self._subscribers.get(watch)) is not None:
                subscribers.discard(subscriber)
                if not subscribers.all:
                    self._remove(watch)

    def handle(self, event: "Event") -> Iterable[Subscriber]:
        """Let those concerned notice an event; returns who wants to act on it."""
        mask = int(event.mask)
        if mask & _Q_OVERFLOW:
            for subscriber in self._held:
                subscriber.overflow()
            return tuple(self._held)
        watch, name = event.watch, str(event.name or "")
        if watch is None:
            return ()
        subscribers = self._subscribers.pop(watch, None) if mask & _IGNORED else self._subscribers.get(watch)
        concerned = subscribers.of(name) if subscribers else ()
        return [subscriber for subscriber in concerned if subscriber.notice(watch, name)]

    def _read(self) -> None:
        """Handle the events at hand; each subscriber acts once on all of them."""
        noticed: dict[Subscriber, None] = {}
        for _ in range(_BATCH):
            if self._inotify is None or (event := self._inotify.sync_get()) is None:
                break
            noticed.update(dict.fromkeys(self.handle(event)))
        else:  # the library may hold events that the descriptor no longer announces
            self._loop.call_soon(self._read)
        for subscriber in noticed:
            if subscriber in self._held:
                subscriber.act()

    def _open(self) -> "Inotify":
        if self._inotify is None:
            self._inotify = self._factory()
            self._loop.add_reader(self._inotify.fd, self._read)
        return self._inotify

    def _close(self) -> None:
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
        if _shared.get(self._loop) is self:
            del _shared[self._loop]

    def _remove(self, watch: "Watch") -> None:
        del self._subscribers[watch]
        assert self._inotify is not None
        with contextlib.suppress(OSError):  # the directory is gone, and the watch with it
            self._inotify.rm_watch(watch)

    def _say(self, directory: str, error: OSError) -> None:
        remedy = _LIMITS.get(error.errno or 0)
        what = f"{'files' if remedy or self._inotify is None else directory} cannot be watched: {error.strerror}"
        if remedy:
            what += f"; {remedy}"
        if what not in self._said:
            self._said.add(what)
            logger.warning("%s; changes are noticed late, by the periodic look alone", what)


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


_shared: dict[asyncio.AbstractEventLoop, Watches] = {}


def _inotify() -> "Inotify":
    from asyncinotify import Inotify  # noqa: PLC0415 -- it takes ctypes along and runs ldconfig

    return Inotify(cache_size=32, sync_timeout=0)
