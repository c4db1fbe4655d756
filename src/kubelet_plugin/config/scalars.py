"""Scalars of the configuration file that are more than a text or a number, read as they are written."""

import math
import re
from typing import Any, ClassVar

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_MODE = re.compile(r"(?:0o?)?([0-7]{3})")
_HEX = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{2,6})")


class Duration(float):
    """A number of seconds, written as such or as Kubernetes does: `300`, `5m`, `1h30m`, `500ms`."""

    __slots__ = ()

    expected: ClassVar[str] = "a duration such as `30s`, `5m` or `1h30m`"

    @classmethod
    def read(cls, text: str) -> "Duration":
        """Read one.

        Raises:
            ValueError: The text is no duration.
        """
        if _SECONDS.fullmatch(text):
            seconds = float(text)
        elif _DURATION.fullmatch(text):
            seconds = sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))
        else:
            seconds = math.inf
        if math.isinf(seconds):
            raise ValueError(f"expected {cls.expected}, got `{text}`")
        return cls(seconds)


class FileMode(int):
    """Permission bits, written in octal as for chmod: `0660`, `660` or `0o660`."""

    __slots__ = ()

    expected: ClassVar[str] = "a file mode in octal such as `0660`"

    @classmethod
    def read(cls, text: str) -> "FileMode":
        """Read one.

        Raises:
            ValueError: The text is no mode.
        """
        if not (found := _MODE.fullmatch(text)):
            raise ValueError(f"expected {cls.expected}, got `{text}`")
        return cls(found[1], 8)


class HexId(str):
    """Hexadecimal digits, written with or without `0x`; kept in lower case without."""

    __slots__ = ()

    expected: ClassVar[str] = "hexadecimal digits such as `0403`"

    @classmethod
    def read(cls, text: str) -> "HexId":
        """Read one.

        Raises:
            ValueError: The text is no hexadecimal id.
        """
        if not (found := _HEX.fullmatch(text)):
            raise ValueError(f"expected {cls.expected}, got `{text}`")
        return cls(found[1].lower())


SCALARS = (Duration, FileMode, HexId)


def decode(kind: type, value: Any) -> Any:
    """Read a scalar of one of these kinds; msgspec's `dec_hook`.

    Raises:
        ValueError: The value is not one.
    """
    if not issubclass(kind, SCALARS):
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise ValueError(f"expected {kind.expected}, got {value!r}")  # noqa: TRY004 -- what msgspec makes a problem of
    return kind.read(value)
