import dataclasses
import errno
import fcntl
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubelet_plugin import cdi

KVM = cdi.ContainerEdits(device_nodes=(cdi.DeviceNode("/dev/kvm", file_mode=0o660),))
SPEC = cdi.Spec("github.com.ihcsim/kvm", (cdi.Device("kvm0", KVM),))
OTHER = dataclasses.replace(SPEC, devices=(*SPEC.devices, cdi.Device("kvm1", KVM)))
NAME = "github.com.ihcsim-kvm.json"


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def failing(code: int) -> object:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_the_file_name_is_the_kind_with_a_dash_for_the_slash() -> None:
    assert cdi.spec_path("github.com.ihcsim/kvm", "/var/run/cdi") == "/var/run/cdi/github.com.ihcsim-kvm.json"


def test_the_spec_is_in_the_file_whose_path_is_returned(tmp_path: Path) -> None:
    path = cdi.write(SPEC, str(tmp_path))
    assert path == cdi.spec_path(SPEC.kind, str(tmp_path))
    assert Path(path).read_text() == cdi.dumps(SPEC)


def test_nothing_else_is_in_the_directory(tmp_path: Path) -> None:
    cdi.write(SPEC, str(tmp_path))
    cdi.write(OTHER, str(tmp_path))
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_file_and_directories_are_readable_by_all_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        path = Path(cdi.write(SPEC, f"{tmp_path}/run/cdi/"))
    assert (mode(path), mode(tmp_path / "run/cdi"), mode(tmp_path / "run")) == (0o644, 0o755, 0o755)


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    cdi.write(SPEC, str(tmp_path))
    assert mode(tmp_path) == 0o750


def test_a_relative_directory_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cdi.write(SPEC, "cdi") == f"cdi/{NAME}"
    assert (tmp_path / "cdi" / NAME).exists()


def test_a_changed_spec_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    cdi.write(SPEC, str(tmp_path))
    path = Path(cdi.write(OTHER, str(tmp_path)))
    assert path.read_text() == cdi.dumps(OTHER)


def test_an_unchanged_file_is_left_alone(tmp_path: Path) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    before = path.stat()
    cdi.write(SPEC, str(tmp_path))
    assert path.stat() == before


def test_the_mode_of_an_unchanged_file_is_mended(tmp_path: Path) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    path.chmod(0o600)
    inode = path.stat().st_ino
    cdi.write(SPEC, str(tmp_path))
    assert (mode(path), path.stat().st_ino) == (0o644, inode)


def test_a_file_whose_mode_cannot_be_mended_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    path.chmod(0o600)
    inode = path.stat().st_ino
    fchmod = os.fchmod

    def refuse_the_old(file: int, bits: int) -> None:
        if os.fstat(file).st_ino == inode:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        fchmod(file, bits)

    monkeypatch.setattr(os, "fchmod", refuse_the_old)
    cdi.write(SPEC, str(tmp_path))
    assert mode(path) == 0o644


def test_a_file_of_the_same_length_with_other_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text("x" * len(cdi.dumps(SPEC)))
    cdi.write(SPEC, str(tmp_path))
    assert path.read_text() == cdi.dumps(SPEC)


def test_a_symlink_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(cdi.dumps(SPEC))
    elsewhere.chmod(0o600)
    path = tmp_path / "cdi" / NAME
    path.parent.mkdir()
    path.symlink_to(elsewhere)
    cdi.write(SPEC, str(path.parent))
    assert not path.is_symlink()
    assert path.read_text() == cdi.dumps(SPEC)
    assert mode(elsewhere) == 0o600


def test_a_fifo_of_the_name_is_replaced_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    cdi.write(SPEC, str(tmp_path))
    assert (tmp_path / NAME).is_file()


def test_a_spec_that_must_not_be_written_touches_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "cdi"
    with pytest.raises(cdi.Error, match="vendor 'v' has one character"):
        cdi.write(dataclasses.replace(SPEC, kind="v/kvm"), str(directory))
    assert not directory.exists()


def test_text_that_is_not_utf_8_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    edits = cdi.ContainerEdits(device_nodes=(cdi.DeviceNode("/dev/x\udcff"),))
    with pytest.raises(cdi.Error, match=r"'\\udcff' in it is not UTF-8 text"):
        cdi.write(dataclasses.replace(SPEC, devices=(cdi.Device("x", edits),)), str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("step", "code", "remedy"),
    [
        ("open", errno.EACCES, "write as a user who may (root), or give a directory that is yours"),
        ("fchmod", errno.EPERM, "write as a user who may (root), or give a directory that is yours"),
        ("fsync", errno.ENOSPC, "free space on that file system"),
        ("fsync", errno.EIO, os.strerror(errno.EIO)),
        ("rename", errno.EROFS, "mount it writable, or give another directory"),
    ],
)
def test_a_step_that_fails_leaves_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, remedy: str
) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    monkeypatch.setattr(os, step, failing(code))
    with pytest.raises(cdi.Error, match=re.escape(remedy)) as raised:
        cdi.write(OTHER, str(tmp_path))
    monkeypatch.undo()
    assert f"cannot write CDI spec {path}: {os.strerror(code)}" in str(raised.value)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == code
    assert os.listdir(tmp_path) == [NAME]
    assert path.read_text() == cdi.dumps(SPEC)


def test_the_file_reaches_the_disk_before_its_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, rename = os.fsync, os.rename
    steps: list[str] = []

    def recorded_fsync(file: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(file).st_mode) else f"{os.fstat(file).st_size} bytes")
        fsync(file)

    def recorded_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append("rename")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    cdi.write(SPEC, str(tmp_path))
    assert steps == [f"{len(cdi.dumps(SPEC))} bytes", "rename", "directory"]


def test_a_file_that_could_be_written_in_part_only_leaves_the_old_one(tmp_path: Path) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(cdi.Error, match=os.strerror(errno.EFBIG)):
            cdi.write(OTHER, str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [NAME]
    assert path.read_text() == cdi.dumps(SPEC)


def test_a_lock_that_cannot_be_had_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(cdi.Error, match=os.strerror(errno.ENOLCK)):
        cdi.write(SPEC, str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_a_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "cdi").write_text("")
    with pytest.raises(cdi.Error, match=r"/cdi/github\.com\.ihcsim-kvm\.json: Not a directory; something on the way"):
        cdi.write(SPEC, str(tmp_path / "cdi"))


def test_a_directory_that_cannot_be_made_is_named_in_the_error() -> None:
    with pytest.raises(cdi.Error, match=r"cannot write CDI spec /proc/none/cdi/\S+: .*give another"):
        cdi.write(SPEC, "/proc/none/cdi")


def test_a_directory_of_the_file_s_name_is_named_in_the_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(cdi.Error, match="a directory has the name of the file"):
        cdi.write(SPEC, str(tmp_path))
    assert os.listdir(tmp_path) == [NAME]


def test_a_kind_too_long_for_a_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cdi.Error, match="choose a shorter vendor"):
        cdi.write(dataclasses.replace(SPEC, kind=f"{'v' * 250}/kvm"), str(tmp_path))
    assert os.listdir(tmp_path) == []


KILLED_BEFORE_THE_RENAME = """
import os, signal, sys
from kubelet_plugin import cdi
os.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
cdi.write(cdi.Spec("github.com.ihcsim/kvm", (cdi.Device("new", cdi.ContainerEdits(env=("A=1",))),)), sys.argv[1])
"""


def test_what_a_killed_writer_left_is_no_spec_file_and_goes_with_the_next_write(tmp_path: Path) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    killed = subprocess.run([sys.executable, "-c", KILLED_BEFORE_THE_RENAME, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    leftovers = [name for name in os.listdir(tmp_path) if name != NAME]
    assert len(leftovers) == 1
    assert leftovers[0].startswith(".")
    assert not leftovers[0].endswith((".json", ".yaml"))
    assert path.read_text() == cdi.dumps(SPEC)
    cdi.write(SPEC, str(tmp_path))
    assert os.listdir(tmp_path) == [NAME]


def test_the_temporary_file_of_a_writer_at_work_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename
    others: list[str] = []

    def meanwhile(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        monkeypatch.undo()
        others.append(cdi.write(dataclasses.replace(SPEC, kind="vendor.com/other"), str(tmp_path)))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", meanwhile)
    cdi.write(SPEC, str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([NAME, *map(os.path.basename, others)])


def test_a_writer_whose_temporary_file_was_taken_for_a_leftover_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def too_late(file: int, operation: int) -> None:
        monkeypatch.undo()
        (taken,) = tmp_path.iterdir()
        taken.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", too_late)
    assert Path(cdi.write(SPEC, str(tmp_path))).read_text() == cdi.dumps(SPEC)
    assert os.listdir(tmp_path) == [NAME]


def test_a_hidden_file_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / ".somebody.tmp").write_text("")
    cdi.write(SPEC, str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".somebody.tmp", NAME]


def test_readers_never_see_a_part_of_a_file(tmp_path: Path) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    started, done = threading.Event(), threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(len(json.loads(path.read_bytes())["devices"]))
            started.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(10)
    for _ in range(50):
        cdi.write(OTHER, str(tmp_path))
        cdi.write(SPEC, str(tmp_path))
    done.set()
    reader.join()
    assert seen <= {1, 2}


def test_writers_side_by_side_all_succeed_and_leave_one_whole_file(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(spec: cdi.Spec) -> None:
        try:
            for _ in range(25):
                cdi.write(spec, str(tmp_path))
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=work, args=(spec,)) for spec in (SPEC, OTHER, SPEC, OTHER)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert os.listdir(tmp_path) == [NAME]
    assert (tmp_path / NAME).read_text() in {cdi.dumps(SPEC), cdi.dumps(OTHER)}


def test_no_descriptor_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cdi.write(SPEC, str(tmp_path))
    before = os.listdir("/proc/self/fd")
    cdi.write(OTHER, str(tmp_path))
    monkeypatch.setattr(os, "rename", failing(errno.EROFS))
    with pytest.raises(cdi.Error):
        cdi.write(SPEC, str(tmp_path))
    assert os.listdir("/proc/self/fd") == before
