"""The JSON of a manifest, read as the Go structs that a kubelet decodes it to, with the same complaints about types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from kubelet_plugin.errors import ManifestError

T = TypeVar("T")

_NOUNS: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of a document. A field that is absent or null has its type's zero value.

    All methods raise `ManifestError` where a value is of another type.

    Attributes:
        values: The fields.
        struct: The Go struct that the object is decoded to.
        path: The names that lead to the object, joined by dots, without the indices of lists.
    """

    values: Mapping[str, object]
    struct: str
    path: str = ""

    def text(self, name: str, go: str = "string") -> str:
        """Read a string; `go` is what Go calls its type."""
        return self._read(name, self.values.get(name), str, go) or ""

    def flag(self, name: str) -> bool | None:
        """Read a truth value; None where there is none."""
        return self._read(name, self.values.get(name), bool, "bool")

    def number(self, name: str) -> int | None:
        """Read an integer; None where there is none."""
        return self._read(name, self.values.get(name), int, "int64")

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a list of strings."""
        return tuple(self._read(name, item, str, "string") or "" for item in self._items(name, "[]string"))

    def numbers(self, name: str) -> tuple[int, ...]:
        """Read a list of integers."""
        return tuple(self._read(name, item, int, "int64") or 0 for item in self._items(name, "[]int64"))

    def each(self, name: str, struct: str) -> list["Fields"]:
        """Read a list of objects."""
        items = self._items(name, f"[]v1.{struct}")
        return [self._object(name, item, struct) for item in items]

    def nested(self, name: str, struct: str) -> "Fields":
        """Read an object."""
        return self._object(name, self.values.get(name), struct)

    def mapping(self, name: str, go: str) -> Mapping[str, object]:
        """Read a map of anything; `go` is what Go calls its type."""
        return self._read(name, self.values.get(name), dict, go) or {}

    def texts_by_key(self, name: str) -> dict[str, str]:
        """Read a map of strings."""
        pairs = self.mapping(name, "map[string]string")
        return {key: self._read(name, value, str, "string") or "" for key, value in pairs.items()}

    def _object(self, name: str, value: object, struct: str) -> "Fields":
        return Fields(self._read(name, value, dict, f"v1.{struct}") or {}, struct, self._path(name))

    def _items(self, name: str, go: str) -> list[object]:
        return self._read(name, self.values.get(name), list, go) or []

    def _read(self, name: str, value: object, wanted: type[T], go: str) -> T | None:
        if value is None:
            return None
        if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
            return value
        noun = noun_of(value)
        if wanted is int and isinstance(value, float):
            noun += f" {value}"
        raise ManifestError(
            f"json: cannot unmarshal {noun} into Go struct field {self.struct}.{self._path(name)} of type {go}"
        )

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def noun_of(value: object) -> str:
    """Say what JSON calls a value."""
    return _NOUNS.get(type(value), type(value).__name__)
