"""Kubernetes quantities: `1`, `1500m`, `1k`, `2Mi`, `1e3`."""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

from kubelet_plugin.errors import ManifestError

Notation = Literal["decimal", "binary", "exponent"]

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"": 0, "Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_SUFFIXES: dict[Notation, list[str]] = {
    "decimal": list(_DECIMAL),
    "binary": list(_BINARY),
    "exponent": [f"e{power}" if power else "" for power in _DECIMAL.values()],
}
_FORM = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,10})")
_NANO = 10**9
_EXPONENT_BOUND = 64  # past it a value is rounded up to a billionth, or is far over what an integer holds
_DIGITS_BOUND = 1000


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and how it was written.

    Attributes:
        value: The number, rounded up to a billionth.
        notation: How Kubernetes writes it.
    """

    value: Fraction
    notation: Notation = "decimal"

    @classmethod
    def parse(cls, given: object) -> "Quantity":
        """Read what JSON or YAML holds: a string or a number; nothing is 0.

        Raises:
            ManifestError: It is no quantity.
        """
        if given is None:
            return cls(Fraction(0))
        text = str(given).strip()
        match = _FORM.fullmatch(text)
        if not text or not match:
            raise ManifestError(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
        sign, whole, part, suffix = match.groups(default="")
        if len(whole + part) > _DIGITS_BOUND:
            raise ManifestError("unable to parse numeric part of quantity")
        factor, notation = _factor(suffix)
        exact = Fraction(int(f"0{whole}{part}"), 10 ** len(part)) * factor
        value = Fraction(ceil(exact * _NANO), _NANO)
        return cls(-value if sign == "-" else value, notation)

    def __str__(self) -> str:
        """Return the canonical form: a whole number with the greatest suffix that leaves it whole."""
        if not self.value:
            return "0"
        notation, number, base = self.notation, int(self.value * _NANO), 1000
        if notation == "binary":
            if abs(self.value) >= 1024 and self.value.denominator == 1:  # noqa: PLR2004 -- the unit of the notation
                number, base = self.value.numerator, 1024
            else:
                notation = "decimal"
        smallest, *greater = _SUFFIXES[notation]
        suffix = smallest
        for suffix_above in greater:
            if number % base:
                break
            number, suffix = number // base, suffix_above
        return f"{number}{suffix}"


def _factor(suffix: str) -> tuple[Fraction, Notation]:
    if suffix in _DECIMAL:
        return Fraction(10) ** _DECIMAL[suffix], "decimal"
    if suffix in _BINARY:
        return Fraction(1024) ** _BINARY[suffix], "binary"
    if match := _EXPONENT.fullmatch(suffix):
        return Fraction(10) ** max(-_EXPONENT_BOUND, min(_EXPONENT_BOUND, int(match[1]))), "exponent"
    raise ManifestError("unable to parse quantity's suffix")
