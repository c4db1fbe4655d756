"""Decoding of the protobuf wire format."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from kubelet_plugin.api.message import Field, Message, Scalar
from kubelet_plugin.errors import WireError

M = TypeVar("M", bound=Message)

# Takes what begins at the first number and returns where it ends, which is never beyond the second.
_Reader: TypeAlias = Callable[[Any, bytes, int, int], int]
_Readers: TypeAlias = dict[int, tuple[str, _Reader | None]]

_VARINT, _FIXED64, _SPAN, _FIXED32 = 0, 1, 2, 5
_TAG_BYTES, _VARINT_BYTES = 5, 10


def decode(cls: type[M], data: bytes) -> M:
    """Decode a message; fields that `cls` does not know are skipped.

    Raises:
        WireError: The bytes are no such message; the error says what is wrong, in which field, at which byte.
    """
    message = cls()
    try:
        _merge(message, data, 0, len(data))
    except _MalformedError as error:
        path = ".".join([cls.__name__, *reversed(error.path)])
        raise WireError(f"{path}: byte {error.position}: {error.reason}") from None
    return message


class _MalformedError(Exception):
    def __init__(self, position: int, reason: str) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason
        self.path: list[str] = []


def _merge(message: Message, data: bytes, position: int, end: int) -> None:
    readers = _readers(type(message))
    while position < end:
        tag = data[position]
        if tag < 0x80:  # noqa: PLR2004
            position += 1
        else:
            tag, position = _varint(data, position, end, _TAG_BYTES)
        name, read = readers.get(tag, _UNKNOWN)
        try:
            position = read(message, data, position, end) if read else _skip(tag, data, position, end)
        except _MalformedError as error:
            error.path.append(name or f"field {tag >> 3}")
            raise


_UNKNOWN: tuple[str, _Reader | None] = ("", None)
_MADE: dict[type[Message], _Readers] = {}


def _readers(cls: type[Message]) -> _Readers:
    readers = _MADE.get(cls)
    if readers is None:
        readers = _MADE[cls] = {
            field.number << 3 | kind: (field.name, read) for field in cls.FIELDS for kind, read in _field_readers(field)
        }
    return readers


def _field_readers(field: Field) -> list[tuple[int, _Reader]]:
    name, kind = field.name, field.type
    if kind is Scalar.STRING:
        return [(_SPAN, _strings_reader(name) if field.repeated else _string_reader(name))]
    if kind is Scalar.STRING_MAP:
        return [(_SPAN, _map_reader(name))]
    if not isinstance(kind, Scalar):
        return [(_SPAN, _messages_reader(name, kind) if field.repeated else _message_reader(name, kind))]
    if field.repeated:
        return [(_VARINT, _ints_reader(name, _FROM_VARINT[kind])), (_SPAN, _packed_reader(name, _FROM_VARINT[kind]))]
    return [(_VARINT, _int_reader(name, _FROM_VARINT[kind]))]


def _varint(data: bytes, position: int, end: int, size: int = _VARINT_BYTES) -> tuple[int, int]:
    value = shift = 0
    start = position
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            if size == _TAG_BYTES and value >> 32:
                raise _MalformedError(start, "a tag of more than 32 bits")
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if position - start == size:
            raise _MalformedError(start, f"a varint of more than {size} bytes")
    raise _MalformedError(start, "the message ends within a varint")


def _span(data: bytes, position: int, end: int) -> tuple[int, int]:
    if position < end and data[position] < 0x80:  # noqa: PLR2004
        size = data[position]
        start = position + 1
    else:
        size, start = _varint(data, position, end)
    stop = start + size
    if stop > end:
        raise _MalformedError(position, f"{size} bytes are announced and {end - start} are left")
    return start, stop


def _skip(tag: int, data: bytes, position: int, end: int) -> int:
    wire_type = tag & 7
    if tag >> 3 == 0:
        raise _MalformedError(position, "no field has the number 0")
    if wire_type == _VARINT:
        return _varint(data, position, end)[1]
    if wire_type == _SPAN:
        return _span(data, position, end)[1]
    if wire_type not in (_FIXED32, _FIXED64):
        raise _MalformedError(position, f"wire type {wire_type} is not supported")
    position += 4 if wire_type == _FIXED32 else 8
    if position > end:
        raise _MalformedError(end, "the message ends within a field of fixed size")
    return position


def _text(data: bytes, start: int, stop: int) -> str:
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError as error:
        raise _MalformedError(start + error.start, f"not UTF-8: {error.reason}") from None


def _string_reader(name: str) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        start, stop = _span(data, position, end)
        setattr(message, name, _text(data, start, stop))
        return stop

    return read


def _strings_reader(name: str) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        start, stop = _span(data, position, end)
        getattr(message, name).append(_text(data, start, stop))
        return stop

    return read


def _message_reader(name: str, cls: type[Message]) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        start, stop = _span(data, position, end)
        part = getattr(message, name)
        if part is None:  # a field given twice is merged
            part = cls()
            setattr(message, name, part)
        _merge(part, data, start, stop)
        return stop

    return read


def _messages_reader(name: str, cls: type[Message]) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        start, stop = _span(data, position, end)
        part = cls()
        _merge(part, data, start, stop)
        getattr(message, name).append(part)
        return stop

    return read


def _int32(raw: int) -> int:
    raw &= 0xFFFF_FFFF
    return raw - (1 << 32) if raw >> 31 else raw


def _int64(raw: int) -> int:
    return raw - (1 << 64) if raw >> 63 else raw


_FROM_VARINT: dict[Scalar, Callable[[int], int]] = {
    Scalar.BOOL: bool,
    Scalar.INT32: _int32,
    Scalar.INT64: _int64,
    Scalar.UINT64: int,
}


def _int_reader(name: str, convert: Callable[[int], int]) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        raw, position = _varint(data, position, end)
        setattr(message, name, convert(raw))
        return position

    return read


def _ints_reader(name: str, convert: Callable[[int], int]) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        raw, position = _varint(data, position, end)
        getattr(message, name).append(convert(raw))
        return position

    return read


def _packed_reader(name: str, convert: Callable[[int], int]) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        position, stop = _span(data, position, end)
        values = getattr(message, name)
        while position < stop:
            raw, position = _varint(data, position, stop)
            values.append(convert(raw))
        return stop

    return read


@dataclass(slots=True)
class _Entry(Message):
    FIELDS = (Field(1, "key", Scalar.STRING), Field(2, "value", Scalar.STRING))

    key: str = ""
    value: str = ""


def _map_reader(name: str) -> _Reader:
    def read(message: Message, data: bytes, position: int, end: int) -> int:
        start, stop = _span(data, position, end)
        entry = _Entry()
        _merge(entry, data, start, stop)
        getattr(message, name)[entry.key] = entry.value
        return stop

    return read
