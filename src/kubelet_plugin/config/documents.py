"""From the text of a YAML file, or a JSON one, to plain data in which each scalar is the text it is written as."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kubelet_plugin.errors import ConfigurationFileError, Problem

Keys = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

Place = tuple[int, int]
"""A line and a column, from 1 on."""

_DEPTH_LIMIT = 32  # a configuration is seven levels deep
_LONGEST = 600  # characters of a message: a name in it may be of any length
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_DASH = re.compile(r"^ *-\w+:", re.MULTILINE)
_UNUSABLE = re.compile("[\0\ud800-\udfff]")  # an escape can make them, and no file name or variable can hold them


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        keys: Where it is, or where it is missing.
        message: What is wrong, and what to do.
    """

    keys: Keys
    message: str

    def below(self, *keys: str | int) -> "Fault":
        """The same, its place seen from what holds it."""
        return Fault((*keys, *self.keys), self.message)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content, and where each part of it is written.

    Attributes:
        name: The file, for messages.
        data: Mappings, lists, texts, and None where nothing is written.
        places: By the identity of a mapping or list in `data`: where its entries are.
    """

    name: str
    data: Any
    places: Mapping[int, Mapping[str | int, Place]]

    def place(self, keys: Keys) -> Place | None:
        """Where the value at `keys` is written, or what should hold it; a field is where its name is."""
        value, nearest = self.data, None
        for key in keys:
            place = self.places.get(id(value), {}).get(key)
            if place is None:
                break
            value, nearest = value[key], place
        return nearest

    def problem(self, fault: Fault) -> Problem:
        """A fault as a problem of this file."""
        line, column = self.place(fault.keys) or (None, None)
        return Problem(self.name, _short(fault.message), line, column, _short(field_text(fault.keys)))


def manifest_fault(data: Any) -> Fault | None:
    """Tell that a file's data is a Kubernetes manifest; None where it is not."""
    if not isinstance(data, dict) or not {"apiVersion", "kind"} <= data.keys():
        return None
    remedy = "give what is in its `data`, as a file" if data["kind"] == "ConfigMap" else "name a configuration file"
    return Fault(("kind",), f"this is a Kubernetes manifest; {remedy}")


def field_text(keys: Keys) -> str:
    """A field as people write it, such as `devices[0].usb`, on one line."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    return text if text.isprintable() else repr(text)[1:-1]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def parse(text: str, name: str) -> Document:
    """Read YAML, without what makes its meaning depend on more than the text: anchors, aliases and tags.

    Args:
        text: The text.
        name: The file, for messages.

    Raises:
        ConfigurationFileError: It is no YAML, holds a key twice, an alias, a tag or a second document, or is nested
            very deeply.
    """
    reader = _Reader(name)
    for event in _events(text, name):
        reader.take(event)
    return Document(name, reader.documents[0] if reader.documents else None, reader.places)


def _events(text: str, name: str) -> Iterator[Any]:
    import yaml  # noqa: PLC0415 -- heavy, and of use only while a file is read

    data = text.encode(errors="surrogatepass")
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data)
        while (event := loader.get_event()) is not None:
            yield event
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        _refuse(name, place, f"this is no YAML: {error.problem or error.context}; {_remedy(error, text)}")
    except yaml.reader.ReaderError as error:
        line = data.count(b"\n", 0, error.position) + 1
        _refuse(name, (line, None), f"this is no YAML: {error.reason}; write plain UTF-8 text")
    except (ValueError, OverflowError):  # where PyYAML is without its C part
        _refuse(name, (None, None), "this is no YAML: an escape is no character")


def _remedy(error: Any, text: str) -> str:
    mark = error.problem_mark
    if mark and text[mark.index : mark.index + 1] == "\t":
        return "write spaces, not tabs"
    if error.context == "while scanning an alias":
        return "quote what begins with `*`"
    if _DASH.search(text):
        return "write a space after the `-` that begins an entry"
    return "see to the indentation and the quotes"


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end is not read yet."""

    value: Any
    places: dict[str | int, Place] = field(default_factory=dict)
    key: str | None = None


class _Reader:
    """Builds data from YAML's events."""

    def __init__(self, name: str) -> None:
        self.documents: list[Any] = []
        self.places: dict[int, dict[str | int, Place]] = {}
        self._name = name
        self._open: list[_Open] = [_Open(self.documents)]
        self._steps = {
            "ScalarEvent": self._scalar,
            "MappingStartEvent": self._begin,
            "SequenceStartEvent": self._begin,
            "MappingEndEvent": self._end,
            "SequenceEndEvent": self._end,
            "AliasEvent": self._alias,
        }

    def take(self, event: Any) -> None:
        if step := self._steps.get(type(event).__name__):
            step(event)

    def _scalar(self, event: Any) -> None:
        self._refuse_marks(event)
        text = event.value
        if _UNUSABLE.search(text):
            self._refuse(event, "this text holds a character that no name or variable can; remove the escape")
        holder = self._open[-1]
        if isinstance(holder.value, dict) and holder.key is None:
            if text in holder.value:
                line, column = holder.places[text]
                remedy = "write a space after `-`" if text.startswith("-") else "remove one of them"
                self._refuse(event, f"`{text}` is there twice, first at {line}:{column}; {remedy}")
            holder.key = text
            holder.places[text] = _place(event.start_mark)
        else:
            self._put(None if event.implicit[0] and text in _NULLS else text, event)

    def _begin(self, event: Any) -> None:
        self._refuse_marks(event)
        if isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            self._refuse(event, "a list or a mapping is there as a key; quote it, if it is meant as text")
        if len(self._open) > _DEPTH_LIMIT:
            self._refuse(event, f"this is nested more than {_DEPTH_LIMIT} levels deep; no configuration is")
        value: Any = {} if type(event).__name__ == "MappingStartEvent" else []
        self._put(value, event)
        self._open.append(_Open(value))

    def _end(self, _event: Any) -> None:
        closed = self._open.pop()
        self.places[id(closed.value)] = closed.places

    def _alias(self, event: Any) -> None:
        remedy = "write it out, or say once for the resource what all devices share; quote a text that begins with `*`"
        self._refuse(event, f"aliases are not read; {remedy}")

    def _put(self, value: Any, event: Any) -> None:
        holder = self._open[-1]
        if isinstance(holder.value, dict):
            assert holder.key is not None
            holder.value[holder.key], holder.key = value, None
            return
        if len(self._open) == 1 and self.documents:
            self._refuse(event, "a second document begins here; put it into a file of its own")
        holder.places[len(holder.value)] = _place(event.start_mark)
        holder.value.append(value)

    def _refuse_marks(self, event: Any) -> None:
        if event.anchor is not None:
            self._refuse(event, "anchors are not read; write it out where it is wanted")
        if event.tag is not None:
            self._refuse(event, f"the tag `{event.tag}` is not read; remove it")

    def _refuse(self, event: Any, message: str) -> NoReturn:
        _refuse(self._name, _place(event.start_mark), message)


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _refuse(name: str, place: tuple[int | None, int | None], message: str) -> NoReturn:
    raise ConfigurationFileError([Problem(name, message, *place)]) from None
