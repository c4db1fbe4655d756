"""Runs a program that sees some directories under other paths: `mounting.py FD STAGE [SOURCE TARGET]... -- COMMAND...`.

Most plugins have the kubelet's directories compiled in. This gives them their own view of the file system, in a private
mount namespace; nothing of it shows outside, and no directory of the machine is changed. It takes root or a user
namespace.

It is run as a file by an interpreter of its own, and becomes the program: its process id is the program's. What goes
wrong before is written to FD. STAGE is an empty directory that it may mount on.
"""

import contextlib
import ctypes
import errno
import os
import stat
import sys

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None)
    _check(_libc.mount(*arguments), f"cannot mount {source} at {target}")


def _bind(source: str, target: str) -> None:
    _mount(source, target, "", _MS_BIND | _MS_REC)  # without the mounts below it, a user namespace must not


def _unshare() -> None:
    """Enter a mount namespace; where that is forbidden, as root of a user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWNS):
        if ctypes.get_errno() != errno.EPERM:
            _check(-1, "cannot make a mount namespace")
        _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "cannot make a user namespace")
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)


def _show(source: str, target: str, stage: str) -> None:
    """Let `source` appear at `target`, which need not exist."""
    existing = target = os.path.realpath(target)
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    if existing == target:
        _bind(source, target)
        return
    # A directory that is missing cannot be made there: all that is beside it is shown again, and it is made among that.
    _mirror(existing, stage)
    inner = stage + target.removeprefix(existing)
    os.makedirs(inner)
    _bind(source, inner)
    _bind(stage, existing)


def _mirror(directory: str, stage: str) -> None:
    os.chmod(stage, stat.S_IMODE(os.stat(directory).st_mode))
    for entry in os.scandir(directory):
        copy = os.path.join(stage, entry.name)
        with contextlib.suppress(FileNotFoundError):  # it has just gone
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), copy)
                continue
            if entry.is_dir():
                os.mkdir(copy)
            else:
                os.close(os.open(copy, os.O_CREAT | os.O_WRONLY))
            _bind(entry.path, copy)


def main(descriptor: int, stage: str, places: list[str], command: list[str]) -> None:
    """Show the places, and become the program.

    Args:
        descriptor: Where to write what goes wrong.
        stage: An empty directory to mount on.
        places: What to show and where, one after the other.
        command: The program and its arguments.
    """
    os.set_inheritable(descriptor, False)  # it is closed, with nothing written, when the program has been started
    try:
        _arrange(stage, places)
    except OSError as error:
        remedy = "; run the tests as root, or where user namespaces are allowed" if _is_forbidden(error) else ""
        _give_up(descriptor, f"{error.strerror}{remedy}")
    try:
        os.execvp(command[0], command)  # noqa: S606 -- to run what the test names is its purpose
    except OSError as error:
        _give_up(descriptor, f"{command[0]}: {error.strerror}")


def _arrange(stage: str, places: list[str]) -> None:
    _unshare()
    _mount("tmpfs", stage, "tmpfs", 0)
    for number, (source, target) in enumerate(zip(places[::2], places[1::2], strict=True)):
        own_stage = os.path.join(stage, str(number))
        os.mkdir(own_stage)
        _show(source, target, own_stage)


def _is_forbidden(error: OSError) -> bool:
    return error.errno in (errno.EPERM, errno.EACCES)


def _give_up(descriptor: int, why: str) -> None:
    os.write(descriptor, why.encode())
    os._exit(1)


if __name__ == "__main__":
    separator = sys.argv.index("--")
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:separator], sys.argv[separator + 1 :])
