"""Which nodes an entry of the configuration means on this node, and as which devices."""

import fnmatch
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kubelet_plugin.config import schema
from kubelet_plugin.discovery import Roots, sysfs
from kubelet_plugin.discovery.nodes import paths_of
from kubelet_plugin.discovery.patterns import is_glob, natural
from kubelet_plugin.discovery.sysfs import Criteria, SysfsDevice
from kubelet_plugin.plugins import conditions
from kubelet_plugin.plugins.configured import ids

Matcher = schema.Device | schema.Member

_Key = tuple[int, str, str]  # the number of the entry, the place, the id


@dataclass(frozen=True, slots=True)
class Part:
    """A node that a device is made of.

    Attributes:
        path: Its path on the host.
        optional: Whether the device works without it.
        is_match: Whether a glob led to it: what is no device node is not meant then.
        permissions: What the device cgroup allows; empty: as for the device.
        container_path: Where it goes in the container; empty: as for the device.
    """

    path: str
    optional: bool = False
    is_match: bool = False
    permissions: str = ""
    container_path: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that may be offered.

    Attributes:
        id: Its id.
        entry: The entry of the configuration that means it, with what the resource says of all.
        parts: Its nodes.
        missing: Why it is not complete, whatever its nodes say; empty if it is.
        device: What was matched in sysfs; None for paths and groups.
        is_alone: Whether it is one path; several paths to one node are one device.
    """

    id: str
    entry: schema.Device
    parts: tuple[Part, ...]
    missing: str = ""
    device: SysfsDevice | None = None
    is_alone: bool = False


class Finder:
    """Finds the devices that entries of a resource mean on this node.

    Args:
        entries: The entries.
        name: The resource's name, without its domain: the id of a group that has none of its own.
        roots: Where the host's files are seen.
    """

    def __init__(self, entries: Sequence[schema.Device], name: str, roots: Roots) -> None:
        self._entries = entries
        self._name = name
        self._roots = roots
        self._given: dict[_Key, str] = {}

    def find(self) -> list[Candidate]:
        """List the devices, each id once.

        A path without a wildcard, a USB device of a known serial number and a group are always listed. Of two devices
        that would have one id, as adapters with the same serial number, the second gets a digest of its place added to
        it, or of its number among those of one parent; each keeps what it got, even when the other is unplugged: a pod
        may hold it.
        """
        candidates = self._meant()
        held = {known: key for key in candidates if (known := self._given.get(key))}
        found: dict[str, Candidate] = {}
        given = {key: device_id for key, device_id in self._given.items() if device_id != key[-1]}
        before = Counter[str]()
        for key, candidate in candidates.items():
            device_id = self._given.get(key, candidate.id)
            if device_id in found or held.get(device_id, key) != key:
                device_id = ids.distinct(candidate.id, _twin(candidate, before[candidate.id]))
            before[candidate.id] += 1
            given[key] = device_id
            found.setdefault(device_id, replace(candidate, id=device_id) if device_id != candidate.id else candidate)
        self._given = given
        return list(found.values())

    def _meant(self) -> dict[_Key, Candidate]:
        """List what the entries mean; the same nodes of the same thing once, whichever entry means them."""
        candidates: dict[_Key, Candidate] = {}
        seen: set[tuple[object, ...]] = set()
        for number, entry in enumerate(self._entries):
            if conditions.unmet(entry.enabled_when, self._roots):
                continue
            for candidate in _candidates(entry, self._name, self._roots):
                place = _place(candidate)
                same = (place, candidate.id, *(part.path for part in candidate.parts))
                if same not in seen:
                    seen.add(same)
                    candidates[number, place, candidate.id] = candidate
        return candidates


def patterns(entries: Iterable[schema.Device]) -> Iterator[str]:
    """List the paths and globs that entries depend on."""
    for entry in entries:
        yield from conditions.paths(entry.enabled_when)
        for matcher in _matchers(entry):
            if matcher.path:
                yield matcher.path


def depends_on_sysfs(entries: Iterable[schema.Device]) -> bool:
    """Tell whether anything is looked up in sysfs, of whose changes the kernel alone tells."""
    return any(
        conditions.modules(entry.enabled_when) or any(not matcher.path for matcher in _matchers(entry))
        for entry in entries
    )


def _matchers(entry: schema.Device) -> Sequence[Matcher]:
    return entry.group or (entry,)


def _candidates(entry: schema.Device, name: str, roots: Roots) -> Iterator[Candidate]:
    if entry.group:
        yield _whole(entry, entry.group, entry.id or ids.legal(name), roots)
    elif entry.path:
        fixed = not is_glob(entry.path)
        for path in paths_of([entry.path], roots.host):
            device_id = (entry.id if fixed else None) or ids.of_path(path)
            yield Candidate(device_id, entry, (Part(path, is_match=not fixed),), is_alone=True)
    else:
        matched = matching(entry, roots)
        if entry.id_by == "parent":  # in the order of what has them, whose names stay
            matched.sort(key=lambda device: natural(device.path))
        for device in matched:
            parts, missing = _nodes(entry, device)
            yield Candidate(_id(entry, device), entry, parts, missing, device)
        if not matched and (usb := entry.usb) and usb.serial and not is_glob(usb.serial) and entry.id_by != "port":
            device_id = ids.legal(f"{usb.vendor}-{usb.product}-{usb.serial}")
            yield Candidate(device_id, entry, (), f"{described(entry)} is not plugged in; plug it in")


def _whole(entry: schema.Device, members: Sequence[schema.Member], device_id: str, roots: Roots) -> Candidate:
    """Make one device of several members."""
    parts: dict[str, Part] = {}
    missing = ""
    for member in members:
        found, fault = _member(member, roots)
        for part in found:
            parts.setdefault(part.path, part)
        if not member.optional:
            missing = missing or fault
    return Candidate(device_id, entry, tuple(parts.values()), missing)


def _member(member: schema.Member, roots: Roots) -> tuple[list[Part], str]:
    """Find the nodes of a member, and say what is missing."""
    found: Sequence[Part]
    if member.path:
        found = [Part(path, is_match=is_glob(member.path)) for path in paths_of([member.path], roots.host)]
        fault = "" if found else f"nothing fits {member.path}; load its driver, or plug the device in"
    else:
        found, fault = _only(member, matching(member, roots))
    return [
        replace(
            part,
            optional=member.optional,
            permissions=member.permissions or "",
            container_path=member.container_path or "",
        )
        for part in found
    ], fault


def _only(member: schema.Member, matched: Sequence[SysfsDevice]) -> tuple[Sequence[Part], str]:
    """Find the nodes of the one device that a member means."""
    match matched:
        case [device]:
            return _nodes(member, device)
        case []:
            return (), f"{described(member)} is not there; plug it in, or load its driver"
    return (), f"{len(matched)} devices fit {described(member)}; say which one is meant, as by its serial number"


def matching(matcher: Matcher, roots: Roots) -> list[SysfsDevice]:
    """List the devices in sysfs that are meant, in a stable order."""
    if usb := matcher.usb:
        return [
            device
            for device in sysfs.usb_devices(roots)
            if device.attribute("idVendor") == usb.vendor
            and device.attribute("idProduct") == usb.product
            and (usb.serial is None or fnmatch.fnmatchcase(device.attribute("serial") or "", usb.serial))
        ]
    if pci := matcher.pci:
        return [
            device
            for device in sysfs.pci_devices(roots)
            if _hex(device, "vendor") == pci.vendor
            and (pci.device is None or _hex(device, "device") == pci.device)
            and (pci.class_ is None or _hex(device, "class").startswith(pci.class_))
        ]
    if (wanted := matcher.sysfs) is None:
        return []
    parents = tuple(Criteria(p.subsystem, p.driver, p.attributes, p.properties) for p in wanted.parents)
    own = Criteria(None, wanted.driver, wanted.attributes, wanted.properties)
    return [
        device
        for device in sysfs.subsystem_devices(roots, wanted.subsystem)
        if (wanted.name is None or fnmatch.fnmatchcase(device.name, wanted.name))
        and sysfs.matches(device, own, roots, parents=parents)
    ]


def described(matcher: Matcher) -> str:
    """Name in words what is matched in sysfs."""
    if usb := matcher.usb:
        return f"USB device {usb.vendor}:{usb.product}" + (f" with serial number {usb.serial}" if usb.serial else "")
    if pci := matcher.pci:
        return f"PCI device {pci.vendor}:{pci.device or '*'}" + (f" of class {pci.class_}" if pci.class_ else "")
    assert matcher.sysfs
    return f"device {matcher.sysfs.name or '*'} of subsystem {matcher.sysfs.subsystem}"


def _place(candidate: Candidate) -> str:
    if candidate.device is None:
        return candidate.parts[0].path if candidate.is_alone else ""
    return candidate.device.path


def _twin(candidate: Candidate, before: int) -> str:
    """What tells a device from others that would have its id, `before` of which are listed before it."""
    if candidate.entry.id_by == "parent":
        return str(before)
    return ids.port(candidate.device) if candidate.device and candidate.entry.usb else _place(candidate)


def _id(entry: schema.Device, device: SysfsDevice) -> str:
    if entry.id_by == "parent":
        return ids.of_parent(device)
    return ids.of_usb(device, entry.id_by) if entry.usb else ids.legal(device.name)


def _hex(device: SysfsDevice, attribute: str) -> str:
    return (device.attribute(attribute) or "").removeprefix("0x")


def _nodes(matcher: Matcher, device: SysfsDevice) -> tuple[tuple[Part, ...], str]:
    """List the nodes of a matched device that are meant, and say which kind is missing."""
    nodes = [each.node for each in device.below() if each.node]
    if matcher.nodes is None:
        fault = "" if nodes else f"{described(matcher)} at {device.name} has no node in /dev; load its driver"
        return tuple(map(Part, nodes)), fault
    chosen: dict[str, Part] = {}
    missing = []
    for pattern in matcher.nodes:
        fits = [node for node in nodes if fnmatch.fnmatchcase(os.path.relpath(node, "/dev"), pattern)]
        chosen.update({node: Part(node) for node in fits})
        if not fits:
            missing.append(pattern)
    names = " and ".join(missing)
    return tuple(chosen.values()), (
        f"no node of {described(matcher)} at {device.name} fits {names}; load its driver" if missing else ""
    )
