import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kubelet_plugin.discovery import probes
from kubelet_plugin.discovery.probes import PROBES, Finding, kvm_version, look, opened
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
    assert f"/kvm is {kind}, no device node; remove it" in finding.reason


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
