"""Checks of what an entry of the file matches on a node: a path, or something in sysfs."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubelet_plugin.config.documents import Fault
from kubelet_plugin.config.schema import Device, Member, Pci, Sysfs, SysfsParent, Usb
from kubelet_plugin.config.wording import listed, quoted

Matcher = Device | Member

_BY_PROPERTY = ("usb", "pci", "sysfs")
_ID_DIGITS = 4
_CLASS_DIGITS = (2, 4, 6)
_BRACKETS = re.compile(r"\[!?\]?[^\]/]*\]")
_BRACES = re.compile(r"\{[^{}]*,[^{}]*\}")


def matcher_faults(entry: Matcher) -> Iterator[Fault]:
    """Yield what is wrong with what an entry matches."""
    yield from _kind_faults(entry)
    if entry.path is not None:
        yield from (fault.below("path") for fault in _device_path_faults(entry.path))
    if entry.usb:
        yield from (fault.below("usb") for fault in _usb_faults(entry.usb))
    if entry.pci:
        yield from (fault.below("pci") for fault in _pci_faults(entry.pci))
    if entry.sysfs:
        yield from (fault.below("sysfs") for fault in _sysfs_faults(entry.sysfs))
    for index, pattern in enumerate(entry.nodes or ()):
        if pattern.startswith("/"):
            remedy = pattern.removeprefix("/dev/").lstrip("/")
            yield Fault(
                ("nodes", index), f"{quoted(pattern)} begins with a slash; write it from /dev on: {quoted(remedy)}"
            )
        yield from (Fault(("nodes", index), text) for text in path_faults(pattern))


def kinds_fault(kind: type[Matcher], entry: Mapping[str, Any]) -> Fault | None:
    """Tell whether an entry says in several ways what it matches.

    Args:
        kind: What it is an entry of.
        entry: Its fields, of the right form or not.
    """
    given = [each for each in _kinds(kind) if entry.get(each) is not None]
    if len(given) <= 1:
        return None
    both = listed((f"`{each}`" for each in given), "and")
    return Fault((given[1],), f"{both} are given; write one of them, or an entry for each")


def has_several_nodes(entry: Matcher) -> bool:
    """Tell whether an entry means several nodes of what it matches, as far as that is known beforehand."""
    if entry.nodes is not None:
        return len(entry.nodes) > 1
    return entry.usb is not None or entry.pci is not None


def path_faults(path: str) -> Iterator[str]:
    """Yield why a text is no path or glob."""
    shown = quoted(path)
    if not path.isprintable():
        yield f"{shown} holds a character that cannot be seen; remove it"
    if not path:
        yield "this is empty; write a path"
    if ".." in path.split("/"):
        yield f"{shown} holds `..`; write where that leads to"
    yield from _glob_faults(path)
    if "**" in path:
        yield f"{shown} holds `**`, which goes through no directories here; write `*` for each of them"
    if _BRACES.search(path):
        yield f"{shown} holds braces, which are no wildcard; write an entry for each"


def is_root(path: str) -> bool:
    """Tell whether a path is the root directory, however it is written."""
    return not os.path.normpath(path).strip("/")


def _glob_faults(pattern: str) -> Iterator[str]:
    if "[" in _BRACKETS.sub("", pattern):
        yield f"{quoted(pattern)} holds a `[` that is not closed; close it, or write `[[]` for the character itself"


def _kind_faults(entry: Matcher) -> Iterator[Fault]:
    kinds = _kinds(type(entry))
    fields = {kind: getattr(entry, kind) for kind in kinds}
    given = {kind for kind in kinds if fields[kind] is not None}
    if not given:
        yield Fault((), f"nothing says which device is meant; write {listed(f'`{kind}`' for kind in kinds)}")
    if fault := kinds_fault(type(entry), fields):
        yield fault
    if entry.nodes is not None and given.isdisjoint(_BY_PROPERTY):
        yield Fault(("nodes",), "this goes with `usb`, `pci` and `sysfs` alone; remove it")


def _kinds(kind: type[Matcher]) -> tuple[str, ...]:
    return ("path", *_BY_PROPERTY, *(("group",) if kind is Device else ()))


def _device_path_faults(path: str) -> Iterator[Fault]:
    if is_root(path):
        yield Fault((), f"{quoted(path)} is the root directory; write a device's path, as `/dev/ttyS0`")
    elif path.endswith("/"):
        yield Fault(
            (), f"{quoted(path)} is a directory, and no device; for all that is in it, write {quoted(path + '*')}"
        )
    yield from (Fault((), text) for text in path_faults(path))


def _usb_faults(usb: Usb) -> Iterator[Fault]:
    yield from _id_faults({"vendor": usb.vendor, "product": usb.product})
    if usb.serial is not None:
        yield from _pattern_faults({"serial": usb.serial})


def _pci_faults(pci: Pci) -> Iterator[Fault]:
    yield from _id_faults({"vendor": pci.vendor, "device": pci.device})
    if pci.class_ is not None and len(pci.class_) not in _CLASS_DIGITS:
        yield Fault(("class",), f"found `{pci.class_}`; write two, four or six hexadecimal digits, as `0300`")


def _id_faults(ids: dict[str, str | None]) -> Iterator[Fault]:
    for name, value in ids.items():
        if value is not None and len(value) != _ID_DIGITS:
            remedy = f"; write four hexadecimal digits, as `{value.zfill(_ID_DIGITS)[-_ID_DIGITS:]}`"
            yield Fault((name,), f"found `{value}`{remedy}")


def _sysfs_faults(sysfs: Sysfs) -> Iterator[Fault]:
    if sysfs.name is not None:
        yield from _pattern_faults({"name": sysfs.name})
    yield from _ancestor_faults(sysfs)
    for index, parent in enumerate(sysfs.parents):
        if parent == SysfsParent():
            yield Fault(("parents", index), "this fits every device; say what the parent is like")
        yield from (fault.below("parents", index) for fault in _ancestor_faults(parent))


def _ancestor_faults(ancestor: SysfsParent) -> Iterator[Fault]:
    for field, name in (("subsystem", ancestor.subsystem), ("driver", ancestor.driver)):
        if name is not None and (not name or "/" in name or not name.isprintable()):
            yield Fault((field,), f"{quoted(name)} is no name; write one as `tty`")
    for name in ancestor.attributes:
        if name.startswith("/") or not {*name.split("/")}.isdisjoint({"", ".."}):
            remedy = "write the name of a file in the device's directory, as `idVendor`"
            yield Fault(("attributes", name), f"{quoted(name)} is no attribute; {remedy}")
    for field, patterns in (("attributes", ancestor.attributes), ("properties", ancestor.properties)):
        yield from (fault.below(field) for fault in _pattern_faults(patterns))


def _pattern_faults(patterns: dict[str, str]) -> Iterable[Fault]:
    return [Fault((name,), text) for name, pattern in patterns.items() for text in _glob_faults(pattern)]
