"""Being told when paths change that may not exist yet."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kubelet_plugin.discovery.inotify import Watches
from kubelet_plugin.discovery.patterns import Glob, Part, literal, names, parse

if TYPE_CHECKING:
    from asyncinotify import Watch

_MAX_LINKS = 40  # as many symbolic links as the kernel follows in one path

_Tail = tuple[Part, ...]


@dataclass(slots=True)
class _Interest:
    """The names of one directory that matter, and whether more lies below them."""

    literal: dict[str, bool] = field(default_factory=dict)
    globs: dict[Glob, bool] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)

    def add(self, part: Part, *, through: bool) -> None:
        if isinstance(part, str):
            self.literal[part] = self.literal.get(part, False) or through
        else:
            self.globs[part] = self.globs.get(part, False) or through

    def judge(self, name: str) -> tuple[bool, bool]:
        """Tell whether a name matters, and whether it may lead to more that is to be watched."""
        fits = [through or name in self.links for glob, through in self.globs.items() if glob.match(name)]
        if name in self.literal:
            fits.append(self.literal[name] or name in self.links)
        return bool(fits), any(fits)


_ON_THE_WAY = _Interest()  # of a directory that is watched for its own end alone; hundreds of watchers share it


class Changes:
    """Calls `wake` when a path that fits one of the patterns may have changed.

    That is: such a name is created, deleted, moved, or its mode or owner changes, or a directory on the way to it
    appears, goes or is replaced; and the same for what it leads to, if it is a symbolic link. Level-triggered: a call
    means "look", no more, and one call may stand for many events. Whoever looks after the construction, and again
    after each call, misses nothing: a directory is watched before what is in it is looked at. Names that fit no pattern
    do not wake.

    What inotify cannot see: writes to a file, what the kernel does in sysfs and procfs, and a file system mounted over
    a watched directory (`recheck` finds that one).

    It begins with the construction, on the running event loop, and lasts until `close`.

    Args:
        patterns: Paths or globs; directories may be globs too, and need not exist.
        wake: Called from the event loop; must neither block nor raise.
        host_root: A directory that all patterns are below, taken literally; no symbolic link below it leads out of it:
            absolute ones lead from it on.
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
        self._root = os.path.realpath(host_root)
        self._tails = [parse(pattern, self._root) for pattern in patterns]
        self._wake = wake
        self._watches = watches or Watches.of_loop(asyncio.get_running_loop())
        self._interests: dict[Watch, _Interest] = {}
        self._stale = False
        self._blind = False
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
        self._watches.detach(self)

    def recheck(self) -> bool:
        """Look for what inotify does not tell, at little cost; for the slow resync.

        Returns:
            Whether to look: a file system was mounted over a watched directory, or one cannot be watched at all.
        """
        if self._blind or self._watches.covered(self._interests):
            self.refresh()
            return True
        return False

    def refresh(self) -> None:
        """Look anew which directories to watch."""
        self._stale = self._blind = False
        self._interests = {}
        self._descend("/", self._tails, _MAX_LINKS)
        self._watches.keep(self, self._interests)
        for watch, interest in self._interests.items():
            prefixes = dict.fromkeys(glob.prefix for glob in interest.globs)
            self._watches.narrow(watch, self, names=interest.literal, prefixes=prefixes)

    def notice(self, watch: "Watch", name: str) -> bool:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        fits, through = self._interests[watch].judge(name) if name else (True, True)
        if fits and not self._stale:
            self._stale = through or os.path.islink(os.path.join(self._watches.path(watch), name))
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
            interest = self._watch(directory, deeper, names_too=not leads_on)
            for head, rests in deeper.items():
                for name in names(directory, head) if rests else ():
                    if not self._enter(directory, name, rests, links) and leads_on:
                        self._watch(directory, deeper, names_too=True)
                        self._enter(directory, name, rests, links)  # it may have come before it was watched for
            if links:
                self._follow(directory, {head for head, *rest in tails if not rest}, interest, links)
        except (FileNotFoundError, NotADirectoryError):
            return False  # the directory above is watched, and will tell
        return True

    def _follow(self, directory: str, heads: Iterable[Part], interest: _Interest, links: int) -> None:
        """Watch what final names lead to that are symbolic links, all that begin in one directory together."""
        targets: dict[str, list[_Tail]] = {}
        for name in (name for head in heads for name in names(directory, head)):
            if target := _target(os.path.join(directory, name)):
                interest.links.add(name)
                if parts := literal(target):
                    targets.setdefault(self._start(directory, target), []).append(parts)
        for start, tails in targets.items():
            self._descend(start, tails, links - 1)

    def _watch(self, directory: str, deeper: Mapping[Part, Sequence[_Tail]], *, names_too: bool) -> _Interest:
        watch = self._watches.add(directory, self, names_too=names_too)
        self._blind = self._blind or watch is None
        known = None if watch is None else self._interests.get(watch)
        if known is None or (known is _ON_THE_WAY and names_too):
            known = _Interest() if names_too else _ON_THE_WAY
            if watch is not None:
                self._interests[watch] = known
        if known is not _ON_THE_WAY:
            for head, rests in deeper.items():
                known.add(head, through=bool(rests))
        return known

    def _enter(self, directory: str, name: str, tails: Sequence[_Tail], links: int) -> bool:
        """Go on below a name; for a symbolic link along its target, whose directories may come and go as well.

        Returns:
            Whether the name is a directory, which then tells of its own end.
        """
        path = directory if name == ".." and self._is_root(directory) else os.path.join(directory, name)
        target = _target(path)
        if not target:
            return self._descend(path, tails, links)
        if links:
            self._descend(self._start(directory, target), [(*literal(target), *tail) for tail in tails], links - 1)
        return False

    def _is_root(self, directory: str) -> bool:
        return self._root != "/" and os.path.samefile(directory, self._root)

    def _start(self, directory: str, target: str) -> str:
        """Say from where on the target of a link in a directory goes."""
        if not target.startswith("/"):
            return directory
        return self._root if os.path.join(directory, "").startswith(os.path.join(self._root, "")) else "/"


def _target(path: str) -> str:
    """Return the target of a symbolic link; empty where there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _is_plain(directory: str, part: Part) -> bool:
    return isinstance(part, str) and not os.path.islink(os.path.join(directory, part))
