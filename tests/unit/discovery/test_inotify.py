import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubelet_plugin.discovery import Changes
from kubelet_plugin.discovery.inotify import Watches
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import inotify_watches, loop_has_read

if TYPE_CHECKING:
    from asyncinotify import Watch


class Listener:
    """Keeps the names it was told."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def notice(self, watch: "Watch", name: str) -> bool:
        self.names.append(name)
        return True

    def act(self) -> None:
        pass

    def overflow(self) -> None:
        pass


@contextmanager
def listening(directory: Path, *, contents_too: bool) -> Iterator[Listener]:
    watches, listener = Watches.of_loop(asyncio.get_running_loop()), Listener()
    watches.attach(listener)
    try:
        assert watches.add(str(directory), listener, contents_too=contents_too)
        yield listener
    finally:
        watches.detach(listener)


@asynchronous
async def test_a_file_that_was_written_is_told_where_contents_are_watched(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with listening(tmp_path, contents_too=True) as listener:
        with (tmp_path / "file").open("w") as file:
            file.write("text")
            file.flush()
            await loop_has_read()
            assert listener.names == []
        await loop_has_read()
        assert listener.names == ["file"]


@asynchronous
async def test_a_file_that_was_only_read_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with listening(tmp_path, contents_too=True) as listener:
        (tmp_path / "file").read_text()
        await loop_has_read()
        assert listener.names == []


@asynchronous
async def test_a_file_that_was_written_is_not_told_where_names_are_watched(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with listening(tmp_path, contents_too=False) as listener:
        (tmp_path / "file").write_text("text")
        await loop_has_read()
        assert listener.names == []


# Who is told of which name.


@contextmanager
def told(directory: Path, *narrowed: tuple[list[str], list[str]] | None) -> Iterator[list[Listener]]:
    """Let some listen to a directory, each narrowed to names and prefixes, or not at all."""
    watches = Watches.of_loop(asyncio.get_running_loop())
    listeners = [Listener() for _ in narrowed]
    for listener, these in zip(listeners, narrowed, strict=True):
        watches.attach(listener)
        watch = watches.add(str(directory), listener)
        if watch and these:
            watches.narrow(watch, listener, names=these[0], prefixes=these[1])
    try:
        yield listeners
    finally:
        for listener in listeners:
            watches.detach(listener)


@asynchronous
async def test_each_is_told_of_the_names_and_the_beginnings_it_asked_for(tmp_path: Path) -> None:
    narrowed: list[tuple[list[str], list[str]] | None] = [
        (["a"], []),
        (["a", "b"], ["tty"]),
        ([], ["tty", "ttyUSB"]),
        ([], [""]),
        ([], []),
        None,
    ]
    names = ["a", "ab", "b", "tty", "ttyUSB0", "tt"]
    with told(tmp_path, *narrowed) as listeners:
        for name in names:
            (tmp_path / name).mkdir()  # which is one event
        await loop_has_read()
        assert [listener.names for listener in listeners] == [
            ["a"],
            ["a", "b", "tty", "ttyUSB0"],
            ["tty", "ttyUSB0"],
            names,
            [],
            names,
        ]


@asynchronous
async def test_of_the_directory_itself_all_are_told(tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    directory.mkdir()
    with told(directory, (["a"], []), ([], ["b"]), ([], []), None) as listeners:
        directory.rmdir()
        await loop_has_read()
        assert all(set(listener.names) == {""} for listener in listeners)


@asynchronous
async def test_one_who_left_is_told_no_more_and_the_others_are(tmp_path: Path) -> None:
    with told(tmp_path, (["a"], []), (["a"], []), (["b"], [])) as listeners:
        (tmp_path / "a").mkdir()
        await loop_has_read()
        Watches.of_loop(asyncio.get_running_loop()).detach(listeners[0])
        (tmp_path / "a").rmdir()
        await loop_has_read()
        assert [len(listener.names) for listener in listeners] == [1, 2, 0]


@asynchronous
async def test_one_who_is_narrowed_anew_is_told_of_the_new_names_alone(tmp_path: Path) -> None:
    with told(tmp_path, (["a"], []), (["b"], [])) as (listener, _):
        (tmp_path / "a").mkdir()
        await loop_has_read()
        watches = Watches.of_loop(asyncio.get_running_loop())
        watch = watches.add(str(tmp_path), listener)
        assert watch
        watches.narrow(watch, listener, names=["c"])
        (tmp_path / "c").mkdir()
        (tmp_path / "a").rmdir()
        await loop_has_read()
        assert listener.names == ["a", "c"]


@asynchronous
async def test_one_who_watches_anew_stays_narrowed(tmp_path: Path) -> None:
    with told(tmp_path, (["a"], []), None) as (listener, _):
        Watches.of_loop(asyncio.get_running_loop()).add(str(tmp_path), listener)
        (tmp_path / "b").mkdir()
        await loop_has_read()
        assert listener.names == []


@asynchronous
async def test_a_directory_that_is_gone_is_watched_no_longer(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    watches, listener = Watches.of_loop(asyncio.get_running_loop()), Listener()
    watches.attach(listener)
    watch = watches.add(str(tmp_path / "dev"), listener)
    assert watch
    assert watches.path(watch) == str(tmp_path / "dev")
    (tmp_path / "dev").rmdir()
    await loop_has_read()
    assert watches.path(watch) == ""
    watches.detach(listener)


@pytest.mark.parametrize("count", [255, 256, 257, 270, 300])
def test_the_last_of_many_events_arrives_without_another(count: int, tmp_path: Path) -> None:
    @asynchronous
    async def body() -> None:
        with told(tmp_path, None) as (listener,):
            for number in range(count):
                (tmp_path / str(number)).mkdir()
            await loop_has_read()
            assert listener.names == [str(number) for number in range(count)]

    body()


@asynchronous
async def test_a_name_that_is_no_utf_8_is_told_as_the_file_system_names_it(tmp_path: Path) -> None:
    name = os.fsdecode(b"tty\xff")
    with told(tmp_path, ([name], []), ([], ["tty"]), (["tty"], [])) as listeners:
        (tmp_path / name).mkdir()
        await loop_has_read()
        assert [listener.names for listener in listeners] == [[name], [name], []]


@asynchronous
async def test_a_directory_that_comes_and_goes_for_long_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "bus1"
    watches = Watches(asyncio.get_running_loop())
    with Changes([f"{tmp_path}/bus*/node"], lambda: None, watches=watches):
        before = inotify_watches(), len(watches._subscribers), len(watches._inotify._watches)  # type: ignore[union-attr]
        for _ in range(20):
            directory.mkdir()
            await loop_has_read()
            (directory / "node").touch()
            (directory / "node").unlink()
            directory.rmdir()
            await loop_has_read()
        held = [len(each) for each in watches._held.values()]
        after = inotify_watches(), len(watches._subscribers), len(watches._inotify._watches)  # type: ignore[union-attr]
        assert (after, held) == (before, [before[1]])
