import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet_plugin.kubelet.manager import NodeResource
from tests.asynchronous import asynchronous
from tests.unit.kubelet.foreign_plugin import THING, PluginError, v1beta1
from tests.unit.kubelet.node import Node, node

NO_ANSWER = "UNKNOWN: failed to dial device plugin: context deadline exceeded"

VERSIONS_THAT_LET_GO = ["1.35", "1.36"]
VERSIONS_THAT_GO_ON = ["1.31", "1.34"]


def registrations(one: Node) -> list[str]:
    return [
        line for line in one.manager.metrics().splitlines() if line.startswith("kubelet_device_plugin_registration")
    ]


@contextlib.contextmanager
def silent(path: Path) -> Iterator[socket.socket]:
    """A socket that listens and says nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


async def closed(connection: socket.socket) -> None:
    """Wait until the other side has closed."""
    while await asyncio.to_thread(connection.recv, 4096):
        pass


async def dialling(one: Node) -> None:
    """Wait until the kubelet waits between two tries."""
    await one.until(lambda: one.clock.sleepers == 2)


@asynchronous
async def test_a_plugin_is_asked_for_its_options_inside_register(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving()
        await one.register(plugin)
        assert plugin.calls[0] == ("GetDevicePluginOptions",)


@asynchronous
async def test_kubelet_1_20_never_asks_for_the_options(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        plugin = await one.plugin("a")
        await one.running("p", 1)
        assert [call[0] for call in plugin.calls] == ["ListAndWatch", "Allocate"]


@asynchronous
@pytest.mark.parametrize(("version", "calls"), [("1.20", 1), ("1.31", 0), ("1.36", 0)])
async def test_only_kubelet_1_20_heeds_the_options_in_register(tmp_path: Path, version: str, calls: int) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.serving("a")
        plugin.options_in_register = v1beta1.DevicePluginOptions(pre_start_required=True)
        await one.register(plugin)
        await one.listed(plugin)
        await one.running("p", 1)
        assert len(plugin.asked("PreStartContainer")) == calls


@asynchronous
async def test_the_options_that_a_plugin_returns_count(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.plugin("a", pre_start=True)
        await one.running("p", 1)
        assert plugin.asked("PreStartContainer") == [(["a"],)]


@asynchronous
@pytest.mark.parametrize("version", ["v1beta2", "v1", "", "V1BETA1"])
async def test_another_version_is_refused(tmp_path: Path, version: str) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving()
        text = f'requested API version "{version}" is not supported by kubelet. Supported version is ["v1beta1"]'
        assert await one.register(plugin, version=version) == f"UNKNOWN: {text}"


@asynchronous
@pytest.mark.parametrize(
    "resource",
    ["", "thing", "kubernetes.io/x", "foo.kubernetes.io/x", "requests.example.com/x", "Example.com/x", "a/b/c"],
)
async def test_a_name_that_is_none_of_an_extended_resource_is_refused(tmp_path: Path, resource: str) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving(resource=resource)
        assert await one.register(plugin) == f'UNKNOWN: the ResourceName "{resource}" is invalid'


@asynchronous
async def test_a_refused_name_is_quoted_as_go_does(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving(resource='v"q\\\a\x01\x7f\n\u200b\u0085é.com/x')
        refusal = await one.register(plugin)
        assert refusal == r'UNKNOWN: the ResourceName "v\"q\\\a\x01\x7f\n\u200b\u0085é.com/x" is invalid'


@asynchronous
async def test_the_version_is_checked_before_the_name(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving(resource="bad")
        assert "API version" in await one.register(plugin, version="v2")


@asynchronous
async def test_a_refused_plugin_is_not_dialled(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving(resource="bad")
        await one.register(plugin)
        assert plugin.calls == []


@asynchronous
async def test_refused_registrations_are_counted_too(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving(resource="bad")
        await one.register(plugin)
        await one.register(plugin, version="v2")
        assert registrations(one) == ['kubelet_device_plugin_registration_total{resource_name="bad"} 2']


@asynchronous
@pytest.mark.parametrize("endpoint", ["/plugin.sock", "x/../plugin.sock", "./plugin.sock", "//plugin.sock"])
async def test_an_endpoint_is_joined_to_the_plugin_directory(tmp_path: Path, endpoint: str) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a", socket="plugin.sock")
        assert await one.register(plugin, endpoint=endpoint) == ""
        await one.listed(plugin)


@asynchronous
async def test_a_plugin_that_nobody_finds_is_dialled_for_ten_seconds(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving()
        answer = asyncio.create_task(one.register(plugin, endpoint="nowhere.sock"))
        await dialling(one)
        one.clock.advance(9.9)
        await dialling(one)
        assert not answer.done()
        one.clock.advance(0.1)
        assert await answer == NO_ANSWER


@asynchronous
@pytest.mark.parametrize(("version", "text"), [("1.20", ""), ("1.31", NO_ANSWER), ("1.36", NO_ANSWER)])
async def test_a_plugin_that_says_nothing_is_dialled_for_ten_seconds(tmp_path: Path, version: str, text: str) -> None:
    """Then the connection is closed."""
    async with node(tmp_path, version) as one:
        with silent(tmp_path / "silent.sock") as listener:
            answer = asyncio.create_task(one.register(await one.serving(), endpoint="silent.sock"))
            connection, _ = await asyncio.to_thread(listener.accept)
            with connection:
                await one.until(lambda: one.clock.sleepers == 1)
                one.clock.advance(10)
                await closed(connection)
            assert await answer == text


@asynchronous
async def test_a_plugin_that_serves_only_later_is_found(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a", socket="early.sock")
        answer = asyncio.create_task(one.register(plugin, endpoint="late.sock"))
        await dialling(one)
        os.link(tmp_path / "early.sock", tmp_path / "late.sock")
        one.clock.advance(1)
        assert await answer == ""


@asynchronous
async def test_a_failed_dial_leaves_no_trace(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a")
        answer = asyncio.create_task(one.register(plugin, endpoint="nowhere.sock"))
        await dialling(one)
        one.clock.advance(10)
        await answer
        assert (one.manager.resources(), one.manager.endpoint(THING)) == ({}, None)


@asynchronous
async def test_a_plugin_that_does_not_tell_its_options_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a")

        def fail() -> None:
            raise PluginError("no options here")

        plugin.on_options = fail
        text = "failed to get device plugin options: rpc error: code = Unknown desc = no options here"
        assert await one.register(plugin) == f"UNKNOWN: {text}"


@asynchronous
async def test_a_plugin_that_did_not_tell_its_options_leaves_no_trace(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a")
        one.manager.faults.fail(THING, "GetDevicePluginOptions", "no")
        await one.register(plugin)
        assert (one.manager.resources(), one.manager.endpoint(THING), plugin.calls) == ({}, None, [])


@asynchronous
async def test_a_failed_registration_leaves_the_earlier_plugin_as_it_is(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        plugin = await one.serving("b")
        one.manager.faults.fail(THING, "GetDevicePluginOptions", "no")
        await one.register(plugin)
        assert one.manager.resources() == {THING: NodeResource(1, 1)}


@asynchronous
async def test_there_is_no_deadline_for_the_options(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a")
        release = plugin.hold("GetDevicePluginOptions")
        answer = asyncio.create_task(one.register(plugin))
        await one.asked(plugin, "GetDevicePluginOptions")
        one.clock.advance(3600)
        release.set()
        assert await answer == ""


@asynchronous
@pytest.mark.parametrize("version", VERSIONS_THAT_LET_GO)
async def test_the_dial_ends_with_the_plugins_own_deadline(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.serving("a", socket="early.sock")
        assert "DEADLINE" in await one.register(plugin, endpoint="late.sock", timeout=0.05)
        await one.until(lambda: one.clock.sleepers == 0)
        os.link(tmp_path / "early.sock", tmp_path / "late.sock")
        one.clock.advance(10)
        await one.register(await one.serving(resource="bad"))
        assert plugin.calls == []


@asynchronous
@pytest.mark.parametrize("version", VERSIONS_THAT_GO_ON)
async def test_the_dial_outlives_the_plugins_own_deadline(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.serving("a", socket="early.sock")
        assert "DEADLINE" in await one.register(plugin, endpoint="late.sock", timeout=0.05)
        os.link(tmp_path / "early.sock", tmp_path / "late.sock")
        one.clock.advance(1)
        await one.listed(plugin)


@asynchronous
@pytest.mark.parametrize("version", VERSIONS_THAT_LET_GO)
async def test_a_plugin_that_gave_up_leaves_no_trace(tmp_path: Path, version: str) -> None:
    """Not in the table of clients either: the end of the one before is no one's loss."""
    async with node(tmp_path, version) as one:
        first = await one.plugin("a")
        second = await one.serving("b")
        one.manager.faults.hang(THING, "GetDevicePluginOptions")
        await one.register(second, timeout=0.05)
        await one.logged("Deregistered client")
        await one.lose(first)
        assert one.manager.resources() == {THING: NodeResource(1, 1)}


@asynchronous
async def test_kubelet_1_20_answers_before_it_dials(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        plugin = await one.serving("a")
        assert await one.register(plugin, endpoint="nowhere.sock") == ""
        await dialling(one)
        one.clock.advance(10)
        await one.logged("Failed to dial device plugin with request")
        assert (one.manager.resources(), one.manager.endpoint(THING)) == ({}, None)


@asynchronous
async def test_kubelet_1_20_dials_for_ten_seconds_too(tmp_path: Path) -> None:
    async with node(tmp_path, "1.20") as one:
        plugin = await one.serving("a", socket="early.sock")
        await one.register(plugin, endpoint="late.sock")
        await dialling(one)
        os.link(tmp_path / "early.sock", tmp_path / "late.sock")
        one.clock.advance(9)
        await one.listed(plugin)


@asynchronous
@pytest.mark.parametrize("version", ["1.20", "1.36"])
async def test_the_options_of_the_newest_registration_count(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        plugin = await one.plugin("a")
        plugin.options = plugin.options_in_register = v1beta1.DevicePluginOptions(pre_start_required=True)
        await one.register(plugin)
        await one.watched(plugin, 2)
        await one.running("p", 1)
        assert len(plugin.asked("PreStartContainer")) == 1


@asynchronous
async def test_several_resources_register_at_once(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        names = [f"example.com/thing{number}" for number in range(4)]
        plugins = [await one.serving("a", resource=name) for name in names]
        assert await asyncio.gather(*(one.register(each) for each in plugins)) == [""] * 4
        for each in plugins:
            await one.listed(each)
        assert list(one.manager.resources()) == names


@asynchronous
async def test_a_kubelet_ends_while_a_plugin_registers(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        plugin = await one.serving("a")
        plugin.hold("GetDevicePluginOptions")
        answer = asyncio.create_task(one.register(plugin))
        await one.asked(plugin, "GetDevicePluginOptions")
        await one.manager.stop()
        assert (await answer).startswith("UNAVAILABLE")


@asynchronous
@pytest.mark.parametrize("version", ["1.20", *VERSIONS_THAT_GO_ON, *VERSIONS_THAT_LET_GO])
async def test_a_dial_ends_with_the_kubelet(tmp_path: Path, version: str) -> None:
    """And with it the connection to who has said nothing yet."""
    async with node(tmp_path, version) as one:
        with silent(tmp_path / "silent.sock") as listener:
            answer = asyncio.create_task(one.register(await one.serving(), endpoint="silent.sock"))
            connection, _ = await asyncio.to_thread(listener.accept)
            with connection:
                await one.until(lambda: one.clock.sleepers == 1)
                await one.manager.stop()
                assert one.clock.sleepers == 0
                await closed(connection)
        await answer
