"""Finding out whether a device node works, and if not, why and what to do about it.

A node that is there says little: its driver may be gone, the hardware unplugged, the opening forbidden. Each finding is
one line for an operator: which path, what is wrong with it, what to do.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_KVM_GET_API_VERSION = 0xAE00
_KVM_API_VERSION = 12  # Documentation/virt/kvm/api.rst 4.1: anything else is to be refused

_REMEDY = "load its driver, or plug the device in"
_KVM_REMEDY = "load the kvm_intel or kvm_amd module, and see that virtualization is on in the firmware"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found.

    Attributes:
        healthy: Whether the device may be handed out.
        reason: Why it may not, or what else there is to know; for people, one line.
    """

    healthy: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """How to find out whether a device works.

    Attributes:
        name: Names the probe in reasons.
        test: Called with the path of what is known to be a device node; may block, and runs in a thread of its own.
            None where it is enough that the node is there.
        remedy: What an operator is to do where the node is absent.
    """

    name: str
    test: Callable[[str], Finding] | None = None
    remedy: str = _REMEDY


def look(path: str, remedy: str = _REMEDY) -> tuple[os.stat_result | None, Finding]:
    """Look whether a path is a device node, without opening it.

    Returns:
        The status of what is there, symbolic links followed, or None; and whether that is a device node.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        return None, Finding(False, _unseen(path, error, remedy))
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return status, Finding(True)
    return status, Finding(False, f"{path} is {_kind(status.st_mode)}, no device node; remove it, then {remedy}")


def opened(
    path: str,
    flags: int,
    test: Callable[[int], Finding],
    *,
    remedy: str = _REMEDY,
    opener: Callable[[str, int], int] = os.open,
) -> Finding:
    """Open a device node, without waiting for a peer or making it the controlling terminal, and close it again.

    Args:
        path: The node.
        flags: `os.O_RDONLY` or the like.
        test: Called with the descriptor.
        remedy: What to do where there is no device.
        opener: What opens.

    Returns:
        What `test` returns; or what the failure to open means.
    """
    try:
        descriptor = opener(path, flags | _FLAGS)
    except OSError as error:
        return _unopened(path, error, remedy)
    try:
        return test(descriptor)
    finally:
        os.close(descriptor)


def kvm_version(path: str, version: int) -> Finding:
    """Judge what KVM_GET_API_VERSION answered."""
    if version == _KVM_API_VERSION:
        return Finding(True)
    return Finding(
        False, f"{path} speaks version {version} of the KVM API instead of {_KVM_API_VERSION}; update the kernel"
    )


def _open(path: str) -> Finding:
    return opened(path, os.O_RDONLY, lambda _: Finding(True))


def _kvm(path: str) -> Finding:
    def ask(descriptor: int) -> Finding:
        try:
            return kvm_version(path, fcntl.ioctl(descriptor, _KVM_GET_API_VERSION, 0))
        except OSError as error:
            what = f"{path} does not answer as KVM does ({error.strerror})"
            return Finding(False, f"{what}; remove the node, then {_KVM_REMEDY}")

    return opened(path, os.O_RDWR, ask, remedy=_KVM_REMEDY)


def _unopened(path: str, error: OSError, remedy: str) -> Finding:
    match error.errno:
        case errno.EPERM:
            what = f"present; not probed: the device cgroup keeps {path} closed to this container"
            return Finding(True, f"{what}; a functional probe needs a privileged plugin")
        case errno.EBUSY:  # a driver that lets one in at a time is at work: perhaps for the pod that holds the device
            return Finding(True)
        case errno.ENOENT:
            return Finding(False, _unseen(path, error, remedy))
        case errno.ENXIO | errno.ENODEV:
            return Finding(False, f"{path} is there, but no device answers behind it ({error.strerror}); {remedy}")
        case errno.EACCES:
            return Finding(False, _forbidden(path))
    return Finding(False, f"{path} cannot be opened: {error.strerror}")


def _forbidden(path: str) -> str:
    if os.statvfs(path).f_flag & os.ST_NODEV:
        return f"{path} may not be opened: its file system is mounted nodev; mount it without"
    status = os.stat(path)
    facts = f"mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}:{status.st_gid}"
    what = f"{path} ({facts}) may not be opened by uid {os.geteuid()}, gid {os.getegid()}"
    return f"{what}; run the plugin as one who may, or change the node's mode by a udev rule"


def _unseen(path: str, error: OSError, remedy: str) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR if os.path.islink(path):
            return f"{path} is a symbolic link to {os.readlink(path)}, which is absent; {remedy}"
        case errno.ENOENT | errno.ENOTDIR:
            return f"{path} is absent; {remedy}"
        case errno.EACCES:
            return f"{path} cannot be seen: a directory on the way is closed to uid {os.geteuid()}; open it for search"
    return f"{path} cannot be seen: {error.strerror}"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFREG: "a regular file",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


exists = Probe("exists")
"""The node is there; nothing is opened."""

open_node = Probe("open", _open)
"""The node opens for reading."""

kvm = Probe("kvm", _kvm, _KVM_REMEDY)
"""The node opens for reading and writing, and KVM_GET_API_VERSION is 12."""

PROBES = {probe.name: probe for probe in (exists, open_node, kvm)}
"""The probes by name."""
