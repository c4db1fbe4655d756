import errno
import gc
import importlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubelet_plugin.discovery import probes
from kubelet_plugin.discovery.probes import PROBES, Finding, kvm_version, look, opened
from kubelet_plugin.errors import ConfigurationError
from tests.unit.discovery.listening import descriptors

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes and becomes another user")

NOBODY = 65534


def find(probe: probes.Probe, path: Path | str) -> Finding:
    """Do what `watch` does: look, then test."""
    status, finding = look(str(path), probe.remedy)
    if status is None or not finding.healthy or probe.test is None:
        return finding
    return probe.test(str(path))


def failing(number: int) -> Callable[[str, int], int]:
    def fail(path: str, flags: int) -> int:
        raise OSError(number, os.strerror(number), path)

    return fail


def as_nobody(call: Callable[[], Finding]) -> Finding:
    """Call in a child process that has given up all privileges."""
    receive, send = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            finding = call()
            os.write(send, f"{finding.healthy:d}{finding.reason}".encode())
        finally:
            os._exit(0)
    os.close(send)
    os.waitpid(child, 0)
    with os.fdopen(receive) as answer:
        text = answer.read()
    return Finding(text[0] == "1", text[1:])


def node(path: Path, major: int, minor: int, mode: int = 0o666) -> Path:
    os.mknod(path, stat.S_IFCHR | mode, os.makedev(major, minor))
    path.chmod(mode)
    return path


def test_probes_have_names() -> None:
    assert {"exists": probes.exists, "open": probes.open_node, "kvm": probes.kvm} == PROBES


@pytest.mark.parametrize("probe", [probes.exists, probes.open_node])
def test_a_device_that_opens_is_healthy(probe: probes.Probe) -> None:
    assert find(probe, "/dev/null") == Finding(True)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_an_absent_node_is_named_with_what_to_do(probe: probes.Probe, tmp_path: Path) -> None:
    finding = find(probe, tmp_path / "kvm")
    assert finding == Finding(False, f"{tmp_path}/kvm is absent; {probe.remedy}")


def test_a_node_below_a_file_is_absent(tmp_path: Path) -> None:
    (tmp_path / "dev").touch()
    assert "/dev/kvm is absent" in find(probes.exists, tmp_path / "dev/kvm").reason


def test_the_remedy_for_kvm_names_its_modules() -> None:
    assert "load the kvm_intel or kvm_amd module" in probes.kvm.remedy


def test_a_dangling_symlink_is_named_with_its_target(tmp_path: Path) -> None:
    (tmp_path / "crand0").symlink_to("crand7")
    finding = find(probes.exists, tmp_path / "crand0")
    assert not finding.healthy
    assert "crand0 is a symbolic link to crand7, which is absent" in finding.reason


def test_a_symlink_to_a_device_is_the_device(tmp_path: Path) -> None:
    (tmp_path / "crand0").symlink_to("/dev/null")
    assert find(probes.open_node, tmp_path / "crand0") == Finding(True)


def test_symlinks_in_a_circle_are_reported(tmp_path: Path) -> None:
    (tmp_path / "crand0").symlink_to("crand0")
    assert find(probes.exists, tmp_path / "crand0").reason.endswith(
        "crand0 cannot be seen: Too many levels of symbolic links"
    )


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [(Path.touch, "a regular file"), (Path.mkdir, "a directory"), (os.mkfifo, "a FIFO"), (make_socket, "a socket")],
    ids=["file", "directory", "fifo", "socket"],
)
@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_what_is_no_device_node_is_named(
    probe: probes.Probe, make: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    make(tmp_path / "kvm")
    finding = find(probe, tmp_path / "kvm")
    assert not finding.healthy
    assert f"/kvm is {kind}, no device node; name " in finding.reason


@as_root
@pytest.mark.parametrize("probe", [probes.open_node, probes.kvm])
def test_a_node_without_a_driver_has_nothing_behind_it(probe: probes.Probe, tmp_path: Path) -> None:
    finding = find(probe, node(tmp_path / "crand0", 240, 250))
    assert not finding.healthy
    assert "crand0 is there, but no device answers behind it" in finding.reason
    assert probe.remedy in finding.reason


@as_root
def test_a_node_without_a_driver_exists(tmp_path: Path) -> None:
    assert find(probes.exists, node(tmp_path / "crand0", 240, 250)) == Finding(True)


@as_root
def test_a_node_closed_by_its_mode_is_named_with_mode_and_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node(tmp_path / "crand0", 1, 8, 0o640)
    monkeypatch.chdir(tmp_path)  # the directories above are closed to nobody
    tmp_path.chmod(0o755)
    finding = as_nobody(lambda: find(probes.open_node, "crand0"))
    assert not finding.healthy
    assert "crand0 (mode 0640, owner 0:0) may not be opened by uid 65534, gid 65534" in finding.reason


@as_root
def test_a_node_in_a_closed_directory_cannot_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev").mkdir(mode=0o700)
    node(tmp_path / "dev/crand0", 1, 8)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    finding = as_nobody(lambda: find(probes.open_node, "dev/crand0"))
    assert not finding.healthy
    assert "dev/crand0 cannot be seen: a directory on the way is closed to uid 65534" in finding.reason


def test_a_node_closed_by_a_device_cgroup_counts_as_healthy_and_says_why() -> None:
    finding = opened("/dev/kvm", os.O_RDWR, lambda _: Finding(False), opener=failing(errno.EPERM))
    assert finding.healthy
    assert finding.reason.startswith("present; not probed: ")
    assert "device cgroup" in finding.reason
    assert "a functional probe needs a privileged plugin" in finding.reason


@as_root
def test_a_node_on_a_file_system_without_devices_is_told_from_one_closed_by_its_mode(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o nodev none "$1" && mknod "$1/crand0" c 1 8 && exec "$2" -c "$3" "$1/crand0"'
    program = (
        "import sys; from kubelet_plugin.discovery import probes; print(probes.open_node.test(sys.argv[1]).reason)"
    )
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a mount namespace of its own is not granted")
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, program]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    assert answer.stdout.startswith(f"{tmp_path}/crand0 may not be opened: its file system is mounted nodev")


def test_a_device_in_use_is_healthy() -> None:
    assert opened("/dev/null", os.O_RDONLY, lambda _: Finding(False), opener=failing(errno.EBUSY)) == Finding(True)


@pytest.mark.parametrize("number", [errno.ENXIO, errno.ENODEV])
def test_no_device_behind_the_node_is_told_from_an_absent_node(number: int) -> None:
    finding = opened("/dev/null", os.O_RDONLY, lambda _: Finding(True), opener=failing(number), remedy="plug it in")
    assert finding == Finding(
        False, f"/dev/null is there, but no device answers behind it ({os.strerror(number)}); plug it in"
    )


def test_a_node_that_goes_before_it_is_opened_is_absent(tmp_path: Path) -> None:
    finding = opened(str(tmp_path / "crand0"), os.O_RDONLY, lambda _: Finding(True), remedy="plug it in")
    assert finding == Finding(False, f"{tmp_path}/crand0 is absent; plug it in")


def test_another_error_is_told_as_the_kernel_puts_it() -> None:
    finding = opened("/dev/null", os.O_RDONLY, lambda _: Finding(True), opener=failing(errno.EIO))
    assert finding == Finding(False, "/dev/null cannot be opened: Input/output error")


def test_nodes_are_opened_without_waiting_or_inheriting_or_a_terminal() -> None:
    def check(path: str, flags: int) -> int:
        for flag in (os.O_NONBLOCK, os.O_CLOEXEC, os.O_NOCTTY):
            assert flags & flag
        return os.open(path, flags)

    assert opened("/dev/null", os.O_RDONLY, lambda _: Finding(True), opener=check).healthy


def test_a_node_is_closed_even_when_the_test_fails() -> None:
    def fail(descriptor: int) -> Finding:
        raise ValueError

    before = descriptors()
    with pytest.raises(ValueError):
        opened("/dev/null", os.O_RDONLY, fail)
    assert find(probes.open_node, "/dev/null").healthy
    assert descriptors() == before


def test_a_device_that_is_not_kvm_does_not_pass_for_it() -> None:
    finding = find(probes.kvm, "/dev/null")
    assert not finding.healthy
    assert "/dev/null does not answer as KVM does (Inappropriate ioctl for device)" in finding.reason


@pytest.mark.parametrize("version", [11, 13])
def test_another_version_of_the_kvm_api_is_refused(version: int) -> None:
    finding = kvm_version("/dev/kvm", version)
    assert not finding.healthy
    assert f"version {version} of the KVM API instead of 12" in finding.reason


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="there is no /dev/kvm that may be opened")
def test_a_kvm_that_answers_is_healthy() -> None:
    assert find(probes.kvm, "/dev/kvm") == Finding(True)


def test_a_probe_may_take_a_second_unless_it_says_otherwise() -> None:
    assert {probe.deadline for probe in PROBES.values()} == {1.0}


# --- a program as a probe ---


def sh(script: str, deadline: float = 10.0) -> probes.Probe:
    return probes.command(["sh", "-c", script, "sh", "{path}"], deadline)


def program(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    """Wait for the end of a process that was killed, which is not ours to wait for."""
    until = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.005)
    return not is_running(pid)


def test_a_program_that_exits_with_0_says_that_the_device_works() -> None:
    assert find(sh("echo all is well"), "/dev/null") == Finding(True)


@pytest.mark.parametrize("to", ["", " >&2"], ids=["stdout", "stderr"])
def test_the_last_line_of_a_program_that_fails_is_the_reason(to: str) -> None:
    assert find(sh(f"(echo asking; echo no carrier; echo ' '){to}; exit 3"), "/dev/null") == Finding(
        False, "no carrier"
    )


def test_a_program_that_fails_without_a_word_is_named_with_its_exit_code() -> None:
    assert find(sh("exit 3"), "/dev/null") == Finding(False, "sh: exit code 3")


def test_a_program_that_dies_is_named_with_the_signal() -> None:
    assert find(sh("kill -SEGV $$"), "/dev/null") == Finding(False, "sh: killed by SIGSEGV")


def test_a_signal_without_a_name_has_its_number() -> None:
    assert find(sh(f"kill -{signal.SIGRTMIN + 3} $$"), "/dev/null") == Finding(
        False, f"sh: killed by signal {signal.SIGRTMIN + 3}"
    )


def test_a_program_is_told_the_path_where_it_asks_for_it_and_no_shell_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a $b; c").symlink_to("/dev/null")
    probe = probes.command([sys.executable, "-c", "import sys; sys.exit(sys.argv[1])", "node={path}"], 10.0)
    assert find(probe, tmp_path / "a $b; c").reason == f"node={tmp_path}/a $b; c"


def test_a_program_has_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAUD", "9600")
    assert find(sh('echo "$BAUD"; exit 1'), "/dev/null").reason == "9600"


def test_a_program_has_a_session_of_its_own() -> None:
    script = "import os, sys; sys.exit(f'{os.getsid(0) == os.getpgrp() == os.getpid()}')"
    assert find(probes.command([sys.executable, "-c", script], 10.0), "/dev/null").reason == "True"


def test_a_program_has_nothing_to_read() -> None:
    script = """
from kubelet_plugin.discovery import probes
print(probes.command(["sh", "-c", "cat; echo end; exit 1"], 10.0).test("/dev/null").reason, input())
"""
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, input="mine")
    assert answer.stdout == "end mine\n"


def test_what_a_program_writes_becomes_one_printable_line() -> None:
    assert find(sh(r"printf 'bad\tmode:\033[1m \377\r\n'; exit 1"), "/dev/null").reason == "bad mode: [1m \ufffd"


def test_a_long_line_is_cut() -> None:
    reason = find(sh("printf '%0300d\n' 0; exit 1"), "/dev/null").reason
    assert reason == "0" * 199 + "…"


def test_a_program_may_write_more_than_is_kept() -> None:
    assert find(sh("yes | head -c 1000000; echo at last; exit 1"), "/dev/null").reason == "at last"


def test_a_program_that_is_not_done_in_time_is_killed_with_all_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    finding = find(
        sh(f"sleep 60 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/sh; echo waiting; wait", 0.5), "/dev/null"
    )
    assert time.monotonic() - started < 5
    assert finding == Finding(False, "sh was not done within 0.5 s, and was killed; at last it wrote: waiting")
    assert [gone(int((tmp_path / name).read_text())) for name in ("sh", "child")] == [True, True]


def test_a_program_that_writes_without_end_is_killed_in_time() -> None:
    started = time.monotonic()
    finding = find(probes.command(["yes"], 0.5), "/dev/null")
    assert time.monotonic() - started < 5
    assert finding.reason == "yes was not done within 0.5 s, and was killed; at last it wrote: y"


def test_a_program_that_closes_its_output_is_waited_for() -> None:
    assert find(sh("exec >&- 2>&-; sleep 0.1; exit 4"), "/dev/null").reason == "sh: exit code 4"


def test_a_program_that_ends_is_not_waited_for_because_of_what_it_left_behind(tmp_path: Path) -> None:
    started = time.monotonic()
    assert (
        find(sh(f"sleep 60 & echo $! >{tmp_path}/child; echo no carrier; exit 1"), "/dev/null").reason == "no carrier"
    )
    assert time.monotonic() - started < 5
    assert gone(int((tmp_path / "child").read_text()))


def test_nobody_stays_behind_as_a_zombie_where_this_is_the_first_process() -> None:
    script = """
import ctypes, os
from kubelet_plugin.discovery import probes
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
probes.command(["sh", "-c", "sleep 60 & sleep 60 & wait"], 0.2).test("/dev/null")
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no children")
"""
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert answer.stdout == "no children\n"


def test_a_program_leaves_no_descriptor_behind() -> None:
    before = descriptors()
    for script in ("exit 0", "exit 1"):
        find(sh(script), "/dev/null")
    find(probes.command(["/nowhere/check"]), "/dev/null")
    assert descriptors() == before


def test_a_program_that_is_missing_is_named() -> None:
    finding = find(probes.command(["/nowhere/check"]), "/dev/null")
    assert finding == Finding(
        False,
        "the probe /nowhere/check cannot be run: No such file or directory; "
        "see that it, and the interpreter it names, is in the image and executable",
    )


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("\0", 0o755, "Exec format error"),
        ("#!/nowhere/sh\n", 0o755, "No such file or directory"),
    ],
    ids=["not executable", "no program", "no interpreter"],
)
def test_a_program_that_cannot_be_run_is_named_with_the_cause(text: str, mode: int, why: str, tmp_path: Path) -> None:
    check = program(tmp_path / "check", text, mode)
    finding = find(probes.command([check]), "/dev/null")
    assert not finding.healthy
    assert finding.reason.startswith(f"the probe {check} cannot be run: {why}; see that it")


def test_a_probe_that_is_a_program_is_named_after_it_and_outlasts_it() -> None:
    probe = probes.command(["/usr/bin/check-modem"], 2.0)
    assert (probe.name, probe.remedy) == ("check-modem", probes.exists.remedy)
    assert 2.0 < probe.deadline < 2.5


# --- a Python function as a probe ---


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write the module `own_probe`, which can be imported for as long as the test runs."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> None:
        (tmp_path / "own_probe.py").write_text(text)
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("own_probe", None)


Module = Callable[[str], None]
OWN = "own_probe:check"


@pytest.mark.parametrize("returned", ["None", "''"])
def test_a_function_that_returns_nothing_says_that_the_device_works(returned: str, module: Module) -> None:
    module(f"def check(path): return {returned}")
    assert find(probes.entry_point(OWN), "/dev/null") == Finding(True)


def test_what_a_function_returns_is_the_reason_in_one_line(module: Module) -> None:
    module("def check(path): return f'{path}:\\n no carrier'")
    assert find(probes.entry_point(OWN), "/dev/null") == Finding(False, "/dev/null: no carrier")


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_a_function_that_raises_makes_the_device_unhealthy(error: str, module: Module) -> None:
    module(f"def check(path): raise {error}('no\\nfirmware')")
    assert find(probes.entry_point(OWN), "/dev/null") == Finding(False, f"the probe {OWN} raised {error}: no firmware")


@pytest.mark.parametrize(
    ("returned", "shown"), [("True", "True"), ("0", "0"), ("b''", "b''"), ("' '", "' '"), ("[1]", "[1]")]
)
def test_a_function_that_returns_something_else_is_told_what_to_return(
    returned: str, shown: str, module: Module
) -> None:
    module(f"def check(path): return {returned}")
    finding = find(probes.entry_point(OWN), "/dev/null")
    assert not finding.healthy
    assert finding.reason.startswith(f"the probe {OWN} returned {shown}; let it return None or the reason")


def test_a_coroutine_function_is_told_not_to_be_one(module: Module) -> None:
    module("async def check(path): pass")
    finding = find(probes.entry_point(OWN), "/dev/null")
    gc.collect()  # a coroutine that was never awaited would be complained of now
    assert not finding.healthy
    assert finding.reason.endswith("and be no coroutine")


def test_a_function_that_is_nowhere_makes_the_device_unhealthy(module: Module) -> None:
    assert find(probes.entry_point(OWN), "/dev/null") == Finding(
        False,
        "the probe own_probe:check cannot be imported: ModuleNotFoundError: No module named 'own_probe'; "
        "correct or install it",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "AttributeError: module 'own_probe' has no attribute 'check'"),
        ("check = 1", "TypeError: check is no function"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("def", "SyntaxError: "),
    ],
    ids=["no such name", "no function", "raises", "no Python"],
)
def test_a_module_that_will_not_do_makes_the_device_unhealthy(text: str, why: str, module: Module) -> None:
    module(text)
    finding = find(probes.entry_point(OWN), "/dev/null")
    assert not finding.healthy
    assert finding.reason.startswith(f"the probe {OWN} cannot be imported: {why}")


def test_a_function_may_be_that_of_a_class(module: Module) -> None:
    module("class Modem:\n  @staticmethod\n  def check(path): return 'busy'")
    assert find(probes.entry_point("own_probe:Modem.check"), "/dev/null").reason == "busy"


def test_a_function_is_imported_when_it_is_first_called(module: Module) -> None:
    module("def check(path): pass")
    probe = probes.entry_point(OWN)
    assert "own_probe" not in sys.modules
    find(probe, "/dev/null")
    assert "own_probe" in sys.modules


def test_a_function_that_comes_later_is_found_then(module: Module) -> None:
    probe = probes.entry_point(OWN)
    assert not find(probe, "/dev/null").healthy
    module("def check(path): pass")
    assert find(probe, "/dev/null").healthy


def test_a_probe_that_is_a_function_is_named_after_it() -> None:
    probe = probes.entry_point(OWN, 3.0)
    assert (probe.name, probe.deadline) == (OWN, 3.0)


@pytest.mark.parametrize(
    "text", ["", "own_probe", "own_probe:", ":check", "own probe:check", "a:b:c", "a..b:c", "a/b:c"]
)
def test_what_does_not_say_where_a_function_is_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write it as package\.module:function"):
        probes.entry_point(text)
