"""From a group of generic-device-plugin to devices of ours.

There, the paths of a group are paired: the first match of each makes one device, the second of each the next; `limit`
repeats the matches of one path for those of another. Here each match of a lone path is a device, and a group is one.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kubelet_plugin.config import schema
from kubelet_plugin.config.documents import Fault, Keys
from kubelet_plugin.config.generic_device_plugin import form
from kubelet_plugin.config.scalars import HexId
from kubelet_plugin.config.wording import quoted
from kubelet_plugin.discovery.patterns import is_glob

# Directories that people give as if they were nodes, as container runtimes take them for all that is in them.
_DIRECTORIES = {
    "/dev/bus/usb": "*/*",
    "/dev/dri": "*",
    "/dev/infiniband": "*",
    "/dev/input": "*",
    "/dev/snd": "*",
}

# A USB device is its node on the bus, there; here it is all its nodes, if nothing is said.
_USB_NODES = ("bus/usb/*/*",)


@dataclass(frozen=True, slots=True)
class Draft:
    """A device in the making.

    Attributes:
        device: The device.
        keys: Where the group is written that it is made of.
        parts: Where the paths or the USB device are that it is made of.
    """

    device: schema.Device
    keys: Keys
    parts: tuple[Keys, ...]

    def source(self, keys: Keys) -> Keys:
        """Where that is written which the field at `keys` of the device is made of."""
        match keys:
            case ("container_path",):
                return (*self.parts[0], "mountPath")
            case ("group", int(index), *rest):
                return (*self.parts[index], "mountPath") if rest == ["container_path"] else self.parts[index]
            case ("path",):
                return (*self.parts[0], "path")
            case ("usb", *rest):
                return (*self.parts[0], *rest)
        return self.keys


class Notes(list[Fault]):
    """What cannot be carried over, and where it is."""

    def add(self, keys: Keys, message: str) -> None:
        """Add something."""
        self.append(Fault(keys, message))


def drafts(group: form.Group, keys: Keys, notes: Notes) -> Iterator[Draft]:
    """Yield the devices that a group makes.

    Args:
        group: The group; it has either paths or USB devices.
        keys: Where it is written.
        notes: Gets what cannot be carried over.
    """
    if group.usb:
        yield from _of_usb(group, keys, notes)
    elif group.paths:
        yield from _of_paths(group, keys, notes)
    else:
        notes.add(keys, "left out: nothing is in this group")


def _of_usb(group: form.Group, keys: Keys, notes: Notes) -> Iterator[Draft]:
    if len(group.usb) > 1:
        what = "all that match are one device there; here each is one"
        notes.add((*keys, "usb"), f"{what}; for one device of them all, write a `group`")
    for index, usb in enumerate(group.usb):
        vendor, product = (HexId(each.zfill(4)) for each in (usb.vendor, usb.product))
        serial = re.sub(r"([*?[])", r"[\1]", usb.serial) or None
        matched = schema.Usb(vendor=vendor, product=product, serial=serial)
        yield Draft(schema.Device(usb=matched, nodes=_USB_NODES, count=group.count), keys, ((*keys, "usb", index),))


def _of_paths(group: form.Group, keys: Keys, notes: Notes) -> Iterator[Draft]:
    placed = [*_without_twins(group.paths, keys, notes)]
    nodes = [each for each in placed if each[1].type == "Device"]
    if not nodes:
        remedy = "mount it as a `hostPath` volume, or put it into a group with a node"
        notes.add(keys, f"left out: it is mounts alone, and a device has a device node; {remedy}")
    elif _is_paired_alike([path for _, path in placed], keys, notes):
        mounts = [mount for place, path in placed if path.type == "Mount" for mount in _mounts(path, place, notes)]
        for place, path in nodes:
            if path.read_only:
                notes.add((*place, "readOnly"), "left out: it is about mounts, there too; write `permissions: r`")
        yield Draft(_device(group, [path for _, path in nodes], mounts), keys, tuple(place for place, _ in nodes))


def _without_twins(paths: Sequence[form.Path], keys: Keys, notes: Notes) -> Iterator[tuple[Keys, form.Path]]:
    """Yield the paths and where they are written, each node once."""
    taken: set[str] = set()
    for index, path in enumerate(paths):
        place, node = (*keys, "paths", index), os.path.normpath(path.path.strip())
        if path.type == "Device" and node in taken:
            notes.add(place, f"left out: {quoted(node)} is in this group already, and a device has a node at one path")
            continue
        if path.type == "Device":
            taken.add(node)
        yield place, path


def _is_paired_alike(paths: Sequence[form.Path], keys: Keys, notes: Notes) -> bool:
    """Tell whether a group's devices are here what they are there, or can do; what differs is noted."""
    globs = [path for path in paths if path.type == "Device" and is_glob(_pattern(path.path))]
    others = [path for path in paths if path not in globs]
    if not globs or (len(globs) == 1 and not others):
        return True
    most = min((path.limit or 1 for path in others), default=0)
    shown = quoted(globs[0].path)
    if len(globs) == 1 and all(path.type == "Mount" for path in others):
        what = f"by `limit`, {most} at most of what fits {shown} makes a device there, and all of it here"
        notes.add(keys, f"{what}; write a path that fits no more")
        return True
    if len(globs) == 1 and most == 1:
        what = f"the first of what fits {shown} is in the device there, and all of it here"
        notes.add(keys, f"{what}; write the path of the one that is meant")
        return True
    what = "left out: the first matches of all paths make a device there, the second ones the next"
    notes.add(keys, f"{what}, and here a group is one; write a `group` for each device, without wildcards")
    return False


def _mounts(path: form.Path, place: Keys, notes: Notes) -> Iterator[schema.Mount]:
    source, target = path.path.strip(), path.mount_path.strip()
    if is_glob(_pattern(source)):
        notes.add(place, f"left out: {quoted(source)} has wildcards, and a mount has none; write one for each")
        return
    if path.optional:
        what = "left out: a mount is always made, and a container does not start where its source is absent"
        notes.add((*place, "optional"), f"{what}; see that it is there, or remove the mount")
    if target.endswith("/"):
        target += os.path.basename(source.rstrip("/"))
    yield schema.Mount(host_path=source, container_path=target or None, read_only=path.read_only)


def _device(group: form.Group, paths: Sequence[form.Path], mounts: Sequence[schema.Mount]) -> schema.Device:
    members = tuple(map(_member, paths))
    if len(members) > 1 or _wildcards_below(paths[0].path):
        return schema.Device(group=members, count=group.count, mounts=tuple(mounts))
    (alone,) = members
    return schema.Device(
        path=alone.path,
        permissions=alone.permissions,
        container_path=alone.container_path,
        count=group.count,
        mounts=tuple(mounts),
    )


def _member(path: form.Path) -> schema.Member:
    given: dict[str, Any] = {}
    pattern, target = _pattern(path.path), path.mount_path.strip()
    if below := _wildcards_below(path.path):
        pattern = f"{pattern.rstrip('/')}/{below}"
        target = target and f"{target.rstrip('/')}/"
    if path.permissions:
        given["permissions"] = "".join(each for each in "rwm" if each in path.permissions)
    return schema.Member(path=pattern, container_path=target or None, optional=path.optional, **given)


def _wildcards_below(path: str) -> str:
    """What names all nodes in a directory that is given as a node; empty for other paths."""
    path = path.strip()
    return _DIRECTORIES.get(path.rstrip("/"), "*" if path.endswith("/") else "")


def _pattern(path: str) -> str:
    """A glob of Go as one of ours: `[^…]` is `[!…]`, and a backslash takes a character's meaning away."""
    plain = re.sub(r"\\(.)", lambda found: f"[{found[1]}]" if found[1] in "*?[" else found[1], path.strip())
    return plain.replace("[^", "[!")
