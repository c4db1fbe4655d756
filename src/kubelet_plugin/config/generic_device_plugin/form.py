"""What a file of generic-device-plugin may say. It takes keys in any case, and ignores those it does not know."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, inspect

from kubelet_plugin.config.documents import Document, Fault, Keys, Place
from kubelet_plugin.config.scalars import HexId, decode
from kubelet_plugin.config.wording import quoted
from kubelet_plugin.errors import ConfigurationFileError, Problem

DOMAIN: Final = "squat.ai"
"""The domain of resources where neither the file nor anybody else says one."""

_OPTIONS = {"listen": "--listen", "log-level": "--log-level", "plugin-directory": "--plugin-dir"}


class Path(Struct, frozen=True, rename="camel"):
    """A path or a glob, and what becomes of its matches."""

    path: Annotated[str, Meta(pattern=r"^\s*/", description="an absolute path")]
    type: Literal["Device", "Mount"] = "Device"
    mount_path: Annotated[str, Meta(pattern=r"^\s*(/|$)", description="an absolute path")] = ""
    permissions: Annotated[str, Meta(pattern="^[rwm]*$", description="one or more of `r`, `w` and `m`")] = ""
    read_only: bool = False
    limit: Annotated[int, Meta(ge=0)] = 1
    optional: bool = False


class Usb(Struct, frozen=True):
    """A USB device; its ids are hexadecimal, quoted or not."""

    vendor: HexId
    product: HexId
    serial: str = ""


class Group(Struct, frozen=True):
    """What makes devices together; a count of 0 is 1."""

    count: Annotated[int, Meta(ge=0, le=100_000)] = 1
    paths: tuple[Path, ...] = ()
    usb: tuple[Usb, ...] = ()


class Spec(Struct, frozen=True):
    """A resource."""

    name: str
    groups: tuple[Group, ...] = ()


class File(Struct, frozen=True):
    """The file; `device` is another name of `devices`."""

    domain: str = ""
    devices: tuple[Spec, ...] = ()
    device: tuple[Spec, ...] = ()


_Kind = TypeVar("_Kind", File, Spec)


def looks_like(data: object) -> bool:
    """Tell whether the data of a file is in this vocabulary, and not in ours.

    Args:
        data: Mappings, lists and texts.
    """
    if not isinstance(data, dict) or not {"version", "resources"}.isdisjoint(data):
        return False
    lists = [value for key, value in data.items() if key.lower() in {"devices", "device"} and isinstance(value, list)]
    return any(isinstance(spec, dict) and "groups" in map(str.lower, spec) for specs in lists for spec in specs)


def taken(document: Document, kind: type[_Kind]) -> tuple[_Kind, Document, list[Problem]]:
    """Take a document as one of a kind.

    Returns:
        What it says; the document under the names of its fields; and what in it says nothing.

    Raises:
        ConfigurationFileError: It has another form.
    """
    tidier = _Tidier(document)
    tidy = Document(document.name, tidier.tidied(document.data, inspect.type_info(kind), ()), tidier.places)
    try:
        return msgspec.convert(tidy.data, kind, strict=False, dec_hook=decode), tidy, tidier.notes
    except msgspec.ValidationError:
        from kubelet_plugin.config.misfits import misfits  # noqa: PLC0415 -- of use only where something is wrong

        raise ConfigurationFileError(map(tidy.problem, misfits(tidy.data, kind))) from None


@dataclass(frozen=True, slots=True)
class _Tidier:
    """Gives fields their proper names, and leaves out those that are unknown or say nothing."""

    document: Document
    places: dict[int, dict[str | int, Place]] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)

    def tidied(self, value: Any, kind: inspect.Type, keys: Keys) -> Any:
        written = self.document.places.get(id(value), {})
        if isinstance(value, dict) and isinstance(kind, inspect.StructType):
            known = {key: each for key, each in self._known(value, kind, keys) if value[key] is not None}
            tidy: Any = {
                each.encode_name: self.tidied(value[key], each.type, (*keys, key)) for key, each in known.items()
            }
            self.places[id(tidy)] = {each.encode_name: written[key] for key, each in known.items()}
        elif isinstance(value, list) and isinstance(kind, inspect.VarTupleType):
            tidy = [self.tidied(each, kind.item_type, (*keys, index)) for index, each in enumerate(value)]
            self.places[id(tidy)] = dict(written)
        else:
            return value
        return tidy

    def _known(
        self, value: dict[str, Any], kind: inspect.StructType, keys: Keys
    ) -> Iterator[tuple[str, inspect.Field]]:
        fields = {each.encode_name.lower(): each for each in kind.fields}
        for key in value:
            if each := fields.get(key.lower()):
                yield key, each
                continue
            reason = "unknown to generic-device-plugin, too"
            if not keys and (option := _OPTIONS.get(key.lower())):
                reason = f"this is for the command line; write `{option}`"
            self.notes.append(self.document.problem(Fault((*keys, key), f"{quoted(key)} is left out: {reason}")))
