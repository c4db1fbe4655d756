"""In which line of a JSON or YAML text a value is; asked only when there is something to say about it."""

from collections.abc import Iterable, Iterator
from typing import Any

from kubelet_plugin.cdi.errors import ParseError
from kubelet_plugin.cdi.yaml_text import events


def line_of(data: bytes, keys: Iterable[str | int]) -> int | None:
    """The line, from 1 on, of the value at `keys`, or of what should hold it; None: the text cannot be read.

    Args:
        data: JSON, which is YAML here, or YAML.
        keys: The keys and indices that lead to the value.
    """
    found = events(data)
    try:
        node = next(event for event in found if hasattr(event, "anchor"))
        line = _line(node)
        for key in keys:
            if _depth(node) <= 0:
                break
            child = _mapped(found, key) if isinstance(key, str) else _listed(found, key)
            if child is None:
                break
            line, node = child
    except (ParseError, StopIteration):
        return None
    return line


def _mapped(found: Iterator[Any], key: str) -> tuple[int, Any] | None:
    """The line of a key and the first event of its value."""
    while _depth(name := next(found)) >= 0:
        value = next(found)
        if getattr(name, "value", None) == key:
            return _line(name), value
        _skip(found, value)
    return None


def _listed(found: Iterator[Any], index: int) -> tuple[int, Any]:
    """The line and the first event of an item."""
    for _ in range(index):
        _skip(found, next(found))
    item = next(found)
    return _line(item), item


def _skip(found: Iterator[Any], first: Any) -> None:
    depth = _depth(first)
    while depth > 0:
        depth += _depth(next(found))


def _depth(event: Any) -> int:
    """How many levels deeper it is behind the event."""
    name = type(event).__name__
    return name.endswith("StartEvent") - name.endswith("EndEvent")


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1
    return line
