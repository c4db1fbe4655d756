import asyncio
import errno
import logging
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from asyncinotify import Event, Mask

from kubelet_plugin.discovery import Changes
from kubelet_plugin.discovery.inotify import Watches
from kubelet_plugin.discovery.patterns import expand, parse
from kubelet_plugin.errors import ConfigurationError
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import Bell, descriptors, inotify_watches, loop_has_read

if TYPE_CHECKING:
    from asyncinotify import Inotify


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    other.rename(path)


def readable(watches: Watches) -> bool:
    """Tell whether the kernel has an event for us."""
    assert watches._inotify
    return bool(select.select([watches._inotify.fd], [], [], 0)[0])


@pytest.mark.parametrize("pattern", ["crand0", "crand*", "crand?", "*[0-9]"])
@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        replace,
        lambda path: path.chmod(0o600),
        lambda path: path.rename(path.with_name("gone")),
        lambda path: os.chown(path, os.geteuid(), os.getegid()),
    ],
    ids=["unlinked", "replaced", "chmod", "moved away", "chown"],
)
def test_a_change_of_a_name_that_fits_wakes(pattern: str, change: Callable[[Path], object], tmp_path: Path) -> None:
    @asynchronous
    async def body() -> None:
        bell = Bell()
        (tmp_path / "crand0").touch()
        with Changes([str(tmp_path / pattern)], bell):
            change(tmp_path / "crand0")
            assert await bell.rang()

    body()


@asynchronous
async def test_a_new_name_that_fits_wakes(tmp_path: Path) -> None:
    bell = Bell()
    with Changes([str(tmp_path / "crand*")], bell):
        (tmp_path / "crand7").touch()
        assert await bell.rang()


@asynchronous
async def test_a_name_moved_in_wakes(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "dev").mkdir()
    (tmp_path / "new").touch()
    with Changes([str(tmp_path / "dev/crand0")], bell):
        (tmp_path / "new").rename(tmp_path / "dev/crand0")
        assert await bell.rang()


@asynchronous
async def test_unrelated_names_do_not_wake(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "crand0").touch()
    with Changes([str(tmp_path / "crand*"), str(tmp_path / "kvm")], bell):
        for name in ("rand0", "kvm2", ".crand0", "crAnd0"):
            (tmp_path / name).touch()
            (tmp_path / name).chmod(0o600)
            (tmp_path / name).unlink()
        assert not await bell.rang()


@asynchronous
async def test_what_happens_in_directories_that_only_lead_on_does_not_even_wake_the_process(tmp_path: Path) -> None:
    (tmp_path / "var/lib").mkdir(parents=True)
    loop = asyncio.get_running_loop()
    with Changes([str(tmp_path / "var/lib/kvm")], Bell()):
        (tmp_path / "var/other").touch()
        (tmp_path / "other").mkdir()
        assert not readable(Watches.of_loop(loop))
        (tmp_path / "var/lib/other").touch()
        assert readable(Watches.of_loop(loop))
        await loop_has_read()


@asynchronous
async def test_a_directory_that_leads_on_is_told_of_when_the_next_one_goes(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "var/lib").mkdir(parents=True)
    with Changes([str(tmp_path / "var/lib/kvm")], bell):
        shutil.rmtree(tmp_path / "var")
        assert await bell.rang()
        (tmp_path / "var").mkdir()
        assert await bell.rang()
        (tmp_path / "var/lib").mkdir()
        assert await bell.rang()
        (tmp_path / "var/lib/kvm").touch()
        assert await bell.rang()


@asynchronous
async def test_what_is_written_to_a_file_does_not_wake(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "crand0").touch()
    with Changes([str(tmp_path / "crand0")], bell):
        (tmp_path / "crand0").write_text("text")
        (tmp_path / "crand0").read_text()
        assert not await bell.rang()


@asynchronous
async def test_a_wildcard_fits_a_dot_file_only_where_it_says_so(tmp_path: Path) -> None:
    bell = Bell()
    with Changes([str(tmp_path / ".c*")], bell):
        (tmp_path / ".crand").touch()
        assert await bell.rang()


@asynchronous
async def test_many_events_wake_few_times(tmp_path: Path) -> None:
    bell = Bell()
    with Changes([str(tmp_path / "crand*")], bell):
        for number in range(100):
            (tmp_path / f"crand{number}").touch()
        await loop_has_read()
        assert bell.rings == 1


@asynchronous
async def test_parents_may_appear_one_after_another(tmp_path: Path) -> None:
    bell = Bell()
    with Changes([str(tmp_path / "a/b/c/node")], bell):
        for directory in ("a", "a/b", "a/b/c"):
            (tmp_path / directory).mkdir()
            assert await bell.rang(), directory
        (tmp_path / "a/b/unrelated").touch()
        assert not await bell.rang()
        (tmp_path / "a/b/c/node").touch()
        assert await bell.rang()


@asynchronous
async def test_parents_that_appear_all_at_once_are_watched_before_the_wake(tmp_path: Path) -> None:
    bell = Bell()
    with Changes([str(tmp_path / "a/b/c/node")], bell):
        (tmp_path / "a/b/c").mkdir(parents=True)
        assert await bell.rang()
        (tmp_path / "a/b/c/node").touch()
        assert await bell.rang()


@asynchronous
async def test_a_directory_deleted_and_recreated_is_watched_again(tmp_path: Path) -> None:
    bell = Bell()
    directory = tmp_path / "dev"
    directory.mkdir()
    with Changes([str(directory / "crand*")], bell):
        before = inotify_watches()
        for number in range(3):
            directory.rmdir()
            assert await bell.rang()
            directory.mkdir()
            assert await bell.rang()
            (directory / f"crand{number}").touch()
            assert await bell.rang()
            (directory / f"crand{number}").unlink()
            assert await bell.rang()
        assert inotify_watches() == before


@asynchronous
async def test_a_directory_deleted_and_recreated_in_one_go_is_watched_again(tmp_path: Path) -> None:
    bell = Bell()
    directory = tmp_path / "dev"
    directory.mkdir()
    with Changes([str(directory / "crand*")], bell):
        directory.rmdir()
        directory.mkdir()
        assert await bell.rang()
        (directory / "crand0").touch()
        assert await bell.rang()


@asynchronous
async def test_a_directory_replaced_by_rename_is_the_one_watched(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "dev").mkdir()
    (tmp_path / "new").mkdir()
    with Changes([str(tmp_path / "dev/crand*")], bell):
        (tmp_path / "dev").rename(tmp_path / "old")
        (tmp_path / "new").rename(tmp_path / "dev")
        assert await bell.rang()
        (tmp_path / "old/crand0").touch()
        assert not await bell.rang()
        (tmp_path / "dev/crand0").touch()
        assert await bell.rang()


@asynchronous
async def test_a_directory_replaced_two_levels_up_is_the_one_watched(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "var/dev").mkdir(parents=True)
    (tmp_path / "new/dev").mkdir(parents=True)
    with Changes([str(tmp_path / "var/dev/crand*")], bell):
        (tmp_path / "var").rename(tmp_path / "old")
        (tmp_path / "new").rename(tmp_path / "var")
        assert await bell.rang()
        (tmp_path / "var/dev/crand0").touch()
        assert await bell.rang()


@asynchronous
async def test_a_file_in_the_place_of_a_directory_gives_way_to_one(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "dev").touch()
    with Changes([str(tmp_path / "dev/crand0")], bell):
        (tmp_path / "dev").unlink()
        (tmp_path / "dev").mkdir()
        assert await bell.rang()
        (tmp_path / "dev/crand0").touch()
        assert await bell.rang()


@pytest.mark.parametrize("target", ["run", "./run/../run", "{}/run"])
def test_a_symlinked_directory_is_followed(target: str, tmp_path: Path) -> None:
    @asynchronous
    async def body() -> None:
        bell = Bell()
        (tmp_path / "run").mkdir()
        (tmp_path / "var").symlink_to(target.format(tmp_path))
        with Changes([str(tmp_path / "var/cdi/node")], bell):
            (tmp_path / "run/cdi").mkdir()
            assert await bell.rang()
            (tmp_path / "run/cdi/node").touch()
            assert await bell.rang()

    body()


@asynchronous
async def test_the_directory_behind_a_dangling_symlink_is_awaited(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "var").symlink_to("run/later")
    with Changes([str(tmp_path / "var/node")], bell):
        (tmp_path / "run").mkdir()
        assert await bell.rang()
        (tmp_path / "run/later").mkdir()
        assert await bell.rang()
        (tmp_path / "run/later/node").touch()
        assert await bell.rang()


@asynchronous
async def test_a_symlink_that_is_turned_elsewhere_is_followed_there(tmp_path: Path) -> None:
    bell = Bell()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "var").symlink_to("one")
    (tmp_path / "turned").symlink_to("two")
    with Changes([str(tmp_path / "var/node")], bell):
        (tmp_path / "turned").rename(tmp_path / "var")
        assert await bell.rang()
        (tmp_path / "one/node").touch()
        assert not await bell.rang()
        (tmp_path / "two/node").touch()
        assert await bell.rang()


@asynchronous
async def test_symlinks_in_a_circle_end(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with Changes([str(tmp_path / "a/node")], bell):
        (tmp_path / "b").unlink()
        (tmp_path / "b").mkdir()
        assert await bell.rang()
        (tmp_path / "b/node").touch()
        assert await bell.rang()


@asynchronous
async def test_a_directory_may_be_a_glob(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "bus1").mkdir()
    with Changes([str(tmp_path / "bus*/node?")], bell):
        (tmp_path / "bus1/node1").touch()
        assert await bell.rang()
        (tmp_path / "bus2").mkdir()
        assert await bell.rang()
        (tmp_path / "bus2/node1").touch()
        assert await bell.rang()
        (tmp_path / "train").mkdir()
        (tmp_path / "bus2/other").touch()
        assert not await bell.rang()


@asynchronous
async def test_two_on_one_directory_share_one_watch(tmp_path: Path) -> None:
    one, two = Bell(), Bell()
    with Changes([str(tmp_path / "crand*")], one):
        watches, open_ones = inotify_watches(), descriptors()
        with Changes([str(tmp_path / "crand*"), str(tmp_path / "kvm")], two):
            assert (inotify_watches(), descriptors()) == (watches, open_ones)
            (tmp_path / "crand0").touch()
            assert (await one.rang(), await two.rang()) == (True, True)
            (tmp_path / "kvm").touch()
            assert (await one.rang(), await two.rang()) == (False, True)
        (tmp_path / "crand1").touch()
        assert (await one.rang(), await two.rang()) == (True, False)


@asynchronous
async def test_one_directory_under_two_names_is_watched_once(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to("run")
    with Changes([str(tmp_path / "run/one")], Bell()):
        watches = inotify_watches()
        with Changes([str(tmp_path / "run/one"), str(tmp_path / "var/two")], bell):
            assert inotify_watches() == watches
            (tmp_path / "run/one").touch()
            assert await bell.rang()
            (tmp_path / "var/two").touch()
            assert await bell.rang()


@asynchronous
async def test_the_last_to_close_leaves_nothing_behind(tmp_path: Path) -> None:
    before = descriptors()
    one, two = (Changes([str(tmp_path / "crand*")], Bell()) for _ in range(2))
    assert descriptors() > before
    one.close()
    one.close()
    assert descriptors() > before
    two.close()
    assert descriptors() == before


@asynchronous
async def test_nothing_wakes_after_close(tmp_path: Path) -> None:
    bell, other = Bell(), Bell()
    with Changes([str(tmp_path / "crand*")], other):
        changes = Changes([str(tmp_path / "crand*")], bell)
        (tmp_path / "crand0").touch()
        changes.close()
        assert (await bell.rang(), await other.rang()) == (False, True)


@asynchronous
async def test_one_who_is_woken_may_close_another(tmp_path: Path) -> None:
    closed: list[str] = []

    def close(name: str, other: str) -> None:
        closed.append(name)
        both[other].close()

    both = {
        name: Changes([str(tmp_path / "crand*")], lambda name=name, other=other: close(name, other))  # type: ignore[misc]
        for name, other in (("one", "two"), ("two", "one"))
    }
    (tmp_path / "crand0").touch()
    await loop_has_read()
    assert len(closed) == 1
    both[closed[0]].close()


@asynchronous
async def test_an_overflow_wakes_everybody_and_finds_lost_directories(tmp_path: Path) -> None:
    one, two = Bell(), Bell()
    watches = Watches(asyncio.get_running_loop())
    overflow = Event(watch=None, mask=Mask.Q_OVERFLOW, cookie=0, name=None)
    with (
        Changes([str(tmp_path / "a/node")], one, watches=watches),
        Changes([str(tmp_path / "kvm")], two, watches=watches),
    ):
        woken = list(watches.handle(overflow))
        assert len(woken) == 2
        before = inotify_watches()
        (tmp_path / "a").mkdir()  # as if its event were among the lost
        for subscriber in woken:
            subscriber.act()
        assert inotify_watches() == before + 1
        assert (one.rings, two.rings) == (1, 1)
        await one.rang()
        (tmp_path / "a/node").touch()
        assert await one.rang()


@asynchronous
async def test_more_events_than_are_read_at_once_all_arrive(tmp_path: Path) -> None:
    woken = asyncio.Event()
    with Changes([str(tmp_path / "last")], woken.set):
        for number in range(1000):
            (tmp_path / str(number)).touch()
        (tmp_path / "last").touch()
        async with asyncio.timeout(10):
            await woken.wait()


def shuffle(root: Path, random: Random) -> None:
    """Do one thing to the files below a directory, such as may be done."""
    one, two = (
        root / random.choice(["a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/x1", "a/b/x2", "b/a/x1"]) for _ in "12"
    )
    steps: list[Callable[[], object]] = [
        one.mkdir,
        one.touch,
        one.unlink,
        lambda: one.chmod(random.choice([0o700, 0o750])),
        lambda: shutil.rmtree(one),
        lambda: one.rename(two),
        lambda: one.symlink_to(random.choice([str(two), two.name, "../b", "."])),
    ]
    with suppress(OSError):
        random.choice(steps)()


def state(root: Path, pattern: str) -> list[tuple[str, int, int]]:
    paths = sorted(expand(str(root), parse(pattern)))
    return [(path, os.lstat(path).st_ino, os.lstat(path).st_mode) for path in paths]


@pytest.mark.parametrize("pattern", ["/a/a/x1", "/a/*/x*", "/*/a/x?", "/a/b/a/x1"])
@pytest.mark.parametrize("seed", range(4))
def test_no_change_is_missed_whatever_happens(pattern: str, seed: int, tmp_path: Path) -> None:
    random, root = Random(seed), tmp_path / "with/room/above"  # for links that lead up
    root.mkdir(parents=True)

    @asynchronous
    async def body() -> None:
        bell = Bell()
        with Changes([pattern], bell, host_root=str(root)):
            before = state(root, pattern)
            for _ in range(200):
                for _ in range(random.choice([1, 1, 3])):
                    shuffle(root, random)
                rang, now = await bell.rang(), state(root, pattern)
                assert rang or now == before
                before = now

    body()


def unobtainable(number: int) -> "Callable[[], Inotify]":
    def fail() -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EMFILE, "fs.inotify.max_user_instances"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EPERM, "files cannot be watched: Operation not permitted"),
    ],
)
def test_without_inotify_it_says_so_once_and_goes_on(
    number: int, remedy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @asynchronous
    async def body() -> None:
        watches = Watches(asyncio.get_running_loop(), unobtainable(number))
        with Changes([str(tmp_path / "a/b/node")], Bell(), watches=watches) as changes:
            changes.refresh()

    with caplog.at_level(logging.WARNING, "kubelet_plugin.discovery"):
        body()
    (record,) = caplog.records
    assert remedy in record.getMessage()


class Sparing:
    """An inotify instance that grants a number of watches and no more."""

    def __init__(self, inotify: "Inotify", grant: int) -> None:
        self._inotify = inotify
        self.grant = grant

    def add_watch(self, path: str, mask: Mask) -> Any:
        if not self.grant:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.grant -= 1
        return self._inotify.add_watch(path, mask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inotify, name)


@asynchronous
async def test_watches_that_the_kernel_refuses_are_had_by_a_later_refresh(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from asyncinotify import Inotify

    bell = Bell()
    sparing: Any = Sparing(Inotify(sync_timeout=0), 1)
    watches = Watches(asyncio.get_running_loop(), lambda: sparing)
    with Changes([str(tmp_path / "node")], bell, watches=watches) as changes:
        (record,) = caplog.records
        assert "fs.inotify.max_user_watches" in record.getMessage()
        sparing.grant = 100
        changes.refresh()
        (tmp_path / "node").touch()
        assert await bell.rang()


@asynchronous
async def test_patterns_are_below_the_host_root(tmp_path: Path) -> None:
    bell = Bell()
    root = tmp_path / "[host]"
    (root / "dev").mkdir(parents=True)
    with Changes(["/dev/crand*"], bell, host_root=str(root)):
        (root / "dev/crand0").touch()
        assert await bell.rang()


@asynchronous
async def test_a_pattern_for_everything_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'/'"):
        Changes(["/"], Bell())


def test_asyncinotify_is_not_imported_before_something_is_watched() -> None:
    program = "import kubelet_plugin.discovery, sys; raise SystemExit('asyncinotify' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
