"""What a configured plugin observes on a fake node."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kubelet_plugin.config import load, schema
from kubelet_plugin.plugins.configured import ConfiguredPlugin, Observed
from kubelet_plugin.runtime import Device
from tests.fake_node import FakeNode

LATE = 20.0


def resource(place: Path, text: str) -> schema.Resource:
    """The one resource of a file with this text under `resources`; in short form, the fields of it."""
    file = place / "resources.yaml"
    lines = "\n".join("    " + line for line in text.strip("\n").splitlines())
    file.write_text(f"version: v1\nresources:\n  - name: thing\n{lines}\n")
    (loaded,) = load([str(file)], domain="example.com")
    return loaded


class Observation:
    """The lists of a plugin, one after the other."""

    def __init__(self, plugin: ConfiguredPlugin, lists: AsyncIterator[Sequence[Observed]]) -> None:
        self.plugin = plugin
        self._lists = lists

    async def next(self) -> dict[str, Device]:
        """The next list."""
        async with asyncio.timeout(LATE):
            return {each.device.id: each.device for each in await anext(self._lists)}

    async def until(self, fits: Callable[[dict[str, Device]], bool]) -> dict[str, Device]:
        """The first list that fits."""
        last: dict[str, Device] = {}
        try:
            while not fits(last := await self.next()):
                pass
        except TimeoutError:
            pytest.fail(f"at last there was {last}")
        return last


@asynccontextmanager
async def observed(node: FakeNode, text: str) -> AsyncIterator[Observation]:
    """A plugin of one resource, observed."""
    plugin = ConfiguredPlugin(resource(node.place, text), roots=node.roots)
    lists = plugin.observe()
    try:
        yield Observation(plugin, lists)
    finally:
        await lists.aclose()


async def look(node: FakeNode, text: str) -> dict[str, Device]:
    """What there is now."""
    async with observed(node, text) as observation:
        return await observation.next()
