"""How to say in a configuration file which device is meant: the most stable way first."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kubelet_plugin.cli import offers
from kubelet_plugin.cli.offers import Offer
from kubelet_plugin.cli.subjects import Subject
from kubelet_plugin.config.checking import faults
from kubelet_plugin.config.completing import completed
from kubelet_plugin.config.presets import PRESETS
from kubelet_plugin.config.scalars import HexId
from kubelet_plugin.config.schema import Configuration, Device, Pci, Resource, Sysfs, SysfsParent, Usb
from kubelet_plugin.discovery import Roots, sysfs
from kubelet_plugin.discovery.sysfs import SysfsDevice

_DIGITS = re.compile(r"[0-9]+")
_LINKS = {
    "by-id": "udev made this link of what the device says of itself: it leads to it in whichever port it is",
    "by-path": "udev made this link of the port: it leads to whatever is plugged in there",
}
_UNSURE = "; but it says no serial number, so a second one of the same model would get the same link"
_NO_PARENTS: tuple[SysfsParent, ...] = ()
_LETTERS = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to say which device is meant.

    Attributes:
        by: What it goes by: `preset`, `by-id`, `by-path`, `usb`, `pci`, `sysfs` or `path`.
        why: How far it holds, in a sentence.
        resource: It, as a resource of a configuration file.
        id: The id that the device has.
        others: The ids of the other devices here that fit as well.
    """

    by: str
    why: str
    resource: Resource
    id: str
    others: tuple[str, ...] = ()

    @property
    def configuration(self) -> Configuration:
        """It, as a whole file."""
        return Configuration(version="v1", resources=(self.resource,))


async def ways(subject: Subject, roots: Roots, domain: str) -> list[Way]:
    """List the ways that find a device on this node, the most stable first.

    Args:
        subject: The device.
        roots: Where the host's files are seen.
        domain: The domain of resource names that have none.
    """
    if not subject.nodes:
        return []
    drafts = [(draft, completed(draft.resource, domain)) for draft in _drafts(subject, roots)]
    valid = [(draft, resource) for draft, resource in drafts if not any(faults(resource))]
    seen = await offers.look([resource for _, resource in valid], roots)
    tried = (_tried(draft, offer, subject) for (draft, _), offer in zip(valid, seen, strict=True))
    return [way for way in tried if way]


def _tried(draft: Way, offer: Offer, subject: Subject) -> Way | None:
    """Return a way with the ids that it gives; None where it does not find the device."""
    meant = [each.device.id for each in offer.devices if offers.is_of(each, subject.paths)]
    if not meant:
        return None
    return replace(draft, id=meant[0], others=tuple(e.device.id for e in offer.devices if e.device.id not in meant))


def _drafts(subject: Subject, roots: Roots) -> list[Way]:
    """List the ways in their order, without trying them."""
    links, path = [*_by_links(subject, roots)], [*_by_path(subject)]
    in_sysfs = [*_by_sysfs(subject)]
    if subject.is_virtual:
        return [*_by_preset(subject), *path, *in_sysfs]
    hardware = [*_by_usb(subject), *_by_pci(subject)]
    first = [each for each in links if each.by == "by-id"]
    return [*first, *hardware, *(each for each in links if each not in first), *in_sysfs, *path]


def _by_preset(subject: Subject) -> Iterator[Way]:
    for name, preset in PRESETS.items():
        if [entry.path for entry in preset.devices] == [subject.nodes[0].path]:
            yield Way(
                "preset", "this is what the preset is for; `kubelet-plugin run` takes its name too", _preset(name), ""
            )


def _preset(name: str) -> Resource:
    return Resource(preset=name)


def _by_links(subject: Subject, roots: Roots) -> Iterator[Way]:
    known = sysfs.properties(subject.device, roots) if subject.device else {}
    unsure = _UNSURE if "ID_SERIAL" in known and "ID_SERIAL_SHORT" not in known else ""
    for kind, why in _LINKS.items():
        link = next((each for each in subject.nodes[0].links if f"/{kind}/" in each), None)
        if link:
            yield _way(kind, why + (unsure if kind == "by-id" else ""), subject, Device(path=glob.escape(link)))


def _by_usb(subject: Subject) -> Iterator[Way]:
    usb = _nearest_hardware(subject)
    if usb is None or usb.subsystem != "usb":
        return
    vendor, product, serial = (usb.attribute(name) or "" for name in ("idVendor", "idProduct", "serial"))
    if serial:
        why = "vendor, product and serial number are the device's own: it is found in any port, and udev is not needed"
    else:
        why = "each device of this vendor and product fits; they say no serial number, and are told apart by the port"
    nodes, together = _nodes(subject, usb)
    entry = Device(
        usb=Usb(vendor=HexId(vendor), product=HexId(product), serial=glob.escape(serial) or None), nodes=nodes
    )
    yield _way("usb", why + together, subject, entry)


def _by_pci(subject: Subject) -> Iterator[Way]:
    pci = _nearest_hardware(subject)
    if pci is None or pci.subsystem != "pci":
        return
    vendor, device = ((pci.attribute(name) or "").removeprefix("0x") for name in ("vendor", "device"))
    nodes, together = _nodes(subject, pci)
    why = "each card of this vendor and model fits; they are told apart by their addresses, that is by the slot"
    yield _way("pci", why + together, subject, Device(pci=Pci(vendor=HexId(vendor), device=HexId(device)), nodes=nodes))


def _by_sysfs(subject: Subject) -> Iterator[Way]:
    device = subject.device
    if device is None or not device.node or not device.subsystem:
        return
    if subject.is_virtual:
        name, parents = glob.escape(device.name), _NO_PARENTS
        why = "the kernel's name of it, in its subsystem"
    else:
        name, parents = _DIGITS.sub("*", device.name), tuple(_parents(device))
        why = "it is found by what it belongs to; its id is the kernel's name, which may go to another after a restart"
    index = device.attribute("index") if device.subsystem == "video4linux" else None
    entry = Sysfs(subsystem=device.subsystem, name=name, parents=parents, attributes={"index": index} if index else {})
    yield _way("sysfs", why, subject, Device(sysfs=entry, nodes=None))


def _by_path(subject: Subject) -> Iterator[Way]:
    if subject.is_virtual:
        why = "the kernel makes this node itself, and always under this name"
    else:
        why = (
            "the kernel gives this name to what it finds first: after a restart or replugging it may be another device"
        )
    for node in subject.nodes:
        yield _way("path", why, subject, Device(path=glob.escape(node.path)))


def _way(by: str, why: str, subject: Subject, entry: Device) -> Way:
    found = _LETTERS.match(os.path.basename(subject.nodes[0].path))
    name = found[0].lower() if found else (subject.device.subsystem if subject.device else "")
    return Way(by, why, Resource(name=name or "device", devices=(entry,)), "")


def _chain(device: SysfsDevice | None) -> Iterator[SysfsDevice]:
    if device:
        yield device
        yield from device.ancestors()


def _nearest_hardware(subject: Subject) -> SysfsDevice | None:
    """The USB device or the PCI function that it is, or is part of."""
    for each in _chain(subject.device):
        if each.subsystem == "pci" or (each.subsystem == "usb" and each.attribute("idVendor")):
            return each
    return None


def _parents(device: SysfsDevice) -> Iterator[SysfsParent]:
    """Say what tells the devices that it belongs to from others."""
    for each in device.ancestors():
        if each.subsystem == "usb" and (interface := each.attribute("bInterfaceNumber")):
            yield SysfsParent(subsystem="usb", attributes={"bInterfaceNumber": interface})
            continue
        names = {"usb": ("idVendor", "idProduct", "serial"), "pci": ("vendor", "device")}.get(each.subsystem, ())
        if known := {name: glob.escape(value) for name in names if (value := each.attribute(name))}:
            yield SysfsParent(subsystem=each.subsystem, attributes=known)
            return
        if each.subsystem and each.driver and not names:
            yield SysfsParent(subsystem=each.subsystem, driver=glob.escape(each.driver))


def _nodes(subject: Subject, hardware: SysfsDevice) -> tuple[tuple[str, ...] | None, str]:
    """Say which nodes of a USB device or PCI function are meant, and which go along."""
    every = [each.node.removeprefix("/dev/") for each in hardware.below()]
    patterns = None
    if subject.device is None or subject.device.path != hardware.path:
        wanted = sorted(path.removeprefix("/dev/") for path in subject.paths)
        patterns = tuple(dict.fromkeys(_pattern(name, every) for name in wanted))
    together = [name for name in every if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns or ("*",))]
    return patterns, f"; {len(together)} nodes go together: {', '.join(together)}" if len(together) > 1 else ""


def _pattern(name: str, every: Sequence[str]) -> str:
    """Make a glob of a node's name that fits no node of another kind; numbers may be others tomorrow."""
    kind = _DIGITS.sub("#", name)
    *before, after = (glob.escape(piece) for piece in _DIGITS.split(name))
    for last in ("*", "[0-9]") if before else ():
        pattern = "*".join(before) + last + after
        fits = [each for each in every if fnmatch.fnmatchcase(each, pattern)]
        if name in fits and all(_DIGITS.sub("#", each) == kind for each in fits):
            return pattern
    return glob.escape(name)
