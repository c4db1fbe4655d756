"""What the kernel says of devices in sysfs. Whatever vanishes while it is read is simply not there.

Paths are relative to the root of sysfs, such as `devices/pci0000:00/0000:00:14.0/usb1/1-2`.
"""

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kubelet_plugin.discovery import udev
from kubelet_plugin.discovery.patterns import natural
from kubelet_plugin.discovery.roots import Roots

_LIMIT = 4096  # bytes: a page is as much as the kernel gives for one attribute


@dataclass(frozen=True, slots=True)
class SysfsDevice:
    """A device: a directory of sysfs.

    Attributes:
        root: Where sysfs is mounted.
        path: The directory below it.
    """

    root: str
    path: str

    @property
    def name(self) -> str:
        """The kernel's name of the device."""
        return os.path.basename(self.path)

    @property
    def subsystem(self) -> str:
        """Its subsystem, such as `usb` or `tty`; empty if it has none."""
        return self._link("subsystem")

    @property
    def driver(self) -> str:
        """The driver that is bound to it; empty if none is."""
        return self._link("driver")

    @property
    def uevent(self) -> dict[str, str]:
        """What the kernel tells of it in events, such as `DEVNAME`."""
        lines = (self.attribute("uevent") or "").split("\n")
        return dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def node(self) -> str:
        """Its device node on the host; empty if it has none."""
        name = self.uevent.get("DEVNAME", "")
        return f"/dev/{name}" if name else ""

    @property
    def numbers(self) -> tuple[Literal["char", "block"], int, int] | None:
        """The kind and the numbers of its device node; None if it has none."""
        major, _, minor = (self.attribute("dev") or "").partition(":")
        if not (major.isdigit() and minor.isdigit()):
            return None
        return ("block" if self.subsystem == "block" else "char", int(major), int(minor))

    @property
    def parent(self) -> "SysfsDevice | None":
        """The nearest device it belongs to."""
        path = os.path.dirname(self.path)
        while path:
            if os.path.exists(os.path.join(self.root, path, "uevent")):
                return SysfsDevice(self.root, path)
            path = os.path.dirname(path)
        return None

    def ancestors(self) -> Iterator["SysfsDevice"]:
        """Go through all devices it belongs to, the nearest first."""
        device = self.parent
        while device:
            yield device
            device = device.parent

    def attribute(self, name: str) -> str | None:
        """Return what one of its files says, stripped; None where it cannot be read, is too long or is no text."""
        try:
            with open(f"{self.root}/{self.path}/{name}", "rb", buffering=0) as file:
                content = file.read(_LIMIT + 1)
            return None if len(content) > _LIMIT or b"\0" in content else content.decode().strip()
        except (OSError, ValueError):
            return None

    def attributes(self) -> dict[str, str]:
        """Return all of its files that hold a line of text."""
        try:
            with os.scandir(os.path.join(self.root, self.path)) as entries:
                names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except OSError:
            return {}
        return {name: text for name in names if (text := self.attribute(name)) is not None and text.isprintable()}

    def numa_node(self) -> int | None:
        """Return the NUMA node it is close to; None where the kernel knows of none, which it writes as -1."""
        if self.path.startswith("devices/virtual/"):
            return None
        for device in (self, *self.ancestors()):
            if (text := device.attribute("numa_node")) and text.isdigit():
                return int(text)
        return None

    def below(self) -> tuple["SysfsDevice", ...]:
        """List the devices with nodes in its directory, itself included."""
        found = [
            SysfsDevice(self.root, os.path.relpath(directory, self.root))
            for directory, _, files in os.walk(os.path.join(self.root, self.path))
            if "dev" in files
        ]
        return tuple(sorted((device for device in found if device.node), key=lambda device: natural(device.path)))

    def _link(self, name: str) -> str:
        try:
            return os.path.basename(os.readlink(os.path.join(self.root, self.path, name)))
        except OSError:
            return ""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a device must be like; values may hold `*`, `?` and `[...]`.

    Attributes:
        subsystem: Its subsystem; None: any.
        driver: The driver bound to it; None: any.
        attributes: Its files.
        properties: Its properties, as `properties` lists them.
    """

    subsystem: str | None = None
    driver: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


def matches(device: SysfsDevice, criteria: Criteria, roots: Roots, *, parents: Sequence[Criteria] = ()) -> bool:
    """Tell whether a device is as asked for.

    Args:
        device: The device.
        criteria: What it must be like.
        roots: Where udev's database is.
        parents: For each of these, some ancestor must fit it.
    """
    if criteria.subsystem is not None and not fnmatch.fnmatchcase(device.subsystem, criteria.subsystem):
        return False
    if criteria.driver is not None and not fnmatch.fnmatchcase(device.driver, criteria.driver):
        return False
    if not all(_fits(device.attribute(name), wanted) for name, wanted in criteria.attributes.items()):
        return False
    known = properties(device, roots) if criteria.properties else {}
    if not all(_fits(known.get(name), wanted) for name, wanted in criteria.properties.items()):
        return False
    return all(any(matches(ancestor, parent, roots) for ancestor in device.ancestors()) for parent in parents)


def properties(device: SysfsDevice, roots: Roots) -> dict[str, str]:
    """Return what is known of a device: from the kernel's events, and from udev's database where there is one."""
    known = device.uevent
    record = udev.record(device.numbers, device.subsystem, device.name, roots.udev, ifindex=known.get("IFINDEX", ""))
    return {**known, **record.properties}


def usb_devices(roots: Roots) -> list[SysfsDevice]:
    """List the USB devices, without their interfaces."""
    return [device for device in _listed(roots, "bus/usb/devices") if ":" not in device.name]


def pci_devices(roots: Roots) -> list[SysfsDevice]:
    """List the PCI functions."""
    return _listed(roots, "bus/pci/devices")


def subsystem_devices(roots: Roots, subsystem: str) -> list[SysfsDevice]:
    """List the devices of a subsystem, be it a class, a bus or, as `nd` and `mei` are, both."""
    found = (*_listed(roots, f"class/{subsystem}"), *_listed(roots, f"bus/{subsystem}/devices"))
    return list(dict.fromkeys(found))


def of_numbers(roots: Roots, kind: Literal["char", "block"], major: int, minor: int) -> SysfsDevice | None:
    """Find the device that a device node stands for; None where sysfs knows of none."""
    return _led_to(roots, f"dev/{kind}/{major}:{minor}")


def _listed(roots: Roots, directory: str) -> list[SysfsDevice]:
    try:
        names = os.listdir(os.path.join(roots.sysfs, directory))
    except OSError:
        return []
    found = (_led_to(roots, f"{directory}/{name}") for name in sorted(names, key=natural))
    return [device for device in found if device]


def _led_to(roots: Roots, link: str) -> SysfsDevice | None:
    """Follow one of sysfs' links, which are all relative."""
    try:
        target = os.readlink(os.path.join(roots.sysfs, link))
    except OSError:
        return None
    return SysfsDevice(roots.sysfs, os.path.normpath(os.path.join(os.path.dirname(link), target)))


def _fits(text: str | None, wanted: str) -> bool:
    return text is not None and fnmatch.fnmatchcase(text, wanted)
