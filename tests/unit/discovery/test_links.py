"""Changes of what symbolic links lead to, and how little that costs."""

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from kubelet_plugin.discovery import Changes, Roots
from kubelet_plugin.discovery.nodes import paths_of
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import Bell, inotify_watches, loop_has_read

if TYPE_CHECKING:
    from collections.abc import Callable

BY_ID = "dev/serial/by-id"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with an adapter and udev's link to it."""
    (tmp_path / BY_ID).mkdir(parents=True)
    for name in ("ttyUSB0", "ttyUSB1"):
        (tmp_path / "dev" / name).touch()
    (tmp_path / BY_ID / "x").symlink_to("../../ttyUSB0")
    return tmp_path


def turn(link: Path, target: str) -> None:
    """Point a link elsewhere, as udev does."""
    new = link.with_name(f".{link.name}")
    new.symlink_to(target)
    new.rename(link)


@pytest.mark.parametrize("pattern", ["/dev/serial/by-id/x", "/dev/serial/by-id/*", "/dev/*/by-id/*"])
def test_what_a_link_leads_to_wakes_when_it_goes_changes_and_comes(host: Path, pattern: str) -> None:
    @asynchronous
    async def body() -> None:
        bell, node = Bell(), host / "dev/ttyUSB0"
        with Changes([pattern], bell, host_root=str(host)):
            node.chmod(0o600)
            assert await bell.rang()
            node.unlink()
            assert await bell.rang()
            node.touch()
            assert await bell.rang()

    body()


@pytest.mark.parametrize("pattern", ["/dev/serial/by-id/x", "/dev/serial/by-id/*"])
def test_a_link_that_is_turned_elsewhere_wakes_and_is_followed_there(host: Path, pattern: str) -> None:
    @asynchronous
    async def body() -> None:
        bell = Bell()
        with Changes([pattern], bell, host_root=str(host)):
            turn(host / BY_ID / "x", "../../ttyUSB1")
            assert await bell.rang()
            (host / "dev/ttyUSB1").chmod(0o600)
            assert await bell.rang()
            (host / "dev/ttyUSB0").chmod(0o600)
            assert not await bell.rang()

    body()


@asynchronous
async def test_a_link_that_comes_is_followed(host: Path) -> None:
    bell = Bell()
    with Changes(["/dev/serial/by-id/*"], bell, host_root=str(host)):
        (host / BY_ID / "y").symlink_to("../../ttyUSB1")
        assert await bell.rang()
        (host / "dev/ttyUSB1").unlink()
        assert await bell.rang()


@asynchronous
async def test_the_directory_that_a_link_led_into_is_watched_no_longer_when_it_leads_elsewhere(host: Path) -> None:
    (host / "else").mkdir()
    turn(host / BY_ID / "x", "/else/node")
    with Changes(["/dev/serial/by-id/none"], Bell(), host_root=str(host)):
        before = inotify_watches()
        with Changes(["/dev/serial/by-id/x"], Bell(), host_root=str(host)):
            assert inotify_watches() == before + 1
            turn(host / BY_ID / "x", "y")
            await loop_has_read()
            assert inotify_watches() == before


@asynchronous
async def test_a_link_that_goes_is_followed_no_longer(host: Path) -> None:
    bell = Bell()
    with Changes(["/dev/serial/by-id/*"], bell, host_root=str(host)):
        (host / BY_ID / "x").unlink()
        assert await bell.rang()
        (host / "dev/ttyUSB0").unlink()
        assert not await bell.rang()


@asynchronous
async def test_a_node_in_the_place_of_a_link_ends_the_following(host: Path) -> None:
    bell = Bell()
    with Changes(["/dev/serial/by-id/x"], bell, host_root=str(host)):
        (host / BY_ID / "x").unlink()
        (host / BY_ID / "x").touch()
        assert await bell.rang()
        (host / "dev/ttyUSB0").unlink()
        assert not await bell.rang()


@asynchronous
async def test_the_end_of_a_chain_of_links_and_each_of_them_wakes(host: Path) -> None:
    bell = Bell()
    (host / "dev/modem").symlink_to("serial/by-id/x")
    with Changes(["/dev/modem"], bell, host_root=str(host)):
        (host / "dev/ttyUSB0").chmod(0o600)
        assert await bell.rang()
        turn(host / BY_ID / "x", "../../ttyUSB1")
        assert await bell.rang()
        (host / "dev/ttyUSB1").chmod(0o600)
        assert await bell.rang()


@asynchronous
async def test_the_directory_that_a_dangling_link_leads_into_is_awaited(host: Path) -> None:
    bell = Bell()
    (host / "dev/modem").symlink_to("later/on/node")
    with Changes(["/dev/modem"], bell, host_root=str(host)):
        for step in ("later", "later/on"):
            (host / "dev" / step).mkdir()
            assert await bell.rang(), step
        (host / "dev/later/on/node").touch()
        assert await bell.rang()


@asynchronous
async def test_links_in_a_circle_end(host: Path) -> None:
    bell = Bell()
    for name, target in (("a", "b"), ("b", "a"), ("c", "c"), ("d", "/")):
        (host / "dev" / name).symlink_to(target)
    with Changes(["/dev/?"], bell, host_root=str(host)):
        turn(host / "dev/b", "ttyUSB1")
        assert await bell.rang()
        (host / "dev/ttyUSB1").unlink()
        assert await bell.rang()


@pytest.mark.parametrize("target", ["/dev/ttyUSB0", "../../../../../../dev/ttyUSB0"], ids=["absolute", "too far up"])
@pytest.mark.parametrize("place", ["dev/modem", "dev/by/modem"], ids=["at the end", "on the way"])
def test_links_lead_to_nothing_but_the_host(host: Path, target: str, place: str) -> None:
    @asynchronous
    async def body() -> None:
        bell = Bell()
        pattern = f"/{place}"
        if place == "dev/by/modem":
            (host / "dev/by").symlink_to(os.path.dirname(target))
            pattern = "/dev/by/ttyUSB0"
        else:
            (host / place).symlink_to(target)
        with Changes([pattern], bell, host_root=str(host)):
            (host / "dev/ttyUSB0").unlink()
            assert await bell.rang()

    body()


@asynchronous
async def test_the_host_s_root_may_be_behind_a_link(host: Path) -> None:
    bell = Bell()
    (host / "dev/modem").symlink_to("/dev/ttyUSB0")
    (host / "root").symlink_to(host)
    with Changes(["/dev/modem"], bell, host_root=str(host / "root")):
        (host / "dev/ttyUSB0").unlink()
        assert await bell.rang()


@asynchronous
async def test_links_into_one_directory_share_one_watch(host: Path) -> None:
    bell = Bell()
    with Changes(["/dev/*", "/dev/serial/by-id/x"], Bell(), host_root=str(host)):
        before = inotify_watches()
        for number in range(20):
            (host / BY_ID / f"y{number}").symlink_to(f"../../ttyUSB{number}")
        with Changes(["/dev/serial/by-id/*"], bell, host_root=str(host)):
            assert inotify_watches() == before
            (host / "dev/ttyUSB19").touch()
            assert await bell.rang()


def shuffle(roots: Roots, random: Random) -> None:
    """Do one thing to links and nodes, such as may be done; no link leads it out of the host's root, as root may write."""

    def some() -> Path:
        directory, _, name = random.choice(["/dev/a", "/dev/b", "/dev/s/a", "/dev/s/b", "/dev/s"]).rpartition("/")
        return Path(roots.real(roots.resolve(directory) or "/absent"), name)

    def chmod() -> None:
        if not one.is_symlink():
            one.chmod(random.choice([0o700, 0o750]))

    one, two = some(), some()
    targets = ["a", "../b", "/dev/a", "/dev/s/b", "s/a", "../../../b", "/dev/../dev/b"]
    steps: list[Callable[[], object]] = [
        lambda: one.touch(exist_ok=False),
        one.unlink,
        one.mkdir,
        one.rmdir,
        chmod,
        lambda: one.rename(two),
        lambda: one.symlink_to(random.choice(targets)),
        lambda: one.symlink_to(random.choice(targets)),
    ]
    with suppress(OSError):
        random.choice(steps)()


def state(roots: Roots, pattern: str) -> list[tuple[str, str, int, int]]:
    """What one who looks at the paths sees, links followed."""
    seen = []
    for path in paths_of([pattern], roots.host):
        if target := roots.resolve(path):
            status = os.stat(roots.real(target))
            seen.append((path, target, status.st_ino, status.st_mode))
    return seen


@pytest.mark.parametrize("pattern", ["/dev/a", "/dev/s/a", "/dev/?", "/dev/s/*", "/dev/*/a"])
@pytest.mark.parametrize("seed", range(4))
def test_no_change_behind_a_link_is_missed_whatever_happens(pattern: str, seed: int, tmp_path: Path) -> None:
    random, roots = Random(seed), Roots(str(tmp_path))
    (tmp_path / "dev").mkdir()

    @asynchronous
    async def body() -> None:
        bell = Bell()
        with Changes([pattern], bell, host_root=str(tmp_path)):
            before = state(roots, pattern)
            for _ in range(200):
                for _ in range(random.choice([1, 1, 3])):
                    shuffle(roots, random)
                rang, now = await bell.rang(), state(roots, pattern)
                assert rang or now == before
                before = now

    body()


# How little it costs.


class Asked(Changes):
    """Counts how often it is asked for its judgement."""

    times = 0

    def notice(self, watch: object, name: str) -> bool:
        Asked.times += 1
        return super().notice(watch, name)  # type: ignore[arg-type]


@asynchronous
async def test_of_hundreds_those_alone_are_asked_whose_names_are_like_it(tmp_path: Path) -> None:
    Asked.times = 0
    bells = [Bell() for _ in range(300)]
    with ExitStack() as stack:
        for number, bell in enumerate(bells):
            patterns = [str(tmp_path / f"fixed{number}"), str(tmp_path / f"glob{number}-*")]
            stack.enter_context(Asked(patterns, bell))
        for name in ("fixed7", "glob8-1", "other"):
            (tmp_path / name).touch()
        await asyncio.sleep(0)
        rang = [number for number, bell in enumerate(bells) if await bell.rang()]
    assert rang == [7, 8]
    assert Asked.times <= 4


PROGRAM = """
import asyncio, sys
from kubelet_plugin.discovery import Changes

listed = []
sys.addaudithook(lambda event, arguments: event in ("os.listdir", "os.scandir") and listed.append(arguments))

async def main():
    with Changes([sys.argv[1] + "/ttyUSB0", sys.argv[1] + "/serial/by-id/x"], lambda: None) as changes:
        listed.clear()
        changes.refresh()

asyncio.run(main())
print(listed)
"""


def test_paths_without_wildcards_are_watched_without_listing_a_directory(host: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(host / "dev")], check=True, capture_output=True, text=True
    )
    assert answer.stdout == "[]\n"
