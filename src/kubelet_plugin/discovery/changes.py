"""Being told when paths change that may not exist yet."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kubelet_plugin.discovery.inotify import Watches
from kubelet_plugin.discovery.patterns import Part, literal, matches, names, parse

if TYPE_CHECKING:
    from asyncinotify import Watch

_MAX_LINKS = 40  # as many symbolic links as the kernel follows in one path

_Tail = tuple[Part, ...]


@dataclass(slots=True)
class _Interest:
    """The names of one directory that matter, and whether more lies below them."""

    literal: dict[str, bool] = field(default_factory=dict)
    globs: dict[Part, bool] = field(default_factory=dict)

    def add(self, part: Part, *, through: bool) -> None:
        if isinstance(part, str):
            self.literal[part] = self.literal.get(part, False) or through
        else:
            self.globs[part] = self.globs.get(part, False) or through

    def judge(self, name: str) -> tuple[bool, bool]:
        """Tell whether a name matters, and whether there may be directories to watch below it."""
        fits = [through for part, through in self.globs.items() if matches(part, name)]
        if name in self.literal:
            fits.append(self.literal[name])
        return bool(fits), any(fits)


class Changes:
    """Calls `wake` when a path that fits one of the patterns may have changed.

    That is: such a name is created, deleted, moved, or its mode or owner changes, or a directory on the way to it
    appears, goes or is replaced. Level-triggered: a call means "look", no more, and one call may stand for many events.
    Whoever looks after the construction, and again after each call, misses nothing: a directory is watched before what
    is in it is looked at. Names that fit no pattern do not wake.

    What inotify cannot see: writes to a file, changes of what a symbolic link at the end of a path leads to, what the
    kernel does in sysfs and procfs, and a file system mounted over a watched directory (`refresh` finds that one).

    It begins with the construction, on the running event loop, and lasts until `close`.

    Args:
        patterns: Paths or globs; directories may be globs too, and need not exist.
        wake: Called from the event loop; must neither block nor raise.
        host_root: A directory that all patterns are below, taken literally.
        watches: The inotify instance; by default the one that all on this event loop share.
    """

    def __init__(
        self,
        patterns: Iterable[str],
        wake: Callable[[], None],
        *,
        host_root: str = "/",
        watches: Watches | None = None,
    ) -> None:
        self._tails = [parse(pattern, host_root) for pattern in patterns]
        self._wake = wake
        self._watches = watches or Watches.of_loop(asyncio.get_running_loop())
        self._interests: dict[Watch, _Interest] = {}
        self._stale = False
        self._closed = False
        self._watches.attach(self)
        self.refresh()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Stop; `wake` is not called any more."""
        if not self._closed:
            self._closed = True
            self._watches.detach(self)

    def refresh(self) -> None:
        """Look anew which directories to watch; for the slow resync, as inotify cannot tell of everything."""
        self._stale = False
        self._interests = {}
        self._descend("/", self._tails, _MAX_LINKS)
        self._watches.keep(self, self._interests)

    def notice(self, watch: "Watch", name: str) -> bool:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        fits, through = self._interests[watch].judge(name) if name else (True, True)
        self._stale = self._stale or through
        return fits

    def overflow(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        self._stale = True

    def act(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        if self._stale:
            self.refresh()  # before the wake: what came into a new directory by now, the one who is woken will see
        self._wake()

    def _descend(self, directory: str, tails: Sequence[_Tail], links: int) -> bool:
        """Watch a directory, and from there on what the tails lead through.

        A directory that only leads to others that are there is watched for its own end alone: what else happens in
        `/var` or `/tmp` is no reason to wake.

        Returns:
            Whether there is such a directory.
        """
        deeper: dict[Part, list[_Tail]] = {}
        for head, *rest in tails:
            deeper.setdefault(head, [])
            if rest:
                deeper[head].append(tuple(rest))
        leads_on = all(rests and _is_plain(directory, head) for head, rests in deeper.items())
        try:
            self._watch(directory, deeper, names_too=not leads_on)
            for head, rests in deeper.items():
                for name in names(directory, head) if rests else ():
                    if not self._enter(directory, name, rests, links) and leads_on:
                        self._watch(directory, deeper, names_too=True)
                        self._enter(directory, name, rests, links)  # it may have come before it was watched for
        except (FileNotFoundError, NotADirectoryError):
            return False  # the directory above is watched, and will tell
        return True

    def _watch(self, directory: str, deeper: Mapping[Part, Sequence[_Tail]], *, names_too: bool) -> None:
        watch = self._watches.add(directory, self, names_too=names_too)
        if watch is not None:
            interest = self._interests.setdefault(watch, _Interest())
            for head, rests in deeper.items():
                interest.add(head, through=bool(rests))

    def _enter(self, directory: str, name: str, tails: Sequence[_Tail], links: int) -> bool:
        """Go on below a name; for a symbolic link along its target, whose directories may come and go as well.

        Returns:
            Whether the name is a directory, which then tells of its own end.
        """
        path = os.path.join(directory, name)
        target = None
        with contextlib.suppress(OSError):
            target = os.readlink(path)
        if target is None:
            return self._descend(path, tails, links)
        if links:
            start = "/" if target.startswith("/") else directory
            self._descend(start, [(*literal(target), *tail) for tail in tails], links - 1)
        return False


def _is_plain(directory: str, part: Part) -> bool:
    return isinstance(part, str) and not os.path.islink(os.path.join(directory, part))
