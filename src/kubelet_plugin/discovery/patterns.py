"""Path patterns, component by component, as both a listing and a watch of them need it.

The rules are those of `glob`: `*`, `?` and `[...]` within a component, and no wildcard at a name's start matches a dot.
"""

import contextlib
import fnmatch
import os
import re

from kubelet_plugin.errors import ConfigurationError

Part = str | re.Pattern[str]
"""One component of a pattern: a name, or what names must match."""

_MAGIC = re.compile(r"[*?[]")


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


def matches(part: Part, name: str) -> bool:
    """Tell whether a directory entry's name fits a part."""
    return part == name if isinstance(part, str) else part.match(name) is not None


def expand(directory: str, parts: tuple[Part, ...]) -> list[str]:
    """List the paths below `directory` that fit the parts, dangling symbolic links included; in no order."""
    head, *rest = parts
    paths = [os.path.join(directory, name) for name in names(directory, head)]
    if not rest:
        return [path for path in paths if os.path.lexists(path)]
    return [found for path in paths for found in expand(path, tuple(rest))]


def names(directory: str, part: Part) -> list[str]:
    """List the names in a directory that fit a part; one that is no glob is not looked up."""
    if isinstance(part, str):
        return [part]
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(directory) if part.match(name)]
    return []


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in {"", "."}]


def _part(text: str) -> Part:
    if not is_glob(text):
        return text
    return re.compile(("" if text.startswith(".") else r"(?!\.)") + fnmatch.translate(text))
