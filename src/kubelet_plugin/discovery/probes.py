"""Finding out whether a device node works, and if not, why and what to do about it.

A node that is there says little: its driver may be gone, the hardware unplugged, the opening forbidden. Each finding is
one line for an operator: which path, what is wrong with it, what to do.
"""

import contextlib
import errno
import fcntl
import os
import select
import signal
import stat
import subprocess  # asyncio has it already
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CoroutineType

from kubelet_plugin.errors import ConfigurationError

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_KVM_GET_API_VERSION = 0xAE00
_KVM_API_VERSION = 12  # Documentation/virt/kvm/api.rst 4.1: anything else is to be refused

_REMEDY = "load its driver, or plug the device in"
_KVM_REMEDY = "load the kvm_intel or kvm_amd module, and see that virtualization is on in the firmware"

_OUTPUT = 4096  # bytes at the end of what a program writes among which its last line is looked for
_LINE = 200  # characters of a text of others that go into a reason
_KILLING = 0.25  # seconds that it may take to have killed a program
_PIPE = 1 << 16  # bytes that a pipe holds


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
        deadline: How many seconds the test may take; one that takes longer is not waited for.
    """

    name: str
    test: Callable[[str], Finding] | None = None
    remedy: str = _REMEDY
    deadline: float = 1.0


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
    instead = f"the nodes in it, as {path}/*" if stat.S_ISDIR(status.st_mode) else "a device node"
    what = f"{path} is {_kind(status.st_mode)}, no device node; name {instead}"
    return status, Finding(False, f"{what}; or, if it stands where a node should be, remove it, then {remedy}")


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


def command(argv: Sequence[str], deadline: float = 1.0) -> Probe:
    """Make a probe of a program: it exits with 0 where the device works.

    Else the reason is the last line it wrote, to standard output or standard error. It runs in a session of its own,
    without a shell and with nothing to read, in this process's environment. When it ends, and at the deadline, it is
    killed with all that it started in its process group.

    Args:
        argv: The program and its arguments; in each, `{path}` stands for the node's path.
        deadline: For how many seconds it may run.
    """

    def test(path: str) -> Finding:
        return _run([argument.replace("{path}", path) for argument in argv], deadline)

    return Probe(os.path.basename(argv[0]), test, deadline=deadline + _KILLING)


def entry_point(text: str, deadline: float = 1.0) -> Probe:
    """Make a probe of a Python function: called with a node's path, it returns None or "" where the device works.

    Else it returns the reason as text. It is imported when it is first called, and tried again with each call until
    that succeeds. Whatever it raises makes the device unhealthy, and nothing else.

    Args:
        text: Where the function is, `package.module:function`.
        deadline: For how many seconds one call may be waited for, the import included.

    Raises:
        ConfigurationError: The text has another form.
    """
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise ConfigurationError(f"{text!r} does not say where a function is; write it as package.module:function")

    def test(path: str) -> Finding:
        try:
            function = _imported(module, name)
        except BaseException as error:  # noqa: BLE001 -- SystemExit included: it is about this probe alone
            return Finding(False, f"the probe {text} cannot be imported: {_line(_told(error))}; correct or install it")
        try:
            return _answer(text, function(path))
        except BaseException as error:  # noqa: BLE001 -- the same
            return Finding(False, f"the probe {text} raised {_line(_told(error))}")

    return Probe(text, test, deadline=deadline)


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


def _run(argv: list[str], deadline: float) -> Finding:
    until = time.monotonic() + deadline
    try:
        process = subprocess.Popen(  # noqa: S603 -- the operator's own program
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        what = f"the probe {argv[0]} cannot be run: {error.strerror}"
        return Finding(False, f"{what}; see that it, and the interpreter it names, is in the image and executable")
    assert process.stdout is not None
    with process.stdout:
        try:
            text = _output(process.pid, process.stdout.fileno(), until)
            in_time = _ended(process.pid)
        finally:
            _kill(process)
    program, line = os.path.basename(argv[0]), _last_line(text)
    if not in_time:
        wrote = f"; at last it wrote: {line}" if line else ""
        return Finding(False, f"{program} was not done within {deadline:g} s, and was killed{wrote}")
    if process.returncode == 0:
        return Finding(True)
    return Finding(False, line or f"{program}: {_status(process.returncode)}")


def _output(pid: int, descriptor: int, until: float) -> bytes:
    """Read until a program ends, and not for as long as others that it started hold its output open.

    Returns:
        The end of what was written.
    """
    os.set_blocking(descriptor, False)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    text, pause, closed = b"", 0.001, False
    while True:
        last = _ended(pid) or time.monotonic() >= until
        with contextlib.suppress(BlockingIOError):
            read = os.read(descriptor, _PIPE)
            text = (text + read)[-_OUTPUT:]
            if not read and not closed:  # it is about to end
                poll.unregister(descriptor)
                pause, closed = 0.001, True
        if last:
            return text
        poll.poll(1000 * min(pause, max(0.0, until - time.monotonic())))
        pause = min(2 * pause, 0.05)


def _ended(pid: int) -> bool:
    """Tell whether a child has ended, and leave it to be waited for: until then its group's number is no other's."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and its group, and wait for their end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with contextlib.suppress(ChildProcessError):
        while True:  # where this is a container's first process, those that lost their parent are its children
            os.waitpid(-process.pid, 0)


def _status(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-code}"


def _last_line(text: bytes) -> str:
    lines = map(_line, reversed(text.decode(errors="replace").splitlines()))
    return next(filter(None, lines), "")


def _imported(module: str, name: str) -> Callable[[str], object]:
    import importlib  # noqa: PLC0415
    import operator  # noqa: PLC0415

    function: object = operator.attrgetter(name)(importlib.import_module(module))
    if not callable(function):
        raise TypeError(f"{name} is no function")
    return function


def _answer(text: str, returned: object) -> Finding:
    if returned is None or returned == "":
        return Finding(True)
    if isinstance(returned, str) and (reason := _line(returned)):
        return Finding(False, reason)
    if isinstance(returned, CoroutineType):
        returned.close()
    what = f"the probe {text} returned {_line(repr(returned))}"
    return Finding(False, f"{what}; let it return None or the reason, as text, and be no coroutine")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _line(text: str) -> str:
    """Make one printable line of what others wrote."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"


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
