"""Which device a path, or a name, means on this node."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kubelet_plugin.config.wording import listed, quoted
from kubelet_plugin.discovery import Roots, sysfs, udev
from kubelet_plugin.discovery.nodes import paths_of
from kubelet_plugin.discovery.sysfs import SysfsDevice

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFREG: "a regular file",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
# Where udev, and the kernel's own conventions, put stable names.
_LINKS = ("/dev/*/by-*/*", "/dev/*/*/by-*/*")


class SubjectError(Exception):
    """A path means no device here; the message says why."""


@dataclass(frozen=True, slots=True)
class HostNode:
    """A device node of the host.

    Attributes:
        path: Its path on the host, free of symbolic links.
        status: What the kernel says of it; None where it is not to be seen from here.
        links: The symbolic links that lead to it.
    """

    path: str
    status: os.stat_result | None
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """A device that is there, or that sysfs at least knows of.

    Attributes:
        nodes: Its nodes; where it was named by one, just that.
        device: What sysfs knows of it; None where that is nothing.
    """

    nodes: tuple[HostNode, ...]
    device: SysfsDevice | None

    @property
    def is_virtual(self) -> bool:
        """Whether the kernel makes it, without any hardware behind it."""
        return self.device is not None and self.device.path.startswith("devices/virtual/")

    @property
    def paths(self) -> frozenset[str]:
        """The paths of its nodes."""
        return frozenset(node.path for node in self.nodes)


def find(text: str, roots: Roots) -> Subject:
    """Find the device that a text means.

    Args:
        text: A path of the host, a path of sysfs, or a name as the kernel or `/dev` has it, such as `ttyUSB0`.
        roots: Where the host's files are seen.

    Raises:
        SubjectError: It means none.
    """
    for root in dict.fromkeys((roots.sysfs, "/sys")):
        if text == root or text.startswith(f"{root}/"):
            return _of_sysfs(text, text.removeprefix(root).strip("/"), roots)
    if text.startswith("/"):
        return _of_path(text, roots)
    if os.path.lexists(roots.real(f"/dev/{text}")):
        return _of_path(f"/dev/{text}", roots)
    for device in _named(text, roots):
        return _subject(device, roots)
    near = _near(f"/dev/{text}", roots)
    raise SubjectError(f"neither /dev nor sysfs has {quoted(text)}; {near or 'give a path, as /dev/ttyUSB0'}")


def _of_path(path: str, roots: Roots) -> Subject:
    real = roots.resolve(path)
    if not real:
        raise SubjectError(_unseen(path, roots))
    status = _status(real, roots)
    if isinstance(status, OSError):
        raise SubjectError(f"{path} cannot be seen: {status.strerror}")
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        what = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        remedy = "name a node in it" if stat.S_ISDIR(status.st_mode) else "give the path of one, as /dev/ttyUSB0"
        raise SubjectError(f"{path} is {what}, no device node; {remedy}")
    kind: Literal["block", "char"] = "block" if stat.S_ISBLK(status.st_mode) else "char"
    device = sysfs.of_numbers(roots, kind, os.major(status.st_rdev), os.minor(status.st_rdev))
    return Subject((HostNode(real, status, _links(real, device, roots)),), device)


def _of_sysfs(text: str, path: str, roots: Roots) -> Subject:
    real, root = os.path.realpath(os.path.join(roots.sysfs, path)), os.path.realpath(roots.sysfs)
    if not os.path.lexists(real):
        raise SubjectError(f"there is no {text}")
    while real.startswith(f"{root}/"):
        if os.path.isfile(os.path.join(real, "uevent")):
            return _subject(SysfsDevice(roots.sysfs, os.path.relpath(real, root)), roots)
        real = os.path.dirname(real)
    raise SubjectError(f"{text} is no device of sysfs; one is a directory with a file uevent in it")


def _subject(device: SysfsDevice, roots: Roots) -> Subject:
    found = [device] if device.node else device.below()
    nodes = []
    for each in found:
        status = _status(each.node, roots)
        nodes.append(
            HostNode(each.node, None if isinstance(status, OSError) else status, _links(each.node, each, roots))
        )
    return Subject(tuple(nodes), device)


def _named(name: str, roots: Roots) -> Iterator[SysfsDevice]:
    """Yield the devices that the kernel names so, those with a node first."""
    found: list[SysfsDevice] = []
    for kind in ("class", "bus"):
        for subsystem in _entries(os.path.join(roots.sysfs, kind)):
            directory = f"{kind}/{subsystem}" + ("/devices" if kind == "bus" else "")
            real = os.path.realpath(os.path.join(roots.sysfs, directory, name))
            if "/" not in name and os.path.isfile(os.path.join(real, "uevent")):
                found.append(SysfsDevice(roots.sysfs, os.path.relpath(real, os.path.realpath(roots.sysfs))))
    yield from sorted(found, key=lambda device: not device.node)


def _links(path: str, device: SysfsDevice | None, roots: Roots) -> tuple[str, ...]:
    """List the stable links to a node: those that are there, and those of udev's database that lead to it here."""
    known = udev.record(device.numbers, device.subsystem, device.name, roots.udev).links if device else ()
    links = {link: None for link in (*known, *paths_of(_LINKS, roots.host)) if link != path}
    return tuple(sorted(link for link in links if roots.resolve(link) == path))


def _status(path: str, roots: Roots) -> os.stat_result | OSError:
    try:
        return os.stat(roots.real(path))
    except OSError as error:
        return error


def _unseen(path: str, roots: Roots) -> str:
    """Say why a path leads nowhere."""
    real = roots.real(path)
    try:
        target = os.readlink(real)
    except PermissionError:
        return f"{path} cannot be seen: a directory on the way is closed to uid {os.geteuid()}; ask as one who may"
    except OSError:
        near = _near(path, roots)
        return f"there is no {path}" + (f"; {near}" if near else "")
    return f"{path} is a symbolic link to {target}, which is absent or closed to uid {os.geteuid()}"


def _near(path: str, roots: Roots) -> str:
    """Name what is in the same directory and like a path."""
    import difflib  # noqa: PLC0415 -- of use only to one who has mistyped

    directory, name = os.path.split(path)
    close = difflib.get_close_matches(name, _entries(roots.real(directory)), 3)
    return f"is {listed(os.path.join(directory, each) for each in close)} meant?" if close else ""


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []
