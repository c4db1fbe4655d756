"""What a generated message class says about itself."""

import enum
from dataclasses import dataclass
from typing import ClassVar


class Scalar(enum.Enum):
    """A type of field that is not a message."""

    STRING = enum.auto()
    BOOL = enum.auto()
    INT32 = enum.auto()
    INT64 = enum.auto()
    UINT64 = enum.auto()
    STRING_MAP = enum.auto()


class Message:
    """The base of the generated classes."""

    __slots__ = ()
    FIELDS: ClassVar[tuple["Field", ...]] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: Its number on the wire.
        name: The attribute that holds it.
        type: A scalar, or the class of the message.
        repeated: Whether the attribute is a list.
        optional: Whether the attribute tells the default from absence, which is None.
    """

    number: int
    name: str
    type: Scalar | type[Message]
    repeated: bool = False
    optional: bool = False
