"""The host's device nodes, as a container runtime gives them to a container for a plugin's device specs."""

import errno
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

_TYPES = {stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p"}

# What containerd leaves out below a directory.
_SKIPPED_DIRECTORIES = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
_SKIPPED_NODE = "console"

_MOST_LINKS = 255


class HostPath(NamedTuple):
    """A path of the host.

    Attributes:
        path: As a container runtime names it: as it was given, or what it leads to where it is a symbolic link itself.
        place: Where it is found here, with no symbolic link in what the host names.
    """

    path: str
    place: str


def oci_devices(host_path: str, container_path: str, host_root: str = "/") -> list[dict[str, Any]]:
    """The OCI devices of a device spec: a node's own, or those of all character and block devices below a directory.

    Args:
        host_path: The node or directory on the host; symbolic links to it are followed.
        container_path: Where it appears in the container; empty: as on the host.
        host_root: Where the host's `/` is.

    Raises:
        OSError: It is not there, or no device node; `filename` is the host's path, if it could not be looked at.
    """
    path, place = look_up(host_path, host_root)
    status = os.lstat(place)
    if stat.S_ISDIR(status.st_mode):
        return list(_devices_below(place, container_path or path))
    if stat.S_IFMT(status.st_mode) not in _TYPES:
        raise OSError(errno.ENODEV, "not a device node")
    return [_device(container_path or path, status)]


def rule(device: dict[str, Any], access: str) -> dict[str, Any]:
    """What the device cgroup allows of an OCI device: `access`, of `r`, `w` and `m`."""
    allowed = {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"]}
    return {**allowed, "access": access} if access else allowed


def look_up(path: str, host_root: str = "/") -> HostPath:
    """Follow the symbolic links of a path as the host itself would: absolute ones lead below its root.

    Raises:
        OSError: Nothing is there; `filename` is the host's path.
    """
    root = host_root.rstrip("/")
    try:
        real = _real(path, root)
    except ValueError:  # a NUL character
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename if _is_link(path, root) else path) from None
    return HostPath(real if _is_link(path, root) else path, root + real)


def _real(path: str, root: str) -> str:
    """The path without symbolic links; where it ends nowhere, `filename` is where."""
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    todo, done, links = path.split("/")[::-1], "", 0
    while todo:
        part = todo.pop()
        parent = done.rpartition("/")[0] if part == ".." else done
        done = parent if part in {"", ".", ".."} else f"{parent}/{part}"
        if done == parent or (target := _target(root, done)) is None:
            continue
        if (links := links + 1) > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        todo += target.split("/")[::-1]
        done = "" if target.startswith("/") else parent
    return done or "/"


def _is_link(path: str, root: str) -> bool:
    parent, _, name = path.rpartition("/")
    try:
        return bool(name) and _target(root, f"{_real(parent or '/', root)}/{name}") is not None
    except OSError:
        return False


def _target(root: str, path: str) -> str | None:
    """Where a symbolic link leads; None where it is none."""
    try:
        return os.readlink(root + path)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise OSError(error.errno, error.strerror, path) from None


def _devices_below(directory: str, inside: str) -> Iterator[dict[str, Any]]:
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
            path = os.path.join(inside, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED_DIRECTORIES:
                    yield from _devices_below(entry.path, path)
            elif entry.name != _SKIPPED_NODE:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it went away meanwhile
                if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                    yield _device(path, status)


def _device(path: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "type": _TYPES[stat.S_IFMT(status.st_mode)],
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
