"""YAML as the container runtimes read it, made of PyYAML's events: no double keys, and no alias bombs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kubelet_plugin.cdi.errors import Error, ParseError
from kubelet_plugin.cdi.yaml_scalars import as_text, is_ambiguous, resolve

# A spec is eight levels deep.
_DEPTH_LIMIT = 100

# Some seconds' work.
_NODES_LIMIT = 1_000_000

# When aliases repeat too much, as Go's YAML sees it.
_FREE_ALIASED = 100
_FREE_NODES = 1000
_FEW_NODES, _SHARE_OF_FEW = 400_000, 0.99
_MANY_NODES, _SHARE_OF_MANY = 4_000_000, 0.10

# Of a plain scalar. All others may be numbers, words with a meaning, or the key that merges.
_STARTS_TEXT = frozenset("/ABCDEGHIJKLMPQRSUVWXZabcdeghijklmpqrsuvwxz_")

_MERGE_TAG = "tag:yaml.org,2002:merge"
_MERGE = object()
"""The key `<<`."""

_REMEDY = "quote it if text is meant, else write true, false or a decimal number"

Warn = Callable[[str, int], object]


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end is not read yet; in a mapping, keys and values take turns."""

    mark: Any
    anchor: str | None
    is_mapping: bool
    nodes_before: int
    parts: list[Any] = field(default_factory=list)
    marks: list[Any] = field(default_factory=list)


def load(data: bytes, warn: Warn) -> Any:
    """The first document of `data`, made of what JSON knows; keys are text. Of no document at all: None.

    Args:
        data: UTF-8, or UTF-16 with a byte order mark.
        warn: Called with each thing that other readers of YAML understand in another way, and its line.

    Raises:
        ParseError: It is no YAML, or a duplicate key or an alias bomb is in it.
    """
    found = events(data)
    document = _Document(warn).read(found)
    try:
        has_more = type(next(found, None)).__name__ not in ("StreamEndEvent", "NoneType")
    except ParseError:
        has_more = True
    if has_more:
        warn("what follows the first YAML document is ignored", data.count(b"\n") + 1)
    return document


def events(data: bytes) -> Iterator[Any]:
    """What PyYAML's parser finds.

    Raises:
        ParseError: It is no YAML.
    """
    import yaml  # noqa: PLC0415  # heavy, and of no use to one who reads JSON

    try:
        # As `yaml.parse` does, with fewer steps for each event.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data)
        while (event := loader.get_event()) is not None:
            yield event
    except yaml.MarkedYAMLError as error:
        line = _line(error.problem_mark) if error.problem_mark else None
        raise ParseError(f"no YAML: {error.problem or error.context}", line=line) from None
    except yaml.reader.ReaderError as error:
        raise ParseError(f"no YAML: {error.reason}", line=data.count(b"\n", 0, error.position) + 1) from None
    except (ValueError, OverflowError):
        # Where PyYAML is without its C part.
        raise ParseError("no YAML: an escape is no character") from None


class _Document:
    """One document in the making."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._nodes = self._aliased = 0
        self._root: Any = None

    def read(self, found: Iterator[Any]) -> Any:
        steps: dict[str, Callable[[Any], None]] = {
            "SequenceStartEvent": self._begin,
            "MappingStartEvent": self._begin,
            "SequenceEndEvent": self._end,
            "MappingEndEvent": self._end,
            "AliasEvent": self._alias,
        }
        for event in found:
            if self._nodes > _NODES_LIMIT:
                raise ParseError(f"more than {_NODES_LIMIT} values", line=_line(event.start_mark))
            name = type(event).__name__
            if name == "ScalarEvent":
                text = event.value
                is_text = event.tag is None and (not event.implicit[0] or text[:1] in _STARTS_TEXT)
                self._nodes += 1
                self._put(text if is_text else self._value_of(event), event.anchor, 1, event.start_mark)
            elif name in steps:
                steps[name](event)
            elif name == "DocumentEndEvent":
                break
        return self._root

    def _value_of(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if text == "<<" and self._awaits_key() and (event.implicit[0] or tag == _MERGE_TAG):
            return _MERGE
        try:
            value = resolve(text, tag)
        except Error as error:
            raise ParseError(str(error), line=_line(event.start_mark)) from None
        if tag is None and is_ambiguous(text):
            meaning = f"text {value!r}" if isinstance(value, str) else as_text(value)
            self._warn(
                f"{text!r} is {meaning} to container runtimes, something else to others: {_REMEDY}",
                _line(event.start_mark),
            )
        return value

    def _begin(self, event: Any) -> None:
        if self._awaits_key():
            raise ParseError("a list or a mapping cannot be a key", line=_line(event.start_mark))
        if len(self._open) == _DEPTH_LIMIT:
            raise ParseError(f"nested more than {_DEPTH_LIMIT} levels deep", line=_line(event.start_mark))
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(
            _Open(event.start_mark, event.anchor, type(event).__name__ == "MappingStartEvent", self._nodes)
        )
        self._nodes += 1

    def _end(self, _event: Any) -> None:
        closed = self._open.pop()
        value = self._mapping(closed) if closed.is_mapping else closed.parts
        self._put(value, closed.anchor, self._nodes - closed.nodes_before, closed.mark)

    def _alias(self, event: Any) -> None:
        line = _line(event.start_mark)
        if event.anchor not in self._anchors:
            raise ParseError(f"there is no anchor {event.anchor!r}", line=line)
        target = self._anchors[event.anchor]
        if target is None:
            raise ParseError(f"anchor {event.anchor!r} contains itself", line=line)
        value, nodes = target
        if self._awaits_key() and isinstance(value, dict | list):
            raise ParseError("a list or a mapping cannot be a key", line=line)
        self._nodes += 1 + nodes
        self._aliased += nodes
        if _is_bomb(self._nodes, self._aliased):
            raise ParseError(f"aliases make {self._aliased} of {self._nodes} values: too many", line=line)
        self._put(value, None, 1 + nodes, event.start_mark)

    def _awaits_key(self) -> bool:
        return bool(self._open) and self._open[-1].is_mapping and len(self._open[-1].parts) % 2 == 0

    def _put(self, value: Any, anchor: str | None, nodes: int, mark: Any) -> None:
        if anchor:
            self._anchors[anchor] = (value, nodes)
        if self._open:
            parent = self._open[-1]
            parent.parts.append(value)
            parent.marks.append(mark)
        else:
            self._root = value

    def _mapping(self, closed: _Open) -> dict[str, Any]:
        keys, values = closed.parts[::2], closed.parts[1::2]
        mapping = dict(zip(keys, values, strict=True)) if {*map(type, keys)} == {str} else {}
        if len(mapping) == len(keys):
            return mapping
        return self._odd_mapping(zip(keys, values, map(_line, closed.marks[::2]), strict=True))

    def _odd_mapping(self, entries: Iterable[tuple[Any, Any, int]]) -> dict[str, Any]:
        """A mapping whose keys are not texts, each another, alone."""
        mapping: dict[str, Any] = {}
        seen: set[tuple[type, Any]] = set()
        for key, value, line in entries:
            for name, content in _merged(value, line) if key is _MERGE else ((key, value),):
                if name is None:
                    raise ParseError("a key is null", line=line)
                if (type(name), name) in seen:
                    raise ParseError(f"key {name!r} is there twice", line=line)
                seen.add((type(name), name))
                text = as_text(name)
                if text in mapping:
                    self._warn(f"key {text!r} is there twice, in two types: readers take the one or the other", line)
                mapping[text] = content
        return mapping


def _line(mark: Any) -> int:
    line: int = mark.line + 1
    return line


def _merged(value: Any, line: int) -> Iterator[tuple[str, Any]]:
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            raise ParseError("what << merges must be a mapping, or a list of mappings", line=line)
        yield from each.items()


def _is_bomb(nodes: int, aliased: int) -> bool:
    """The rule of Go's YAML: of few nodes nearly all may be repetitions, of many nearly none."""
    if aliased <= _FREE_ALIASED or nodes <= _FREE_NODES:
        return False
    progress = min(max(nodes - _FEW_NODES, 0) / (_MANY_NODES - _FEW_NODES), 1)
    return aliased / nodes > _SHARE_OF_FEW - (_SHARE_OF_FEW - _SHARE_OF_MANY) * progress
