"""Directories that are moved while they are watched: inotify watches what they are, not where."""

import asyncio
from pathlib import Path

from kubelet_plugin.discovery import Changes
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import Bell


@asynchronous
async def test_a_link_that_comes_into_a_directory_that_was_moved_is_followed(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "bus1").mkdir()
    (tmp_path / "node").touch()
    with Changes([f"{tmp_path}/bus*/x"], bell):
        (tmp_path / "bus1").rename(tmp_path / "bus2")
        assert await bell.rang()
        (tmp_path / "bus2/x").symlink_to("../node")
        assert await bell.rang()
        (tmp_path / "node").chmod(0o600)
        assert await bell.rang()


@asynchronous
async def test_a_directory_that_was_moved_is_no_reason_to_look_again_and_again(tmp_path: Path) -> None:
    bell = Bell()
    (tmp_path / "bus1").mkdir()
    with Changes([f"{tmp_path}/bus*/x"], bell) as changes:
        (tmp_path / "bus1").rename(tmp_path / "bus2")
        await asyncio.sleep(0)
        assert await bell.rang()
        assert not changes.recheck()
