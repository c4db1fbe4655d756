import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.kubelet.manager import NodeResource
from tests.asynchronous import asynchronous
from tests.unit.kubelet.foreign_plugin import THING, ForeignPlugin, PluginError
from tests.unit.kubelet.node import Node, node

TEXT = "RegisterPlugin error -- plugin {} failed with err: "
VALIDATION, REGISTRATION = TEXT.format("validation"), TEXT.format("registration")


class Registry:
    """A node whose kubelet watches a directory for plugins."""

    def __init__(self, one: Node, directory: Path) -> None:
        self.node = one
        self._directory = directory

    async def announced(self, plugin: ForeignPlugin) -> tuple[bool, str]:
        """Let a plugin's socket appear; return what the plugin is told of it."""
        plugin.socket.rename(self.path(plugin))
        await self.node.asked(plugin, "NotifyRegistrationStatus")
        ((registered, error),) = plugin.asked("NotifyRegistrationStatus")
        return registered, error

    async def plugin(self, *devices: Any) -> ForeignPlugin:
        """A plugin that was registered by its socket, and whose list the kubelet has taken in."""
        plugin = await self.node.serving(*devices)
        assert await self.announced(plugin) == (True, "")
        await self.node.listed(plugin)
        return plugin

    def path(self, plugin: ForeignPlugin) -> Path:
        return self._directory / plugin.socket.name


@contextlib.asynccontextmanager
async def registry(tmp_path: Path, version: str = "1.36") -> AsyncIterator[Registry]:
    directory = tmp_path / "registry"
    async with node(tmp_path / "plugins", version, plugins_registry=str(directory)) as one:
        yield Registry(one, directory)


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.31", "1.36"])
async def test_a_plugin_can_announce_itself_by_its_socket(tmp_path: Path, version: str) -> None:
    async with registry(tmp_path, version) as one:
        await one.plugin("a")
        assert one.node.manager.resources() == {THING: NodeResource(1, 1)}


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_such_a_plugin_is_asked_for_its_options(tmp_path: Path, version: str) -> None:
    async with registry(tmp_path, version) as one:
        plugin = await one.plugin("a")
        assert plugin.asked("GetDevicePluginOptions") == [()]


@asynchronous
async def test_such_a_plugin_is_not_counted(tmp_path: Path) -> None:
    async with registry(tmp_path) as one:
        await one.plugin("a")
        assert one.node.manager.metrics() == ""


@asynchronous
async def test_a_plugin_without_the_version_is_refused(tmp_path: Path) -> None:
    async with registry(tmp_path) as one:
        plugin = await one.node.serving("a")
        plugin.versions = ["v1", "v2"]
        text = f"{VALIDATION}manager version, v1beta1, is not among plugin supported versions [v1 v2]"
        assert await one.announced(plugin) == (False, text)


@asynchronous
async def test_a_plugin_without_a_proper_name_is_refused(tmp_path: Path) -> None:
    async with registry(tmp_path) as one:
        plugin = await one.node.serving("a", resource="bad")
        text = f'{VALIDATION}invalid name of device plugin socket: the ResourceName "bad" is invalid'
        assert await one.announced(plugin) == (False, text)


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_a_plugin_that_does_not_tell_its_options_is_told_so(tmp_path: Path, version: str) -> None:
    async with registry(tmp_path, version) as one:
        plugin = await one.node.serving("a")

        def fail() -> None:
            raise PluginError("no options here")

        plugin.on_options = fail
        text = f"{REGISTRATION}failed to get device plugin options: rpc error: code = Unknown desc = no options here"
        assert await one.announced(plugin) == (False, text)


@asynchronous
@pytest.mark.parametrize(
    ("version", "beginning"),
    [("1.20", "failed to dial device plugin with socketPath {}: "), ("1.31", ""), ("1.36", "")],
)
async def test_a_plugin_whose_endpoint_nobody_answers_is_told_so(tmp_path: Path, version: str, beginning: str) -> None:
    async with registry(tmp_path, version) as one:
        plugin = await one.node.serving("a")
        plugin.endpoint = str(tmp_path / "nowhere.sock")
        plugin.socket.rename(one.path(plugin))
        await one.node.until(lambda: one.node.clock.sleepers == 2)
        one.node.clock.advance(10)
        await one.node.asked(plugin, "NotifyRegistrationStatus")
        text = f"{beginning.format(plugin.endpoint)}failed to dial device plugin: context deadline exceeded"
        assert plugin.asked("NotifyRegistrationStatus") == [(False, REGISTRATION + text)]


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_a_plugin_whose_socket_is_removed_is_lost(tmp_path: Path, version: str) -> None:
    async with registry(tmp_path, version) as one:
        plugin = await one.plugin("a")
        one.path(plugin).unlink()
        await one.node.has(1, 0)
        await one.node.asked(plugin, "ListAndWatch ended")


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_when_a_socket_is_removed_whoever_has_the_resource_is_lost(tmp_path: Path, version: str) -> None:
    async with registry(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.node.plugin("b", "c")
        one.path(old).unlink()
        await one.node.has(2, 0)
        await one.node.asked(new, "ListAndWatch ended")
        assert old.asked("ListAndWatch ended") == []


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_a_loss_by_a_removed_socket_is_logged_once(tmp_path: Path, version: str) -> None:
    async with registry(tmp_path, version) as one:
        plugin = await one.plugin("a")
        one.path(plugin).unlink()
        await one.node.until(lambda: one.node.ends == 1)
        await one.node.logged("Mark all resources Unhealthy for resource", 1)
        await one.node.logged("Endpoint became unhealthy", 1)


@asynchronous
async def test_a_plugin_whose_socket_is_removed_is_forgotten_after_five_minutes(tmp_path: Path) -> None:
    async with registry(tmp_path) as one:
        plugin = await one.plugin("a")
        one.path(plugin).unlink()
        await one.node.has(1, 0)
        one.node.clock.advance(300.1)
        assert one.node.manager.resources() == {THING: NodeResource(0, 0)}


@asynchronous
async def test_a_restarted_kubelet_finds_the_plugins_that_are_there(tmp_path: Path) -> None:
    async with registry(tmp_path) as one:
        await one.plugin("a")
        await one.node.manager.restart()
        await one.node.has(1, 1)
