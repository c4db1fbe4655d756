"""What a plain YAML scalar means to the container runtimes.

They read with Go's yaml.v2, which is neither YAML 1.1 nor 1.2: `y` and `on` are true, `0660` is octal, `1e3` is a
number, `12:34` and a date are text. Each of these is something else to some other reader.
"""

import base64
import binascii
import math
import re
from decimal import Decimal

from kubelet_plugin.cdi.errors import Error

Scalar = str | int | float | bool | None

_TAG_PREFIX = "tag:yaml.org,2002:"
_CONSTANTS: dict[str, Scalar] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
for _meaning, _words in ((True, ("y", "yes", "true", "on")), (False, ("n", "no", "false", "off"))):
    _CONSTANTS |= {form: _meaning for word in _words for form in (word, word.capitalize(), word.upper())}
for _sign, _number in (("", math.inf), ("+", math.inf), ("-", -math.inf)):
    _CONSTANTS |= dict.fromkeys((f"{_sign}.inf", f"{_sign}.Inf", f"{_sign}.INF"), _number)
_CONSTANTS |= dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)

_PLAIN_TO_ALL = {"", "~", "true", "True", "TRUE", "false", "False", "FALSE", "null", "Null", "NULL"}

_STARTS_A_NUMBER = frozenset("+-.0123456789")
_INTEGER = re.compile(r"([-+]?)(?:(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)|0([0-7]*)|([1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_AGREED_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:[eE][-+][0-9]+)?)?|0x[0-9a-fA-F]+|\.[0-9]+")
_SEXAGESIMAL_OR_DATE = re.compile(
    r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?"
)
# More than 64 bits have in binary, with sign and prefix.
_LONGEST_NUMBER = 70

_LEAST_EXPONENT = -4
_LARGE_EXPONENT = 6


def resolve(text: str, tag: str | None) -> Scalar:
    """The value of a plain scalar, or of any with a tag.

    Args:
        text: The scalar.
        tag: Its tag in full; None: it has none.

    Raises:
        Error: The tag is one that the scalar does not fit.
    """
    kind = tag.removeprefix(_TAG_PREFIX) if tag and tag.startswith(_TAG_PREFIX) else tag
    if kind == "str":
        return text
    if kind == "binary":
        return _binary(text)
    if kind not in (None, "bool", "int", "float", "null", "timestamp"):
        return text
    value = _resolve_plain(text)
    if kind is None or kind == _kind_of(value):
        return value
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "timestamp" and isinstance(value, str):
        return value
    raise Error(f"{text!r} is no !!{kind}")


def is_ambiguous(text: str) -> bool:
    """Whether readers of YAML 1.1, of YAML 1.2 and the runtimes' differ in what the plain scalar `text` is."""
    if text in _CONSTANTS:
        return text not in _PLAIN_TO_ALL and "." not in text
    if text[0] not in _STARTS_A_NUMBER or _AGREED_NUMBER.fullmatch(text):
        return False
    return not isinstance(_resolve_plain(text), str) or (
        len(text) <= _LONGEST_NUMBER and _SEXAGESIMAL_OR_DATE.fullmatch(text) is not None
    )


def as_text(value: Scalar) -> str:
    """The text that the runtimes' reader makes of a scalar where text is wanted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return "" if value is None else str(value)


def _resolve_plain(text: str) -> Scalar:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _STARTS_A_NUMBER:
        return text
    plain = text if text[0] == "." else text.replace("_", "")
    integer = _integer(plain)
    if integer is not None:
        return integer
    number = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    return text if math.isinf(number) else number


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    if not match or len(text) > _LONGEST_NUMBER:
        return None
    sign, prefixed, octal, decimal = match.groups()
    if prefixed:
        magnitude = int(prefixed, 0)
    elif decimal:
        magnitude = int(decimal)
    else:
        magnitude = int(octal or "0", 8)
    number = -magnitude if sign == "-" else magnitude
    # A sign makes it one of the signed 64 bits.
    return number if -(2**63) <= number < (2**63 if sign else 2**64) else None


def _kind_of(value: Scalar) -> str:
    if value is None:
        return "null"
    return type(value).__name__


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Error(f"{text!r} is no !!binary of UTF-8 text: {error}") from None


def _float_text(number: float) -> str:
    """The shortest text that is read as the same number, as Go's format `g` writes it."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    exact = Decimal(repr(number)).normalize()
    scale = exact.adjusted()
    if not exact or _LEAST_EXPONENT <= scale < _LARGE_EXPONENT:
        return f"{exact:f}"
    digits = "".join(map(str, exact.as_tuple().digits))
    mantissa = f"{digits[0]}.{digits[1:]}".rstrip(".")
    return f"{'-' if number < 0 else ''}{mantissa}e{scale:+03d}"
