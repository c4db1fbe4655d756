"""The protobuf wire format (proto3) of the generated message classes.

As much of it as the kubelet's APIs use: strings, booleans, `int32`, `int64`, `uint64`, messages, lists of them,
optional strings and maps of strings. Source: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from kubelet_plugin.api.decoding import decode
from kubelet_plugin.api.message import Field, Message, Scalar
from kubelet_plugin.errors import WireError

__all__ = ["Encoded", "WireError", "decode", "encode"]

_Writer: TypeAlias = Callable[[bytearray, Any], None]
_Writers: TypeAlias = tuple[tuple[str, bool, _Writer], ...]

_WIRE_TYPE_VARINT, _WIRE_TYPE_SPAN = 0, 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message that was encoded before, sent as it is."""

    data: bytes


def encode(message: Message) -> bytes:
    """Encode a message: fields in the order of their numbers, defaults left out, map entries in the dict's order.

    Raises:
        WireError: A field holds what its type does not allow; the error names the field.
    """
    out = bytearray()
    _write(out, message, _writers(type(message)))
    return bytes(out)


def _write(out: bytearray, message: Message, writers: _Writers) -> None:
    for name, optional, write in writers:
        try:
            value = getattr(message, name)
            if value or (optional and value is not None):
                write(out, value)
        except (AttributeError, TypeError, ValueError) as error:
            raise WireError(f"{type(message).__name__}.{name}: {error}") from error


_MADE: dict[type[Message], _Writers] = {}


def _writers(cls: type[Message]) -> _Writers:
    writers = _MADE.get(cls)
    if writers is None:
        fields = sorted(cls.FIELDS, key=lambda field: field.number)
        writers = _MADE[cls] = tuple((field.name, field.optional, _writer(field)) for field in fields)
    return writers


def _writer(field: Field) -> _Writer:
    if field.type is Scalar.STRING_MAP:
        return _map_writer(_tag(field.number, _WIRE_TYPE_SPAN))
    if isinstance(field.type, Scalar) and field.type is not Scalar.STRING:
        if field.repeated:
            return _packed_writer(_tag(field.number, _WIRE_TYPE_SPAN), _RANGES[field.type])
        return _int_writer(_tag(field.number, _WIRE_TYPE_VARINT), _RANGES[field.type])
    tag = _tag(field.number, _WIRE_TYPE_SPAN)
    one = _string_writer(tag) if field.type is Scalar.STRING else _message_writer(tag, field.type)
    return _repeated_writer(one) if field.repeated else one


def _tag(number: int, wire_type: int) -> bytes:
    out = bytearray()
    _put_varint(out, number << 3 | wire_type)
    return bytes(out)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:  # noqa: PLR2004
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _string_writer(tag: bytes) -> _Writer:
    def write(out: bytearray, value: str) -> None:
        data = value.encode()
        out += tag
        _put_varint(out, len(data))
        out += data

    return write


def _message_writer(tag: bytes, cls: type[Message]) -> _Writer:
    writers = _writers(cls)

    def write(out: bytearray, value: Message) -> None:
        data = bytearray()
        _write(data, value, writers)
        out += tag
        _put_varint(out, len(data))
        out += data

    return write


def _repeated_writer(one: _Writer) -> _Writer:
    def write(out: bytearray, values: list[Any]) -> None:
        for value in values:
            one(out, value)

    return write


_RANGES = {
    Scalar.BOOL: range(2),
    Scalar.INT32: range(-(1 << 31), 1 << 31),
    Scalar.INT64: range(-(1 << 63), 1 << 63),
    Scalar.UINT64: range(1 << 64),
}


def _put_int(out: bytearray, value: int, allowed: range) -> None:
    if not allowed.start <= value < allowed.stop:
        raise ValueError(f"{value!r} is not from {allowed.start} to {allowed.stop - 1}")
    _put_varint(out, value & 0xFFFF_FFFF_FFFF_FFFF)


def _int_writer(tag: bytes, allowed: range) -> _Writer:
    def write(out: bytearray, value: int) -> None:
        out += tag
        _put_int(out, value, allowed)

    return write


def _packed_writer(tag: bytes, allowed: range) -> _Writer:
    def write(out: bytearray, values: list[int]) -> None:
        data = bytearray()
        for value in values:
            _put_int(data, value, allowed)
        out += tag
        _put_varint(out, len(data))
        out += data

    return write


def _map_writer(tag: bytes) -> _Writer:
    put_key, put_value = _string_writer(_tag(1, _WIRE_TYPE_SPAN)), _string_writer(_tag(2, _WIRE_TYPE_SPAN))

    def write(out: bytearray, values: dict[str, str]) -> None:
        for key, value in values.items():
            entry = bytearray()
            put_key(entry, key)
            put_value(entry, value)
            out += tag
            _put_varint(out, len(entry))
            out += entry

    return write
