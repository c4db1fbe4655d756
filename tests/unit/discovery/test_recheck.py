"""What inotify does not tell of: a file system mounted over a watched directory, and what cannot be watched."""

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kubelet_plugin
from kubelet_plugin.discovery import Changes
from kubelet_plugin.discovery.inotify import Watches
from tests.asynchronous import asynchronous
from tests.mounts import needs_mounts
from tests.unit.discovery.listening import Bell

if TYPE_CHECKING:
    from asyncinotify import Mask

MOUNTING = Path(kubelet_plugin.__file__).with_name("testing") / "mounting.py"

PROGRAM = """
import asyncio, ctypes, pathlib, sys
from kubelet_plugin.discovery import Changes

libc = ctypes.CDLL(None)
dev = pathlib.Path(sys.argv[1])
wakes = []

async def heard():
    for _ in range(10):
        await asyncio.sleep(0)
    woken, wakes[:] = bool(wakes), []
    return woken

async def main():
    said = []
    with Changes([f"{dev}/x*"], lambda: wakes.append(1)) as changes:
        said.append(("at first", changes.recheck()))
        assert not libc.mount(b"none", bytes(dev), b"tmpfs", 0, None)
        said.append(("mounted: woken", await heard()))
        said.append(("rechecked", changes.recheck(), changes.recheck()))
        (dev / "x1").mkdir()
        said.append(("in the new one: woken", await heard()))
        assert not libc.umount2(bytes(dev), 0)
        said.append(("unmounted: woken", await heard()))
        said.append(("rechecked", changes.recheck()))
        (dev / "x2").mkdir()
        said.append(("in the old one: woken", await heard()))
    print(said)

asyncio.run(main())
"""


@needs_mounts
def test_a_file_system_mounted_over_a_watched_directory_is_found_once_and_then_watched(tmp_path: Path) -> None:
    for name in ("stage", "dev"):
        (tmp_path / name).mkdir()
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "dev")]
    command = [sys.executable, "-I", "-S", str(MOUNTING), "2", str(tmp_path / "stage"), "--", *program]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert answer.strip() == str(
        [
            ("at first", False),
            ("mounted: woken", False),
            ("rechecked", True, False),
            ("in the new one: woken", True),
            ("unmounted: woken", True),
            ("rechecked", False),
            ("in the old one: woken", True),
        ]
    )


class Counted(Changes):
    """Counts how often it looks anew which directories to watch."""

    times = 0

    def refresh(self) -> None:
        self.times += 1
        super().refresh()


@asynchronous
async def test_where_nothing_was_mounted_nothing_is_looked_at_anew(tmp_path: Path) -> None:
    (tmp_path / "bus1").mkdir()
    (tmp_path / "link").symlink_to("bus1/x")
    with Counted([f"{tmp_path}/bus*/x", f"{tmp_path}/link", f"{tmp_path}/absent/x"], Bell()) as changes:
        assert [changes.recheck() for _ in range(3)] == [False] * 3
        assert changes.times == 1


@asynchronous
async def test_a_change_of_a_node_is_no_reason_to_look_anew_which_directories_to_watch(tmp_path: Path) -> None:
    bell = Bell()
    with Counted([f"{tmp_path}/bus*/x*"], bell) as changes:
        (tmp_path / "bus1").mkdir()
        assert await bell.rang()
        before = changes.times
        for change in ((tmp_path / "bus1/x1").touch, (tmp_path / "bus1/x1").unlink):
            change()
            assert await bell.rang()
        assert changes.times == before


@asynchronous
async def test_what_comes_between_the_look_and_the_watch_is_watched(tmp_path: Path) -> None:
    from asyncinotify import Inotify, Mask

    class Racing(Inotify):
        def add_watch(self, path: Any, mask: Mask) -> Any:
            if str(path) == str(tmp_path) and mask & Mask.CREATE:
                (tmp_path / "a").mkdir(exist_ok=True)  # of which the watch does not tell
            return super().add_watch(path, mask)

    bell = Bell()
    watches = Watches(asyncio.get_running_loop(), lambda: Racing(sync_timeout=0))
    with Changes([f"{tmp_path}/a/x"], bell, watches=watches):
        (tmp_path / "a/x").touch()
        assert await bell.rang()


@asynchronous
async def test_where_nothing_can_be_watched_each_recheck_says_look_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from asyncinotify import Inotify

    class Refusing(Inotify):
        refuses = True

        def add_watch(self, path: Any, mask: "Mask") -> Any:
            if self.refuses and str(path) == str(tmp_path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().add_watch(path, mask)

    (tmp_path / "a").mkdir()
    bell, inotify = Bell(), Refusing(sync_timeout=0)
    watches = Watches(asyncio.get_running_loop(), lambda: inotify)
    with Changes([f"{tmp_path}/a/x"], bell, watches=watches) as changes:
        assert (changes.recheck(), changes.recheck()) == (True, True)
        inotify.refuses = False
        assert (changes.recheck(), changes.recheck()) == (True, False)
        (tmp_path / "a").rename(tmp_path / "b")
        assert await bell.rang()
    assert len(caplog.records) == 1
