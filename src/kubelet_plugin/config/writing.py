"""A configuration as a file: YAML that people read, with nothing in it that goes without saying."""

import textwrap
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from kubelet_plugin.cdi.yaml_scalars import resolve
from kubelet_plugin.config.scalars import Duration, FileMode, HexId
from kubelet_plugin.config.schema import Configuration, Pci, Usb

_UNITS: Final = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))

# What names a thing goes before what is said of it, and long lists go last.
_FIRST: Final = ("version", "subsystem", "name", "preset", "id", "path", "usb", "pci", "sysfs", "nodes", "id_by")
_LAST: Final = ("group", "resources", "devices")

_WIDTH: Final = 120

_TEXT_TAG, _LIST_TAG, _MAP_TAG = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


def write(configuration: Configuration, comments: Iterable[str] = ()) -> str:
    """Write a file that is read as the same configuration.

    Args:
        configuration: The configuration.
        comments: What goes before it, a comment each.
    """
    return "".join(map(_comment, comments)) + _dumped(_written(configuration))


class _Plain(str):
    """Text that is written without quotes."""

    __slots__ = ()


class _Quoted(str):
    """Text that is written in quotes, though it need not be."""

    __slots__ = ()


class _Line(dict[str, Any]):
    """A mapping that is written on one line."""


class _Items(list[Any]):
    """A list that is written on one line."""


def _duration(seconds: Duration) -> str:
    """A duration in the units that people use; in seconds where these do not say it exactly."""
    rest, parts = round(seconds * 1000), []
    for unit, size in _UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    text = "".join(parts)
    return text if text and Duration.read(text) == seconds else f"{Decimal(repr(float(seconds))):f}".removesuffix(".0")


def _written(value: Any) -> Any:
    """What is written for a value, made of what YAML has."""
    match value:
        case msgspec.Struct():
            return _fields(value)
        case tuple():
            items = [_written(each) for each in value]
            return items if any(isinstance(each, msgspec.Struct) for each in value) else _Items(items)
        case Duration():
            return _Plain(_duration(value))
        case FileMode():
            return _Plain(f"{value:04o}")
        case HexId():
            return _Quoted(value)
    return value


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields of a mapping, without those that are as if they were not written."""
    given = {}
    for field in sorted(msgspec.structs.fields(struct), key=_rank):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if (value := getattr(struct, field.name)) != default:
            given[field.encode_name] = _written(value)
    return _Line(given) if isinstance(struct, Usb | Pci) else given


def _rank(field: msgspec.structs.FieldInfo) -> int:
    """Sorts fields; those that are in neither list stay as they are, in between."""
    if field.name in _FIRST:
        return _FIRST.index(field.name)
    return len(_FIRST) + (1 + _LAST.index(field.name) if field.name in _LAST else 0)


def _comment(text: str) -> str:
    """A comment of as many lines as it takes."""
    visible = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return textwrap.fill(visible, _WIDTH, initial_indent="# ", subsequent_indent="#   ") + "\n"


def _dumped(data: Any) -> str:
    import yaml  # noqa: PLC0415 -- heavy, and of use only while a file is written

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- an anchor would only be in the reader's way
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        is_plain = value.isprintable() and value == resolve(value, None)
        return dumper.represent_scalar(_TEXT_TAG, value, style=None if is_plain else '"')

    def plain(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        resolve_tag: Callable[..., str] = dumper.resolve
        return yaml.ScalarNode(resolve_tag(yaml.ScalarNode, value, (True, False)), value)

    Dumper.add_representer(str, text)
    Dumper.add_representer(_Quoted, lambda dumper, value: dumper.represent_scalar(_TEXT_TAG, value, style='"'))
    Dumper.add_representer(_Plain, plain)
    Dumper.add_representer(_Line, lambda dumper, value: dumper.represent_mapping(_MAP_TAG, value, flow_style=True))
    Dumper.add_representer(_Items, lambda dumper, value: dumper.represent_sequence(_LIST_TAG, value, flow_style=True))
    return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH))
