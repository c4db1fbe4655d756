import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kubelet_plugin.kubelet.clock import ManualClock
from kubelet_plugin.kubelet.manifests import PERIOD, ManifestDirectory, difference
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import Bell, descriptors, loop_has_read
from tests.unit.kubelet.pod_documents import manifest_text

NO_POD = "Object 'Kind' is missing in 'null'"


def put(path: Path, content: str) -> None:
    """Put a file there as one does who does it well: by renaming it into its place."""
    part = path.with_name(f".{path.name}")
    part.write_text(content)
    part.rename(path)


class Watched:
    """A directory that is followed, and what it calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.bell = Bell()
        self.directory = ManifestDirectory(str(path), node_name="node1", clock=self.clock, changed=self.bell)

    def names(self) -> list[str]:
        return sorted(pod.name for pod in self.directory.pods.values())

    async def changed(self) -> bool:
        return await self.bell.rang()

    async def after_a_full_look(self) -> "Watched":
        self.clock.advance(PERIOD)
        await loop_has_read()
        return self


@asynccontextmanager
async def watched(path: Path) -> AsyncIterator[Watched]:
    watched = Watched(path)
    run = asyncio.create_task(watched.directory.run())
    try:
        await loop_has_read()
        yield watched
    finally:
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    caplog.clear()
    return messages


# Following.


@asynchronous
async def test_the_pods_that_are_there_are_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(manifest_text("x"))
    async with watched(tmp_path) as it:
        assert it.names() == ["x-node1"]
        assert await it.changed()


@asynchronous
async def test_pods_go_by_their_uids(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(manifest_text("x"))
    async with watched(tmp_path) as it:
        assert it.directory.pods == {pod.uid: pod for pod in it.directory.pods.values()} != {}


@asynchronous
async def test_an_empty_directory_is_no_change(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        assert it.directory.pods == {}
        assert not await it.changed()


@pytest.mark.parametrize("way", [put, Path.write_text], ids=["renamed into place", "written in place"])
def test_a_new_file_adds_a_pod(way: Callable[[Path, str], object], tmp_path: Path) -> None:
    @asynchronous
    async def body() -> None:
        async with watched(tmp_path) as it:
            way(tmp_path / "x.json", manifest_text("x"))
            assert await it.changed()
            assert it.names() == ["x-node1"]

    body()


@pytest.mark.parametrize(
    "way",
    [Path.unlink, lambda path: path.rename(path.with_name(".x")), lambda path: path.rename(path.parents[1] / "gone")],
    ids=["removed", "given a dot", "moved away"],
)
def test_a_file_that_goes_removes_its_pod(way: Callable[[Path], object], tmp_path: Path) -> None:
    @asynchronous
    async def body() -> None:
        (tmp_path / "x.json").write_text(manifest_text("x"))
        async with watched(tmp_path) as it:
            await it.changed()
            way(tmp_path / "x.json")
            assert await it.changed()
            assert it.directory.pods == {}

    body()


@pytest.mark.parametrize("way", [put, Path.write_text], ids=["renamed into place", "written in place"])
def test_another_content_is_another_pod(way: Callable[[Path, str], object], tmp_path: Path) -> None:
    @asynchronous
    async def body() -> None:
        (tmp_path / "x.json").write_text(manifest_text("x"))
        async with watched(tmp_path) as it:
            await it.changed()
            before = it.directory.pods
            way(tmp_path / "x.json", manifest_text("x", "b"))
            assert await it.changed()
            removed, added = difference(before, it.directory.pods)
            assert ([pod.containers[0].name for pod in removed], [pod.containers[0].name for pod in added]) == (
                ["a"],
                ["b"],
            )

    body()


@asynchronous
async def test_the_same_content_again_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(manifest_text("x"))
    async with watched(tmp_path) as it:
        await it.changed()
        put(tmp_path / "x.json", manifest_text("x"))
        (tmp_path / "x.json").chmod(0o600)
        assert not await it.changed()


@asynchronous
async def test_a_file_whose_name_begins_with_a_dot_is_left_alone(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        put(tmp_path / ".x.json", manifest_text("x"))
        assert (await it.after_a_full_look()).names() == []
        assert not await it.changed()


@asynchronous
async def test_many_files_at_once_are_one_change(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        for number in range(20):
            put(tmp_path / f"{number}.json", manifest_text(f"x{number}"))
        await loop_has_read()
        assert (len(it.directory.pods), it.bell.rings) == (20, 1)


@asynchronous
async def test_a_file_that_becomes_malformed_keeps_its_pod_until_the_next_full_look(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(manifest_text("x"))
    async with watched(tmp_path) as it:
        await it.changed()
        put(tmp_path / "x.json", "")
        assert not await it.changed()
        await it.after_a_full_look()
        assert it.directory.pods == {}
        assert await it.changed()


@asynchronous
async def test_a_file_that_names_another_pod_keeps_the_former_until_the_next_full_look(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(manifest_text("x"))
    async with watched(tmp_path) as it:
        put(tmp_path / "file", manifest_text("y"))
        await loop_has_read()
        assert it.names() == ["x-node1", "y-node1"]
        assert (await it.after_a_full_look()).names() == ["y-node1"]


@asynchronous
async def test_a_malformed_file_that_is_mended_makes_its_pod(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("")
    async with watched(tmp_path) as it:
        put(tmp_path / "x.json", manifest_text("x"))
        assert await it.changed()
        assert it.names() == ["x-node1"]


@asynchronous
async def test_of_two_files_with_one_pods_name_there_is_one_pod(tmp_path: Path) -> None:
    (tmp_path / "1").write_text(manifest_text("x", "first"))
    (tmp_path / "2").write_text(manifest_text("x", "second"))
    async with watched(tmp_path) as it:
        assert [pod.containers[0].name for pod in it.directory.pods.values()] == ["second"]
        (tmp_path / "2").unlink()
        await it.after_a_full_look()
        assert [pod.containers[0].name for pod in it.directory.pods.values()] == ["first"]


@asynchronous
async def test_a_pod_carries_when_it_was_first_seen(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        it.clock.advance(1)
        put(tmp_path / "x.json", manifest_text("x"))
        await loop_has_read()
        (pod,) = (await it.after_a_full_look()).directory.pods.values()
        assert pod.document["metadata"]["annotations"]["kubernetes.io/config.seen"] == "2023-11-14T22:13:21Z"


# The directory itself.


@asynchronous
async def test_a_missing_directory_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "etc" / "manifests"
    async with watched(path) as it:
        await it.after_a_full_look()
        assert errors(caplog) == [f'"Unable to read config path" err="path does not exist, ignoring" path="{path}"']
        path.mkdir(parents=True)
        await loop_has_read()
        put(path / "x.json", manifest_text("x"))
        assert await it.changed()
        assert it.names() == ["x-node1"]


@asynchronous
async def test_a_directory_that_goes_takes_its_pods_along_and_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "manifests"
    path.mkdir()
    (path / "x.json").write_text(manifest_text("x"))
    async with watched(path) as it:
        await it.changed()
        shutil.rmtree(path)
        assert await it.changed()
        assert it.directory.pods == {}
        path.mkdir()
        (path / "y.json").write_text(manifest_text("y"))
        await loop_has_read()
        assert it.names() == ["y-node1"]


@asynchronous
async def test_a_link_to_another_directory_shows_that_ones_pods(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(manifest_text(name))
    (tmp_path / "link").symlink_to("x")
    async with watched(tmp_path / "link") as it:
        assert it.names() == ["x-node1"]
        (tmp_path / "new").symlink_to("y")
        (tmp_path / "new").rename(tmp_path / "link")
        await loop_has_read()
        assert it.names() == ["y-node1"]
        put(tmp_path / "y" / "z.json", manifest_text("z"))
        await loop_has_read()
        assert it.names() == ["y-node1", "z-node1"]


@asynchronous
async def test_a_directorys_name_means_just_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "m[1]"
    async with watched(path) as it:
        path.mkdir()
        await loop_has_read()
        put(path / "x.json", manifest_text("x"))
        await loop_has_read()
        assert it.names() == ["x-node1"]


@asynchronous
async def test_a_directory_that_is_moved_away_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "manifests"
    path.mkdir()
    (path / "x.json").write_text(manifest_text("x"))
    async with watched(path) as it:
        for _ in range(2):
            path.rename(tmp_path / "elsewhere")
            await loop_has_read()
            assert it.names() == []
            assert errors(caplog) == [f'"Unable to read config path" err="path does not exist, ignoring" path="{path}"']
            put(tmp_path / "elsewhere/y.json", manifest_text("y"))
            assert it.names() == []
            (tmp_path / "elsewhere").rename(path)
            await loop_has_read()
            assert it.names() == ["x-node1", "y-node1"]


@asynchronous
async def test_a_file_in_the_directorys_place_is_told_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    async with watched(tmp_path / "file") as it:
        await it.after_a_full_look()
        assert errors(caplog) == [
            f'"Unable to read config path" err="open {tmp_path}/file: not a directory" path="{tmp_path}/file"'
        ]
        assert not await it.changed()


@asynchronous
async def test_lost_events_make_a_full_look(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        (tmp_path / "x.json").write_text(manifest_text("x"))
        it.directory.overflow()
        it.directory.act()
        assert it.names() == ["x-node1"]


@asynchronous
async def test_what_no_event_tells_the_next_full_look_finds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(manifest_text("x"))
    async with watched(tmp_path) as it:
        with (tmp_path / "file").open("w") as file:
            file.write(manifest_text("y"))
            file.flush()
            await loop_has_read()
            assert it.names() == ["x-node1"]
            assert (await it.after_a_full_look()).names() == ["y-node1"]


@asynchronous
async def test_nothing_is_left_open_at_the_end(tmp_path: Path) -> None:
    before = descriptors()
    async with watched(tmp_path):
        assert descriptors() > before
    assert descriptors() == before


# What is told.


@asynchronous
async def test_a_malformed_file_that_is_there_at_first_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad").write_text("")
    async with watched(tmp_path) as it:
        await it.after_a_full_look()
        reason = f"{tmp_path}/bad: couldn't parse as pod({NO_POD}), please check config file"
        assert errors(caplog) == [f'"Could not process manifest file" err="{reason}" path="{tmp_path}/bad"']


@asynchronous
async def test_a_file_that_becomes_malformed_is_told_once_for_each_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(tmp_path) as it:
        put(tmp_path / "bad", "")
        await loop_has_read()
        await it.after_a_full_look()
        reason = f"{tmp_path}/bad: couldn't parse as pod({NO_POD}), please check config file"
        line = json.dumps(f'can\'t process config file "{tmp_path}/bad": {reason}')
        assert errors(caplog) == [f'"Unable to process watch event" err={line}']
        put(tmp_path / "bad", "")
        await loop_has_read()
        assert errors(caplog) == []
        put(tmp_path / "bad", "# nothing yet\n")
        await loop_has_read()
        assert errors(caplog) == [f'"Unable to process watch event" err={line}']


@asynchronous
async def test_a_file_that_comes_and_goes_at_once_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watched(tmp_path):
        put(tmp_path / "bad", "")
        (tmp_path / "bad").unlink()
        await loop_has_read()
        assert errors(caplog) == []
