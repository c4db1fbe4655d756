#!/usr/bin/env python3
"""The sample devices and CDI files of `make cdi`, on this machine itself. Needs root.

cdi.py write | remove

/dev/crand0 and /dev/crand1 are character devices numbered like /dev/random; the files in /etc/cdi, which
`kubelet-plugin cdi` makes and removes, describe them and /dev/kvm. What stands at a path already stays, and only what
is as written here is removed.
"""

import contextlib
import os
import stat
import subprocess
import sys

DIRECTORY = "/etc/cdi"
RANDOM = os.makedev(1, 8)
KVM = {"kvm0": "/dev/kvm"}
CRANDS = {"crand0": "/dev/crand0", "crand1": "/dev/crand1"}
KINDS = {"github.com.ihcsim/crand": CRANDS, "github.com.ihcsim/kvm": KVM}


def is_ours(path: str) -> bool:
    """Is the node at `path` a sample device?"""
    return os.path.exists(path) and stat.S_ISCHR(os.stat(path).st_mode) and os.stat(path).st_rdev == RANDOM


def make(path: str) -> None:
    """Make a sample device, readable and writable by all."""
    if not os.path.lexists(path):
        os.mknod(path, 0o666 | stat.S_IFCHR, RANDOM)
        os.chmod(path, 0o666)
        print(f"{path}: made", flush=True)
    elif not is_ours(path):
        sys.exit(f"cdi: {path} is there already and is no character device 1:8")


def cdi(*arguments: str, text: bytes = b"", output: int | None = None) -> bytes:
    """Run `kubelet-plugin cdi`; end where it does not succeed."""
    command = (sys.executable, "-m", "kubelet_plugin", "cdi", *arguments)
    done = subprocess.run(command, input=text, stdout=output, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or b""


def add() -> None:
    """Make the devices and write the files."""
    for path in CRANDS.values():
        make(path)
    for kind, devices in KINDS.items():
        if all(map(os.path.exists, devices.values())):
            options = [f"--device={name}={path}" for name, path in devices.items()]
            spec = cdi("generate", "--kind", kind, *options, output=subprocess.PIPE)
            cdi("install", "-", "--spec-dir", DIRECTORY, text=spec)
        else:
            print(f"{kind}: no file, since this machine has no {', '.join(devices.values())}", file=sys.stderr)


def remove() -> None:
    """Undo `add`."""
    cdi("remove", *KINDS, "--spec-dir", DIRECTORY)
    for path in filter(is_ours, CRANDS.values()):
        os.unlink(path)
        print(f"{path}: removed")
    with contextlib.suppress(OSError):  # it is not there, or something else is in it
        os.rmdir(DIRECTORY)
        print(f"{DIRECTORY}: removed")


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
