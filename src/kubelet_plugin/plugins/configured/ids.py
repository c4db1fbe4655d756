"""Ids of devices: the same device has the same id after every restart and replugging, whatever else is there."""

import re
import zlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kubelet_plugin.discovery.sysfs import SysfsDevice

_FOREIGN = re.compile(r"[^A-Za-z0-9_.:-]+|::+")  # `::` sets shares of a device apart
_STABLE = frozenset({"pci", "platform"})  # buses whose names are addresses
_BY = re.compile(r".*/by-[^/]+/")  # udev's directories of stable names: what follows tells one device from all others


def legal(text: str) -> str:
    """Make a text a legal CDI device name; one that has to change gets a digest of the whole, to stay distinct."""
    name = _FOREIGN.sub("_", text).strip("_.:-")
    return name if name == text else distinct(name, text)


def distinct(device_id: str, of: str) -> str:
    """Add a digest of `of` to an id."""
    return f"{device_id}-{zlib.crc32(of.encode(errors='surrogateescape')):08x}".lstrip("-")


def of_path(path: str) -> str:
    """Return the id of a node by its path: `ttyUSB0`, `snd-controlC0`, or its name in a `by-` directory of udev's."""
    below = path.removeprefix("/dev/").lstrip("/")
    return legal(_BY.sub("", "/" + below).lstrip("/").replace("/", "-"))


def of_usb(device: "SysfsDevice", by: Literal["serial", "port"] | None) -> str:
    """Return the id of a USB device: `VENDOR-PRODUCT-SERIAL`, or where it is plugged in if it has no serial number."""
    if by != "port" and (serial := device.attribute("serial")):
        return legal(f"{device.attribute('idVendor')}-{device.attribute('idProduct')}-{serial}")
    return port(device)


def port(device: "SysfsDevice") -> str:
    """Name the port of a USB device by its controller and the ports from there: bus numbers change with a boot."""
    controller = ""
    for ancestor in device.ancestors():
        if ancestor.subsystem != "usb":
            controller = f"-{ancestor.name}"
            break
    return legal(f"usb{controller}-{device.attribute('devpath') or device.name}")


def of_parent(device: "SysfsDevice") -> str:
    """Return the id of what a device is part of: the nearest thing on a bus whose names do not depend on the order."""
    for each in (device, *device.ancestors()):
        if each.subsystem in _STABLE:
            return legal(each.name)
        if each.subsystem == "usb" and each.attribute("idVendor"):
            return of_usb(each, None)
    return legal(device.name)
