#!/usr/bin/env python3
"""The sample devices and CDI files of `make cdi`, on this machine itself. Needs root.

cdi.py write | remove

/dev/crand0 and /dev/crand1 are character devices numbered like /dev/random; the files in /etc/cdi describe them and
/dev/kvm. What stands at a path already stays, and only what is as written here is removed.
"""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from kubelet_plugin.cdi import ContainerEdits, Device, DeviceNode, Spec, spec_path, write

DIRECTORY = "/etc/cdi"
RANDOM = os.makedev(1, 8)
CRANDS = ("/dev/crand0", "/dev/crand1")
KVM, CRAND = "github.com.ihcsim/kvm", "github.com.ihcsim/crand"


def is_ours(path: str) -> bool:
    """Is the node at `path` a sample device?"""
    return os.path.exists(path) and stat.S_ISCHR(os.stat(path).st_mode) and os.stat(path).st_rdev == RANDOM


def make(path: str) -> None:
    """Make a sample device, readable and writable by all."""
    if not os.path.lexists(path):
        os.mknod(path, 0o666 | stat.S_IFCHR, RANDOM)
        os.chmod(path, 0o666)
        print(f"{path}: made")
    elif not is_ours(path):
        sys.exit(f"cdi: {path} is there already and is no character device 1:8")


def spec(kind: str, devices: Sequence[tuple[str, str]]) -> Spec:
    """A spec of `kind` for these (name, path), with the file modes that the nodes have."""
    return Spec(kind=kind, devices=tuple(device(name, path) for name, path in devices))


def device(name: str, path: str) -> Device:
    """A device that is one node."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    node = DeviceNode(path=path, file_mode=mode, permissions="rw")
    return Device(name=name, container_edits=ContainerEdits(device_nodes=(node,)))


def add() -> None:
    """Make the devices and write the files."""
    for path in CRANDS:
        make(path)
    os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
    print(write(spec(CRAND, [(os.path.basename(path), path) for path in CRANDS]), DIRECTORY) + ": written")
    if os.path.exists("/dev/kvm"):
        print(write(spec(KVM, [("kvm0", "/dev/kvm")]), DIRECTORY) + ": written")
    else:
        print(f"{spec_path(KVM, DIRECTORY)}: not written, this machine has no /dev/kvm", file=sys.stderr)


def remove() -> None:
    """Undo `add`."""
    for path in (spec_path(KVM, DIRECTORY), spec_path(CRAND, DIRECTORY), *filter(is_ours, CRANDS)):
        if os.path.lexists(path):
            os.unlink(path)
            print(f"{path}: removed")
    directory = Path(DIRECTORY)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
        print(f"{directory}: removed")


def main(verb: str) -> None:
    """One verb."""
    if os.geteuid() != 0:
        sys.exit("cdi: this makes nodes in /dev and files in /etc/cdi: run it with sudo, or as root")
    if verb == "write":
        add()
    else:
        remove()


if __name__ == "__main__":
    main(*sys.argv[1:])
