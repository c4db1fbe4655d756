import asyncio
import contextlib
import dataclasses
import os
import queue
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from kubelet_plugin.api import pluginregistration_v1 as v1
from kubelet_plugin.api.transport import Server
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.clock import ManualClock
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.watcher import PluginWatcher
from tests.asynchronous import asynchronous
from tests.foreign import messages
from tests.unit.api.grpcio import WAIT, grpcio_server

foreign = messages("pluginregistration/v1.proto")

THING = "example.com/thing"
BEGINNING = "RegisterPlugin error -- "

Call = tuple[str, ...]


class Plugin:
    """A plugin by grpcio, whose socket is out of the kubelet's sight until it is moved."""

    def __init__(self, path: Path, info: Any) -> None:
        self.info = info
        self.asked = threading.Event()  # for what it is
        self.answers = threading.Event()
        self.answers.set()
        self.deaf = False
        self.statuses: queue.Queue[tuple[bool, str]] = queue.Queue()
        self._path = path

    def get_info(self, _: bytes, __: grpc.ServicerContext) -> bytes:
        self.asked.set()
        self.answers.wait(WAIT)
        return bytes(self.info.SerializeToString())

    def notify(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        status = foreign.RegistrationStatus.FromString(data)
        self.statuses.put((status.plugin_registered, status.error))
        if self.deaf:
            context.abort(grpc.StatusCode.INTERNAL, "not now")
        return b""

    def move(self, path: Path) -> Path:
        """Let the kubelet see the socket, which answers already."""
        return self._path.rename(path)

    async def status(self) -> tuple[bool, str]:
        """What the kubelet says next became of the plugin."""
        return await asyncio.to_thread(self.statuses.get, timeout=WAIT)


@contextlib.contextmanager
def plugin(
    directory: Path, name: str = THING, *, kind: str = "DevicePlugin", endpoint: str = "", versions: Sequence[str] = ()
) -> Iterator[Plugin]:
    path = directory / f"{len(os.listdir(directory))}.sock"
    info = foreign.PluginInfo(type=kind, name=name, endpoint=endpoint, supported_versions=versions or ["v1beta1"])
    made = Plugin(path, info)
    registration = v1.Registration
    with grpcio_server(
        path, {registration.GET_INFO: made.get_info, registration.NOTIFY_REGISTRATION_STATUS: made.notify}
    ):
        yield made
        made.answers.set()


class DeviceManager:
    """A handler that records what it is asked."""

    def __init__(self) -> None:
        self.refusal = ""
        self.failure = ""
        self.hold: asyncio.Event | None = None
        self._calls: asyncio.Queue[Call] = asyncio.Queue()

    def validate(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
        self._calls.put_nowait(("validate", name, endpoint, *versions))
        return self.refusal

    async def register_endpoint(self, resource: str, path: str) -> str:
        self._calls.put_nowait(("register", resource, path))
        if self.hold:
            await self.hold.wait()
        return self.failure

    async def disconnect(self, resource: str) -> None:
        self._calls.put_nowait(("disconnect", resource))

    async def call(self) -> Call:
        """The next call, validation left out."""
        while (call := await asyncio.wait_for(self._calls.get(), WAIT))[0] == "validate":
            pass
        return call

    async def validation(self) -> Call:
        return await asyncio.wait_for(self._calls.get(), WAIT)

    def has_calls(self) -> bool:
        return not self._calls.empty()


@dataclasses.dataclass
class Watched:
    """A watcher of `registry`, beside `away`, where plugins start."""

    registry: Path
    away: Path
    clock: ManualClock
    manager: DeviceManager
    watcher: PluginWatcher

    @contextlib.asynccontextmanager
    async def registered(self, name: str = "a.sock") -> AsyncIterator[tuple[Plugin, Path]]:
        """A plugin that was registered."""
        with plugin(self.away) as made:
            path = made.move(self.registry / name)
            assert await self.manager.call() == ("register", THING, str(path))
            assert await made.status() == (True, "")
            yield made, path


def prepare(tmp_path: Path, version: str = "1.36") -> Watched:
    registry, away = tmp_path / "r", tmp_path / "a"
    registry.mkdir()
    away.mkdir()
    clock, manager = ManualClock(), DeviceManager()
    watcher = PluginWatcher(str(registry), manager, profile=Profile.of(version), clock=clock)
    return Watched(registry, away, clock, manager, watcher)


@contextlib.asynccontextmanager
async def watching(tmp_path: Path, version: str = "1.36") -> AsyncIterator[Watched]:
    watched = prepare(tmp_path, version)
    watched.watcher.start()
    try:
        yield watched
    finally:
        await watched.watcher.stop()


async def until(look: Callable[[], bool], *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(WAIT):
        while not look():
            meanwhile()
            await asyncio.sleep(0)


class Log:
    """The messages of the kubelet's log."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(log.level(5), logger=log.logger.name)
        self._caplog = caplog

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.name == log.logger.name]

    async def until(self, text: str, *, meanwhile: Callable[[], None] = lambda: None) -> str:
        """The first message with this text; the log begins anew with it."""
        await until(lambda: any(text in message for message in self.messages), meanwhile=meanwhile)
        found = next(message for message in self.messages if text in message)
        self._caplog.clear()
        return found


@pytest.fixture(name="kubelet_log")
def _kubelet_log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


# Registration.


@asynchronous
async def test_a_plugin_that_comes_is_registered(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away) as made:
            path = made.move(watched.registry / "a.sock")
            assert await watched.manager.call() == ("register", THING, str(path))


@asynchronous
async def test_a_plugin_that_was_there_before_is_registered(tmp_path: Path) -> None:
    watched = prepare(tmp_path)
    with plugin(watched.away) as made:
        path = made.move(watched.registry / "a.sock")
        watched.watcher.start()
        assert await watched.manager.call() == ("register", THING, str(path))
        await watched.watcher.stop()


@asynchronous
async def test_it_is_told_that_it_is_registered(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away) as made:
            made.move(watched.registry / "a.sock")
            assert await made.status() == (True, "")


@asynchronous
async def test_it_is_validated_first(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away, endpoint="/elsewhere.sock", versions=["v1alpha", "v1beta1"]) as made:
            made.move(watched.registry / "a.sock")
            expected = ("validate", THING, "/elsewhere.sock", "v1alpha", "v1beta1")
            assert await watched.manager.validation() == expected


@asynchronous
async def test_the_endpoint_it_gives_is_used_as_it_is(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away, endpoint="/elsewhere.sock") as made:
            made.move(watched.registry / "a.sock")
            assert await watched.manager.call() == ("register", THING, "/elsewhere.sock")


@asynchronous
async def test_a_socket_that_is_bound_before_it_listens_is_dialled_again(tmp_path: Path) -> None:
    async def get_info(_: v1.InfoRequest) -> v1.PluginInfo:
        return v1.PluginInfo(type="DevicePlugin", name=THING)

    async with watching(tmp_path) as watched:
        path = watched.registry / "a.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        await until(lambda: len(watched.clock._sleepers) == 2)  # for the limit, and for the pause after a first try
        listener.listen()
        server = Server({v1.Registration.GET_INFO: get_info}, name=THING)
        await server.listen(listener)
        watched.clock.advance(0.01)
        assert await watched.manager.call() == ("register", THING, str(path))
        await server.close()


# Refusals.


@asynchronous
async def test_another_type_has_no_handler(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away, kind="DRAPlugin") as made:
            path = made.move(watched.registry / "a.sock")
            expected = f"{BEGINNING}no handler registered for plugin type: DRAPlugin at socket {path}"
            assert await made.status() == (False, expected)


@asynchronous
async def test_a_plugin_that_is_not_valid_is_told_why(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.manager.refusal = "the reason"
        with plugin(watched.away) as made:
            made.move(watched.registry / "a.sock")
            expected = f"{BEGINNING}plugin validation failed with err: the reason"
            assert await made.status() == (False, expected)


@asynchronous
async def test_a_plugin_that_cannot_be_connected_to_is_told_why(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.manager.failure = "the reason"
        with plugin(watched.away) as made:
            made.move(watched.registry / "a.sock")
            expected = f"{BEGINNING}plugin registration failed with err: the reason"
            assert await made.status() == (False, expected)


@asynchronous
async def test_a_socket_that_nobody_answers_is_dialled_for_ten_seconds(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        path = watched.registry / "a.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        message = await kubelet_log.until(
            f"{BEGINNING}dial failed at socket {path}, err: failed to dial socket {path}, err: context deadline "
            "exceeded",
            meanwhile=lambda: watched.clock.advance(0.125),
        )
        assert watched.clock.now() >= 10
        assert "durationBeforeRetry 500ms" in message


@asynchronous
async def test_a_plugin_has_a_second_to_say_what_it_is(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away) as made:
            made.answers.clear()
            path = made.move(watched.registry / "a.sock")
            await asyncio.to_thread(made.asked.wait, WAIT)
            watched.clock.advance(1)
            await kubelet_log.until(
                f"{BEGINNING}failed to get plugin info using RPC GetInfo at socket {path}, err: rpc error: code = "
                "DeadlineExceeded desc = context deadline exceeded"
            )


# Tries.


@pytest.mark.parametrize("version", ["1.20", "1.35", "1.36"])
@asynchronous
async def test_what_failed_before_the_registration_is_tried_again(
    tmp_path: Path, version: str, kubelet_log: Log
) -> None:
    async with watching(tmp_path, version) as watched:
        watched.manager.refusal = "the reason"
        with plugin(watched.away) as made:
            made.move(watched.registry / "a.sock")
            await kubelet_log.until("failed. No retries")
            watched.manager.refusal = ""
            watched.clock.advance(0.5)
            assert (await made.status())[0] is False
            assert await made.status() == (True, "")


@asynchronous
async def test_the_pause_between_tries_doubles_up_to_two_minutes(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away, kind="CSIPlugin") as made:
            made.move(watched.registry / "a.sock")
            pauses = []
            for pause in (0.5, 1, 2, 4, 8, 16, 32, 64, 122, 122):
                message = await kubelet_log.until("failed. No retries")
                pauses.append(message.partition("durationBeforeRetry ")[2].partition(")")[0])
                watched.clock.advance(pause)
            assert pauses == ["500ms", "1s", "2s", "4s", "8s", "16s", "32s", "1m4s", "2m2s", "2m2s"]


@asynchronous
async def test_nothing_is_tried_before_the_pause_is_over(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        watched.manager.refusal = "the reason"
        with plugin(watched.away) as first:
            first.move(watched.registry / "a.sock")
            await kubelet_log.until("failed. No retries")
            await watched.manager.validation()
            watched.clock.advance(0.4)
            with plugin(watched.away, "example.com/other") as second:
                second.move(watched.registry / "b.sock")
                assert (await watched.manager.validation())[1] == "example.com/other"


@asynchronous
async def test_a_socket_made_again_waits_for_the_same_pause(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away, kind="CSIPlugin") as first:
            path = first.move(watched.registry / "a.sock")
            await kubelet_log.until("failed. No retries")
            path.unlink()
            with plugin(watched.away) as second:
                second.move(path)
                await kubelet_log.until("Adding socket path")
                assert not watched.manager.has_calls()
                watched.clock.advance(0.5)
                assert await watched.manager.call() == ("register", THING, str(path))


@asynchronous
async def test_a_success_ends_the_doubling(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        watched.manager.refusal = "the reason"
        with plugin(watched.away) as made:
            path = made.move(watched.registry / "a.sock")
            await kubelet_log.until("durationBeforeRetry 500ms")
            watched.manager.refusal = ""
            watched.clock.advance(0.5)
            await watched.manager.call()
            path.unlink()
            with plugin(watched.away, kind="CSIPlugin") as successor:
                successor.move(path)
                await kubelet_log.until("durationBeforeRetry 500ms")


@asynchronous
async def test_a_registration_that_failed_is_tried_again_from_1_36_on(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        watched.manager.failure = "the reason"
        with plugin(watched.away) as made:
            path = made.move(watched.registry / "a.sock")
            assert await watched.manager.call() == ("register", THING, str(path))
            assert await watched.manager.call() == ("disconnect", THING)
            await kubelet_log.until("failed. No retries")
            watched.clock.advance(0.5)
            assert await watched.manager.call() == ("register", THING, str(path))


@asynchronous
async def test_a_registration_that_failed_is_not_tried_again_before_1_36(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path, "1.35") as watched:
        watched.manager.failure = "the reason"
        with plugin(watched.away) as made:
            path = made.move(watched.registry / "a.sock")
            await watched.manager.call()
            await kubelet_log.until("failed. No retries")
            watched.clock.advance(200)
            path.unlink()
            assert await watched.manager.call() == ("disconnect", THING)  # no other call before


@asynchronous
async def test_a_plugin_that_could_not_be_told_is_registered_again_from_1_36_on(
    tmp_path: Path, kubelet_log: Log
) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away) as made:
            made.deaf = True
            path = made.move(watched.registry / "a.sock")
            assert await watched.manager.call() == ("register", THING, str(path))
            assert await watched.manager.call() == ("disconnect", THING)
            await kubelet_log.until(
                f"{BEGINNING}failed to send registration status at socket {path}, err: : rpc error: code = Internal "
                "desc = not now"
            )
            watched.clock.advance(0.5)
            assert await watched.manager.call() == ("register", THING, str(path))


@asynchronous
async def test_a_plugin_that_could_not_be_told_stays_registered_before_1_36(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path, "1.35") as watched:
        with plugin(watched.away) as made:
            made.deaf = True
            made.move(watched.registry / "a.sock")
            await watched.manager.call()
            await kubelet_log.until("failed. No retries")
            assert not watched.manager.has_calls()


# Deregistration.


@asynchronous
async def test_a_plugin_whose_socket_is_removed_is_disconnected(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched, watched.registered() as (_, path):
        path.unlink()
        assert await watched.manager.call() == ("disconnect", THING)


@asynchronous
async def test_a_plugin_whose_socket_is_renamed_away_is_not(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched, watched.registered("a.sock") as (_, path):
        path.rename(watched.away / "moved.sock")
        async with watched.registered("b.sock"):
            pass


@asynchronous
async def test_a_socket_that_is_made_again_is_deregistered_and_registered(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched, watched.registered() as (_, path):
        path.unlink()
        with plugin(watched.away) as successor:
            successor.move(path)
            calls = [await watched.manager.call() for _ in range(2)]
            assert calls == [("disconnect", THING), ("register", THING, str(path))]


@asynchronous
async def test_deregistrations_come_first(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched, watched.registered("b.sock") as (_, old):
        await kubelet_log.until("Registering plugin")
        await until(lambda: not watched.watcher._settling)  # the answer of the plugin that was told is there
        with plugin(watched.away) as successor:
            new = successor.move(watched.registry / "a.sock")
            old.unlink()
            calls = [await watched.manager.call() for _ in range(2)]
            assert calls == [("disconnect", THING), ("register", THING, str(new))]
            started = [message.split()[0] for message in kubelet_log.messages if "started" in message]
            assert started == ['"OperationExecutor.UnregisterPlugin', '"OperationExecutor.RegisterPlugin']


@asynchronous
async def test_a_removal_during_the_registration_is_heeded_after_it(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        watched.manager.hold = asyncio.Event()
        with plugin(watched.away) as made:
            path = made.move(watched.registry / "a.sock")
            await watched.manager.call()
            path.unlink()
            await kubelet_log.until("Removing socket path")
            assert not watched.manager.has_calls()
            watched.manager.hold.set()
            assert await watched.manager.call() == ("disconnect", THING)


@asynchronous
async def test_a_plugin_that_is_never_registered_is_not_disconnected(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched:
        with plugin(watched.away, kind="CSIPlugin") as made:
            path = made.move(watched.registry / "a.sock")
            await kubelet_log.until("failed. No retries")
            path.unlink()
            await kubelet_log.until("Removing socket path")
            watched.clock.advance(0.5)
            async with watched.registered("b.sock"):
                pass


# The end.


@asynchronous
async def test_at_the_end_all_is_left_as_it_is(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched, watched.registered() as (_, path):
        await watched.watcher.stop()
        assert path.exists()
        assert not watched.manager.has_calls()


@asynchronous
async def test_the_end_does_not_wait_for_a_registration(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        watched.manager.hold = asyncio.Event()
        with plugin(watched.away) as made:
            made.move(watched.registry / "a.sock")
            await watched.manager.call()
            await asyncio.wait_for(watched.watcher.stop(), WAIT)


# The log.


@asynchronous
async def test_the_log_tells_of_it_in_the_kubelets_words(tmp_path: Path, kubelet_log: Log) -> None:
    async with watching(tmp_path) as watched, watched.registered() as (_, path):
        path.unlink()
        await watched.manager.call()
        socket_ = f'path="{path}"'
        plugin_ = f'plugin={{"SocketPath":"{path}","Handler":null,"Name":""}}'
        who = f'plugin="{THING}" endpoint="{path}"'
        assert kubelet_log.messages == [
            f'"Plugin Watcher Start" path="{watched.registry}"',
            f'"Adding socket path or updating timestamp to desired state cache" {socket_}',
            f'"OperationExecutor.RegisterPlugin started" {plugin_}',
            f'"Got plugin at endpoint with versions" {who} versions=["v1beta1"]',
            f'"Registering plugin at endpoint" {who}',
            f'"Removing socket path from desired state cache" {socket_}',
            f'"OperationExecutor.UnregisterPlugin started" {plugin_}',
            f'"Deregistering plugin" {who}',
        ]
