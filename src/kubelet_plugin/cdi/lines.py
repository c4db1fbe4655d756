"""In which lines of a JSON or YAML text values are; asked only when there is something to say about them."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from kubelet_plugin.cdi.errors import ParseError
from kubelet_plugin.cdi.yaml_text import events

Keys = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

_ROOT: Keys = ()

# A second's work or two. Beyond it, the line of what holds the value will do.
_VALUES_LIMIT = 500_000


def place_text(keys: Keys) -> str:
    """A place as people write it, such as `devices[0].name`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def line_of(data: bytes, keys: Keys) -> int | None:
    """The line, from 1 on, of the value at `keys`, or of what should hold it; None: the text cannot be read."""
    return lines_of(data, [keys]).get(keys)


def lines_of(data: bytes, places: Iterable[Keys]) -> dict[Keys, int]:
    """The lines, from 1 on, of values, or of what should hold them; empty: the text cannot be read.

    Args:
        data: JSON, which is YAML here, or YAML.
        places: Where the values are. The line of one in a mapping is that of its key.
    """
    wanted = dict.fromkeys(places)
    missing = {keys[:length] for keys in wanted for length in range(len(keys) + 1)}
    found: dict[Keys, int] = {}
    try:
        for keys, line in islice(_walk(data), _VALUES_LIMIT):
            if keys in missing:
                missing.discard(keys)
                found[keys] = line
                if not missing:
                    break
    except ParseError:
        return {}
    return {keys: nearest for keys in wanted if (nearest := _nearest(found, keys)) is not None}


def _nearest(found: dict[Keys, int], keys: Keys) -> int | None:
    return next((found[keys[:length]] for length in range(len(keys), -1, -1) if keys[:length] in found), None)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end is not read yet."""

    keys: Keys
    is_mapping: bool
    key: Any = None
    line: int = 0
    awaits_key: bool = True
    index: int = -1


def _walk(data: bytes) -> Iterable[tuple[Keys, int]]:
    """Each value's place and line, in the order of the text; of the first document alone."""
    open_: list[_Open] = []
    for event in events(data):
        name = type(event).__name__
        if name in ("SequenceEndEvent", "MappingEndEvent"):
            open_.pop()
        elif name == "DocumentEndEvent":
            return
        elif hasattr(event, "anchor"):
            keys, line = _ROOT, event.start_mark.line + 1
            if open_:
                parent = open_[-1]
                if parent.is_mapping and parent.awaits_key:
                    parent.key, parent.line, parent.awaits_key = getattr(event, "value", None), line, False
                    continue
                if parent.is_mapping:
                    keys, line, parent.awaits_key = (*parent.keys, parent.key), parent.line, True
                else:
                    parent.index += 1
                    keys = (*parent.keys, parent.index)
            yield keys, line
            if name.endswith("StartEvent"):
                open_.append(_Open(keys, name == "MappingStartEvent"))
