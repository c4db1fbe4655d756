import asyncio
import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet.sockets import Sockets
from tests.asynchronous import asynchronous

WAIT = 20.0  # seconds; longer than anything here takes


class Watched:
    """The sockets of a directory, while they change."""

    def __init__(self, directory: Path) -> None:
        self._changed = asyncio.Event()
        self.sockets = Sockets(str(directory), self._changed.set)

    def marker(self, path: Path) -> object:
        return self.sockets.markers.get(str(path))

    async def until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not look():
                self._changed.clear()
                await self._changed.wait()

    async def appeared(self, path: Path) -> object:
        await self.until(lambda: self.marker(path) is not None)
        return self.marker(path)

    async def caught_up(self, directory: Path) -> None:
        """Wait until all that was done before is noticed: events come in order."""
        path = directory / "last.sock"
        bind(path)
        await self.appeared(path)


@contextlib.contextmanager
def watching(directory: Path) -> Iterator[Watched]:
    watched = Watched(directory)
    watched.sockets.open()
    try:
        yield watched
    finally:
        watched.sockets.close()


def bind(path: Path) -> Path:
    """A socket that nobody listens on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return path


def inotify_watches() -> int:
    """How many directories this process watches."""
    lines = [line for info in Path("/proc/self/fdinfo").iterdir() for line in _lines(info)]
    return sum(line.startswith("inotify wd:") for line in lines)


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):  # it is that of the listing itself
        return path.read_text().splitlines()
    return []


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """The directory; what is beside it is out of sight."""
    (tmp_path / "registry").mkdir()
    return tmp_path / "registry"


# What comes.


@asynchronous
async def test_a_socket_that_is_there_at_the_start_is_taken(registry: Path) -> None:
    path = bind(registry / "a.sock")
    with watching(registry) as watched:
        assert list(watched.sockets.markers) == [str(path)]


@asynchronous
async def test_a_socket_below_is_taken_at_the_start(registry: Path) -> None:
    path = bind(registry / "vendor" / "kind" / "a.sock")
    with watching(registry) as watched:
        assert list(watched.sockets.markers) == [str(path)]


@asynchronous
async def test_a_new_socket_is_taken(registry: Path) -> None:
    with watching(registry) as watched:
        await watched.appeared(bind(registry / "a.sock"))


@asynchronous
async def test_a_socket_that_is_moved_in_is_taken(registry: Path, tmp_path: Path) -> None:
    with watching(registry) as watched:
        await watched.appeared(bind(tmp_path / "a.sock").rename(registry / "a.sock"))


@asynchronous
async def test_a_socket_in_a_directory_of_later_is_taken(registry: Path) -> None:
    with watching(registry) as watched:
        (registry / "vendor").mkdir()
        await watched.caught_up(registry)
        await watched.appeared(bind(registry / "vendor" / "a.sock"))


@asynchronous
async def test_what_a_new_directory_holds_already_is_taken(registry: Path, tmp_path: Path) -> None:
    bind(tmp_path / "vendor" / "kind" / "a.sock")
    with watching(registry) as watched:
        (tmp_path / "vendor").rename(registry / "vendor")
        await watched.appeared(registry / "vendor" / "kind" / "a.sock")


@asynchronous
async def test_a_name_with_a_dot_is_ignored(registry: Path) -> None:
    bind(registry / ".before.sock")
    with watching(registry) as watched:
        bind(registry / ".after.sock")
        await watched.caught_up(registry)
        assert list(watched.sockets.markers) == [str(registry / "last.sock")]


@asynchronous
async def test_a_new_directory_with_a_dot_is_ignored(registry: Path, tmp_path: Path) -> None:
    bind(tmp_path / ".vendor" / "a.sock")
    with watching(registry) as watched:
        (tmp_path / ".vendor").rename(registry / ".vendor")
        await watched.caught_up(registry)
        assert list(watched.sockets.markers) == [str(registry / "last.sock")]


@asynchronous
async def test_a_directory_with_a_dot_is_walked_at_the_start(registry: Path) -> None:
    path = bind(registry / ".vendor" / "a.sock")
    with watching(registry) as watched:
        assert list(watched.sockets.markers) == [str(path)]


@asynchronous
async def test_what_is_no_socket_is_ignored(registry: Path) -> None:
    (registry / "before").touch()
    with watching(registry) as watched:
        (registry / "after").touch()
        await watched.caught_up(registry)
        assert list(watched.sockets.markers) == [str(registry / "last.sock")]


@asynchronous
async def test_a_link_to_a_socket_is_taken(registry: Path, tmp_path: Path) -> None:
    with watching(registry) as watched:
        (registry / "a.sock").symlink_to(bind(tmp_path / "real.sock"))
        await watched.appeared(registry / "a.sock")


@asynchronous
async def test_a_link_to_nothing_is_ignored(registry: Path) -> None:
    with watching(registry) as watched:
        (registry / "a.sock").symlink_to(registry / "nothing")
        await watched.caught_up(registry)
        assert list(watched.sockets.markers) == [str(registry / "last.sock")]


# What goes.


@asynchronous
async def test_a_socket_that_is_removed_is_forgotten(registry: Path) -> None:
    path = bind(registry / "a.sock")
    with watching(registry) as watched:
        path.unlink()
        await watched.until(lambda: watched.marker(path) is None)


@asynchronous
async def test_a_link_that_is_removed_is_forgotten(registry: Path, tmp_path: Path) -> None:
    with watching(registry) as watched:
        path = registry / "a.sock"
        path.symlink_to(bind(tmp_path / "real.sock"))
        await watched.appeared(path)
        path.unlink()
        await watched.until(lambda: watched.marker(path) is None)


@asynchronous
async def test_the_sockets_of_a_directory_that_is_removed_are_forgotten(registry: Path) -> None:
    path = bind(registry / "vendor" / "a.sock")
    with watching(registry) as watched:
        shutil.rmtree(registry / "vendor")
        await watched.until(lambda: watched.marker(path) is None)


@asynchronous
async def test_a_directory_that_is_made_again_is_watched_again(registry: Path) -> None:
    bind(registry / "vendor" / "a.sock")
    with watching(registry) as watched:
        shutil.rmtree(registry / "vendor")
        await watched.caught_up(registry)
        await watched.appeared(bind(registry / "vendor" / "b.sock"))


@asynchronous
async def test_a_rename_away_is_no_removal(registry: Path, tmp_path: Path) -> None:
    path = bind(registry / "a.sock")
    with watching(registry) as watched:
        before = watched.marker(path)
        path.rename(tmp_path / "a.sock")
        await watched.caught_up(registry)
        assert watched.marker(path) is before


@asynchronous
async def test_a_socket_in_a_directory_that_was_renamed_goes_by_its_new_name(registry: Path) -> None:
    bind(registry / "before" / "a.sock")
    with watching(registry) as watched:
        (registry / "before").rename(registry / "after")
        path = registry / "after" / "a.sock"
        await watched.appeared(path)
        path.unlink()
        await watched.until(lambda: watched.marker(path) is None)


@asynchronous
async def test_a_directory_that_has_left_is_not_watched_any_more(registry: Path, tmp_path: Path) -> None:
    with watching(registry) as watched:
        before = inotify_watches()
        (registry / "vendor").mkdir()
        await watched.caught_up(registry)
        (registry / "vendor").rename(tmp_path / "vendor")
        await watched.until(lambda: inotify_watches() == before)


# What comes again.


@asynchronous
async def test_a_socket_that_is_made_again_has_another_marker(registry: Path) -> None:
    path = bind(registry / "a.sock")
    with watching(registry) as watched:
        before = watched.marker(path)
        path.unlink()
        bind(path)
        await watched.until(lambda: watched.marker(path) not in {None, before})


@asynchronous
async def test_a_socket_that_another_is_renamed_over_has_another_marker(registry: Path, tmp_path: Path) -> None:
    path = bind(registry / "a.sock")
    with watching(registry) as watched:
        before = watched.marker(path)
        bind(tmp_path / "new.sock").rename(path)
        await watched.until(lambda: watched.marker(path) not in {None, before})


@asynchronous
async def test_a_socket_that_is_renamed_back_has_another_marker(registry: Path, tmp_path: Path) -> None:
    path = bind(registry / "a.sock")
    with watching(registry) as watched:
        before = watched.marker(path)
        path.rename(tmp_path / "a.sock")
        await watched.caught_up(registry)
        (tmp_path / "a.sock").rename(path)
        await watched.until(lambda: watched.marker(path) is not before)


@asynchronous
async def test_a_change_of_mode_leaves_the_marker(registry: Path) -> None:
    path = bind(registry / "a.sock")
    with watching(registry) as watched:
        before = watched.marker(path)
        path.chmod(0o600)
        await watched.caught_up(registry)
        assert watched.marker(path) is before


# The directory, and the end.


@asynchronous
async def test_events_that_were_lost_are_made_up_for(registry: Path) -> None:
    gone = bind(registry / "gone.sock")
    with watching(registry) as watched:
        gone.unlink()
        come = bind(registry / "vendor" / "come.sock")
        watched.sockets.overflow()  # before the event loop had a turn to see any event
        watched.sockets.act()
        assert list(watched.sockets.markers) == [str(come)]


@asynchronous
async def test_the_directory_is_made(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        with watching(tmp_path / "made") as watched:
            assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o750
            await watched.caught_up(tmp_path / "made")
    finally:
        os.umask(umask)


@asynchronous
async def test_the_directory_may_be_a_link(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(registry)
    with watching(tmp_path / "link") as watched:
        bind(registry / "a.sock")
        await watched.appeared(tmp_path / "link" / "a.sock")


@asynchronous
async def test_a_directory_that_cannot_be_made_is_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file cannot be made: File exists"), watching(tmp_path / "file"):
        pass


@asynchronous
async def test_no_file_is_open_after_the_end(registry: Path) -> None:
    bind(registry / "a.sock")
    gone = bind(registry / "gone.sock")
    before = os.listdir("/proc/self/fd")
    with watching(registry) as watched:
        gone.unlink()
        await watched.until(lambda: watched.marker(gone) is None)
    assert os.listdir("/proc/self/fd") == before
