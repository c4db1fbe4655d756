"""A node made of files: `/dev`, `/sys` and `/run/udev` below a directory, as the kernel and udev would fill them.

Device nodes are real ones where this process may make them; else they are symbolic links to nodes of this machine.
"""

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from kubelet_plugin.discovery import Roots

_CONTROLLER = "0000:00:14.0"
_BUSES = frozenset({"pci", "usb", "usb-serial"})
_MAJOR = 240  # for local use: no driver has it


class FakeNode:
    """A node below `place`; `roots` says where its parts are."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.dev, self.sys, self.udev = place / "dev", place / "sys", place / "run/udev"
        self.roots = Roots(host=str(place), sysfs=str(self.sys), udev=str(self.udev))
        for directory in (self.dev, self.sys / "devices", self.sys / "class", self.udev / "data"):
            directory.mkdir(parents=True)
        self._numbers = 0
        self._made: dict[str, list[Path]] = {}  # by device, what there is of it outside of its directory

    # Nodes.

    def char(self, name: str, major: int = 1, minor: int = 3, mode: int = 0o660, gid: int = 0) -> Path:
        """Make a character device, like /dev/null unless it is said otherwise."""
        return self._mknod(name, stat.S_IFCHR, major, minor, mode, gid)

    def block(self, name: str, major: int = 7, minor: int = 0, mode: int = 0o660) -> Path:
        """Make a block device."""
        return self._mknod(name, stat.S_IFBLK, major, minor, mode, 0)

    def _mknod(self, name: str, kind: int, major: int, minor: int, mode: int, gid: int) -> Path:
        path = self.dev / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        try:
            os.mknod(part, kind, os.makedev(major, minor))
        except PermissionError:
            path.symlink_to(os.path.relpath("/dev/null", path.parent))
            return path
        part.chmod(mode)
        os.chown(part, 0, gid)
        part.rename(path)
        return path

    def link(self, name: str, target: str) -> Path:
        """Make a symbolic link in /dev, or point it elsewhere."""
        path = self.dev / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        part.symlink_to(target)
        part.rename(path)
        return path

    def remove(self, *names: str) -> None:
        """Remove names from /dev."""
        for name in names:
            (self.dev / name).unlink()

    # Devices.

    def usb(
        self,
        port: str = "1-1.2",
        vendor: str = "0403",
        product: str = "6001",
        serial: str | None = None,
        nodes: Sequence[str] = ("ttyUSB0",),
    ) -> str:
        """Plug a USB device in; `nodes` are those its driver makes. Returns its directory below /sys."""
        bus, _, devpath = port.partition("-")
        root = f"devices/pci0000:00/{_CONTROLLER}"
        self.device(root, subsystem="pci", attributes={"numa_node": "0"})
        self.device(f"{root}/usb{bus}", subsystem="usb", attributes={"devpath": "0"})
        at = f"{root}/usb{bus}/{port}"
        number = self._next()
        attributes = {"idVendor": vendor, "idProduct": product, "devpath": devpath}
        attributes |= {} if serial is None else {"serial": serial}
        raw = f"bus/usb/00{bus}/{number:03}"
        self.device(at, subsystem="usb", attributes=attributes, node=raw, number=number)
        self.device(f"{at}/{port}:1.0", subsystem="usb", attributes={"bInterfaceNumber": "00"})
        for node in nodes:
            name = node.rpartition("/")[2]
            self.device(f"{at}/{port}:1.0/{name}", subsystem="tty", node=node, number=self._next())
        return at

    def pci(
        self,
        address: str,
        vendor: str,
        device: str,
        class_: str,
        numa: int = -1,
        nodes: Mapping[str, str] | None = None,
    ) -> str:
        """Plug a PCI function in; `nodes` are node and subsystem of what its driver makes."""
        at = f"devices/pci0000:00/{address}"
        attributes = {"vendor": f"0x{vendor}", "device": f"0x{device}", "class": f"0x{class_}", "numa_node": str(numa)}
        self.device(at, subsystem="pci", attributes=attributes)
        for node, subsystem in (nodes or {}).items():
            name = node.rpartition("/")[2]
            self.device(f"{at}/{subsystem}/{name}", subsystem=subsystem, node=node, number=self._next())
        return at

    def device(
        self,
        at: str,
        *,
        subsystem: str,
        attributes: Mapping[str, str] | None = None,
        driver: str = "",
        event: Mapping[str, str] | None = None,
        node: str = "",
        number: int = 0,
        properties: Mapping[str, str] | None = None,
        links: Sequence[str] = (),
    ) -> None:
        """Make a device at a directory below /sys, its node and udev's record of it; one that is there stays.

        `event` is what the kernel tells of it besides its node; `properties` and `links` are what udev knows.
        """
        directory = self.sys / at
        if directory.exists():
            return
        directory.mkdir(parents=True)
        made = self._made[at] = []
        bus = subsystem in _BUSES
        classes = self.sys / (f"bus/{subsystem}/devices" if bus else f"class/{subsystem}")
        if subsystem:
            made.append(_led_to(directory, classes / directory.name))
            (directory / "subsystem").symlink_to(os.path.relpath(classes.parent if bus else classes, directory))
        if driver:
            (directory / "driver").symlink_to(
                os.path.relpath(self.sys / f"bus/{subsystem}/drivers/{driver}", directory)
            )
        for name, text in (attributes or {}).items():
            (directory / name).write_text(f"{text}\n")
        told = dict(event or {})
        record = f"n{told['IFINDEX']}" if "IFINDEX" in told else f"+{subsystem}:{directory.name}"
        if node:
            kind, numbers = ("block" if subsystem == "block" else "char"), f"{_MAJOR}:{number}"
            made.append((self.block if kind == "block" else self.char)(node, _MAJOR, number))
            (directory / "dev").write_text(f"{numbers}\n")
            made.append(_led_to(directory, self.sys / f"dev/{kind}/{numbers}"))
            told |= {"MAJOR": str(_MAJOR), "MINOR": str(number), "DEVNAME": node}
            record = f"{kind[0]}{numbers}"
        (directory / "uevent").write_text("".join(f"{key}={value}\n" for key, value in told.items()))
        lines = [f"E:{key}={value}\n" for key, value in (properties or {}).items()] + [f"S:{link}\n" for link in links]
        if lines:
            made.append(self.udev / "data" / record)
            made[-1].write_text("".join(lines))

    def unplug(self, at: str) -> None:
        """Remove a device with all below it: first the nodes and links, as the kernel does."""
        for path in [path for path in self._made if path == at or path.startswith(f"{at}/")]:
            for each in self._made.pop(path):
                each.unlink(missing_ok=True)
        shutil.rmtree(self.sys / at)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def _led_to(directory: Path, link: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(directory, link.parent))
    return link
