"""Path patterns, component by component, as both a listing and a watch of them need it.

The rules are those of `glob`: `*`, `?` and `[...]` within a component, and no wildcard at a name's start matches a dot.
"""

import fnmatch
import itertools
import os
import re
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from kubelet_plugin.errors import ConfigurationError

_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Glob:
    """What a name must match.

    Attributes:
        text: The glob.
        prefix: What each match begins with.
    """

    text: str
    prefix: str = field(compare=False)
    _regex: re.Pattern[str] = field(compare=False)

    @classmethod
    def of(cls, text: str) -> "Glob":
        """Read one."""
        no_dot = "" if text.startswith(".") else r"(?!\.)"
        return cls(text, _MAGIC.split(text, maxsplit=1)[0], re.compile(no_dot + fnmatch.translate(text)))

    def match(self, name: str) -> bool:
        """Tell whether a name fits."""
        return name.startswith(self.prefix) and self._regex.match(name) is not None


Part = str | Glob
"""One component of a pattern: a name, or what names must match."""


def is_glob(pattern: str) -> bool:
    """Tell whether a pattern, or a part of one, may match more than one name."""
    return _MAGIC.search(pattern) is not None


def parse(pattern: str, root: str = "/") -> tuple[Part, ...]:
    """Split a pattern into the parts to go through from `/` on.

    Args:
        pattern: A path or a glob; a relative one is meant from the working directory on.
        root: A directory to put in front, taken literally.

    Raises:
        ConfigurationError: The pattern is the root directory itself.
    """
    parts = tuple(map(_part, _components(os.path.abspath(pattern))))
    if not parts:
        raise ConfigurationError(f"{pattern!r} is no path that can be watched: name something below it")
    return (*literal(os.path.abspath(root)), *parts)


def literal(path: str) -> tuple[Part, ...]:
    """Split a path into parts that mean just what they say."""
    return tuple(_components(path))


def expand(directory: str, parts: tuple[Part, ...], where: Callable[[str], str] = str) -> list[str]:
    """List the paths below `directory` that fit the parts, dangling symbolic links included; in no order.

    Args:
        directory: Where to begin.
        parts: The parts.
        where: Says where a directory is to be looked into.
    """
    head, *rest = parts
    seen_at = where(directory)
    found = names(seen_at, head)
    if not rest:
        return [os.path.join(directory, name) for name in found if os.path.lexists(os.path.join(seen_at, name))]
    return [path for name in found for path in expand(os.path.join(directory, name), tuple(rest), where)]


def names(directory: str, part: Part) -> list[str]:
    """List the names in a directory that fit a part; one that is no glob is not looked up."""
    if isinstance(part, str):
        return [part]
    try:
        listing = _listing(directory)
    except OSError:
        return []
    near = itertools.islice(listing, bisect_left(listing, part.prefix), None)
    return [name for name in itertools.takewhile(lambda name: name.startswith(part.prefix), near) if part.match(name)]


_MANY = 1000  # names; a smaller directory is read faster than it is remembered
_SETTLED = 100_000_000  # nanoseconds; a directory's time of change is coarse, by 10 ms at the most

_listings: dict[tuple[str, int, int], tuple[int, list[str]]] = {}


def _listing(directory: str) -> list[str]:
    """List a directory, sorted; a large one that did not change is not read again: hundreds of globs may be about it.

    Raises:
        OSError: It cannot be read.
    """
    status = os.stat(directory)
    key = (directory, status.st_dev, status.st_ino)
    changed, listing = _listings.get(key, (-1, []))
    if changed == status.st_mtime_ns:
        return listing
    listing = sorted(os.listdir(directory))
    if len(listing) >= _MANY and status.st_mtime_ns + _SETTLED < time.time_ns():
        _listings.clear()
        _listings[key] = (status.st_mtime_ns, listing)
    return listing


def natural(text: str) -> tuple[list[str | int], str]:
    """Sort numbers in texts by their value; every second piece is one, so that like is compared with like."""
    pieces = re.split(r"([0-9]+)", text)
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)], text


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in {"", "."}]


def _part(text: str) -> Part:
    return Glob.of(text) if is_glob(text) else text
