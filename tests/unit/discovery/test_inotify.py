import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kubelet_plugin.discovery.inotify import Watches
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import loop_has_read

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
