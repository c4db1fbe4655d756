"""What a field takes and what was found in its place, in words."""

from collections.abc import Iterable
from typing import Any

from msgspec import inspect

from kubelet_plugin.config.scalars import SCALARS

_SHOWN = 60  # characters of a text


def listed(words: Iterable[str], last: str = "or") -> str:
    """Words as a sentence lists them: `a`, `b` or `c`."""
    *most, final = words
    return f"{', '.join(most)} {last} {final}" if most else final


def quoted(text: str) -> str:
    """A text as messages show it: on one line, and not too long."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"`{shown if shown.isprintable() else repr(shown)[1:-1]}`"


def found(value: Any) -> str:
    """What was found."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case []:
            return "an empty list"
        case list():
            return "a list"
        case "":
            return "an empty text"
    return quoted(str(value))


def alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types that a value may have, but for that of nothing."""
    types = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return tuple(each for each in types if not isinstance(each, inspect.NoneType))


def expected(kind: inspect.Type) -> str:
    """What a value of a type looks like."""
    words: list[str] = []
    for each in alternatives(kind):
        words += [f"`{value}`" for value in each.values] if isinstance(each, inspect.LiteralType) else [_expected(each)]
    return listed(words)


def _expected(kind: inspect.Type) -> str:
    words = "a text"
    match kind:
        case inspect.Metadata(extra_json_schema={"description": str(description)}):
            words = description
        case inspect.IntType(ge=least, le=most):
            words = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"
        case inspect.BoolType():
            words = "`true` or `false`"
        case inspect.CustomType(cls=cls):
            words = next(scalar.expected for scalar in SCALARS if scalar is cls)
        case inspect.DictType():
            words = "a mapping of names to texts"
        case inspect.VarTupleType(min_length=least):
            words = "a list of one or more" if least else "a list"
        case inspect.StructType():
            words = "a mapping"
        case inspect.StrType(min_length=int()):
            words = "a text that is not empty"
    return words
