import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncinotify import Inotify, Mask, Watch

from kubelet_plugin import cdi
from tests.asynchronous import asynchronous

NAME = "vendor.com/class=d"
SPEC = cdi.Spec("vendor.com/class", (cdi.Device("d", cdi.ContainerEdits(env=("A=1",))),))
OTHER = cdi.Spec("vendor.com/class", (cdi.Device("e", cdi.ContainerEdits(env=("A=1",))),))

Changes = AsyncIterator[frozenset[str]]


async def following(changes: Changes) -> frozenset[str]:
    async with asyncio.timeout(10):
        return await anext(changes)


async def begun(changes: Changes) -> "asyncio.Task[frozenset[str]]":
    """The next changes; what happens from now on is among them."""
    task = asyncio.ensure_future(following(changes))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


@asynchronous
async def test_what_was_there_before_the_watch_is_told_if_the_registry_does_not_know_it(tmp_path: Path) -> None:
    registry = cdi.Registry([str(tmp_path)])
    path = cdi.write(SPEC, str(tmp_path))
    assert await following(registry.watch()) == {path}
    assert registry.devices() == [NAME]


@asynchronous
async def test_a_file_that_comes_changes_and_goes_is_told_each_time(tmp_path: Path) -> None:
    path = cdi.spec_path(SPEC.kind, str(tmp_path))
    registry = cdi.Registry([str(tmp_path)])
    changes = registry.watch()
    found = []
    for change in (
        lambda: cdi.write(SPEC, str(tmp_path)),
        lambda: cdi.write(OTHER, str(tmp_path)),
        lambda: os.unlink(path),
    ):
        task = await begun(changes)
        change()
        assert await task == {path}
        found.append(registry.devices())
    assert found == [[NAME], ["vendor.com/class=e"], []]


@asynchronous
async def test_a_directory_that_does_not_exist_is_waited_for(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "run" / "cdi"
    registry = cdi.Registry([str(directory)])
    task = await begun(registry.watch())
    path = cdi.write(SPEC, str(directory))
    assert await task == {path}


@asynchronous
async def test_a_directory_that_is_made_anew_is_watched_again(tmp_path: Path) -> None:
    path = cdi.write(SPEC, str(tmp_path / "cdi"))
    registry = cdi.Registry([str(tmp_path / "cdi")])
    changes = registry.watch()
    task = await begun(changes)
    (tmp_path / "cdi").rename(tmp_path / "gone")
    assert await task == {path}
    task = await begun(changes)
    cdi.write(SPEC, str(tmp_path / "cdi"))
    assert await task == {path}


@asynchronous
async def test_a_conflict_changes_both_files(tmp_path: Path) -> None:
    path = cdi.write(SPEC, str(tmp_path))
    registry = cdi.Registry([str(tmp_path)])
    task = await begun(registry.watch())
    other = cdi.write(SPEC, str(tmp_path), id="pod1")
    assert await task == {path, other}


@asynchronous
async def test_what_is_no_spec_file_is_not_told(tmp_path: Path) -> None:
    registry = cdi.Registry([str(tmp_path)])
    task = await begun(registry.watch())
    (tmp_path / "README").write_text("no spec")
    path = cdi.write(SPEC, str(tmp_path))
    assert await task == {path}


@asynchronous
async def test_the_target_of_a_link_is_looked_at_after_the_interval(tmp_path: Path) -> None:
    target = Path(cdi.write(SPEC, str(tmp_path / "elsewhere")))
    (tmp_path / "cdi").mkdir()
    link = tmp_path / "cdi" / "a.json"
    link.symlink_to(target)
    registry = cdi.Registry([str(tmp_path / "cdi")])
    task = await begun(registry.watch(interval=0.01))
    cdi.write(OTHER, str(tmp_path / "elsewhere"))
    assert await task == {str(link)}


@asynchronous
async def test_two_watches_of_one_registry_both_tell(tmp_path: Path) -> None:
    registry = cdi.Registry([str(tmp_path)])
    tasks = [await begun(registry.watch()) for _ in range(2)]
    path = cdi.write(SPEC, str(tmp_path))
    assert await asyncio.gather(*tasks) == [{path}, {path}]


@asynchronous
async def test_a_system_without_another_inotify_instance_is_an_error_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("asyncinotify.Inotify", refuse)
    with pytest.raises(cdi.Error, match="cannot watch CDI directories: Too many open files; raise fs"):
        await following(cdi.Registry([str(tmp_path)]).watch())


@asynchronous
async def test_a_directory_that_must_not_be_watched_is_looked_at_after_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "cdi"
    directory.mkdir()
    add_watch = Inotify.add_watch

    def refuse(self: Inotify, path: str, mask: Mask) -> Watch:
        if path == str(directory):
            raise PermissionError(errno.EACCES, "Permission denied")
        return add_watch(self, path, mask)

    monkeypatch.setattr(Inotify, "add_watch", refuse)
    task = await begun(cdi.Registry([str(directory)]).watch(interval=0.01))
    path = cdi.write(SPEC, str(directory))
    assert await task == {path}


@asynchronous
async def test_a_directory_that_comes_while_it_is_looked_for_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "cdi"
    add_watch = Inotify.add_watch

    def make_it_before(self: Inotify, path: str, mask: Mask) -> Watch:
        if path == str(tmp_path) and not directory.exists():
            directory.mkdir()
        return add_watch(self, path, mask)

    monkeypatch.setattr(Inotify, "add_watch", make_it_before)
    task = await begun(cdi.Registry([str(directory)]).watch())
    path = cdi.write(SPEC, str(directory))
    assert await task == {path}


@asynchronous
async def test_a_watch_that_is_closed_leaves_no_descriptor(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    registry = cdi.Registry([str(tmp_path)])
    before = descriptors()
    changes = registry.watch()
    task = await begun(changes)
    assert descriptors() > before
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await changes.aclose()  # type: ignore[attr-defined]
    assert descriptors() == before
