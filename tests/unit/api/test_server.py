"""Our server, called by grpcio."""

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import MESSAGE_LIMIT, RpcError, Server
from kubelet_plugin.api.wire import Encoded, decode, encode
from tests.asynchronous import asynchronous
from tests.unit.api.grpcio import WAIT, channel, failure, listening, serving, sockets, unary

ALLOCATE = v1beta1.DevicePlugin.ALLOCATE
WATCH = v1beta1.DevicePlugin.LIST_AND_WATCH
OPTIONS = v1beta1.DevicePlugin.GET_DEVICE_PLUGIN_OPTIONS


async def options(_: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
    return v1beta1.DevicePluginOptions(pre_start_required=True)


async def allocate(request: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
    ids = [container.devices_ids for container in request.container_requests]
    return v1beta1.AllocateResponse(
        container_responses=[v1beta1.ContainerAllocateResponse(envs={"IDS": ",".join(each)}) for each in ids]
    )


def devices(*ids: str) -> v1beta1.ListAndWatchResponse:
    return v1beta1.ListAndWatchResponse(devices=[v1beta1.Device(ID=each, health="Healthy") for each in ids])


class Watch:
    """A streaming handler that sends one list and then tells when it is closed."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()

    async def __call__(self, _: v1beta1.Empty) -> AsyncIterator[v1beta1.ListAndWatchResponse]:
        try:
            yield devices("kvm0")
            self.opened.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # cleaning up may take a while, and is not interrupted
            self.closed.set()

    async def wait_closed(self) -> None:
        await asyncio.wait_for(self.closed.wait(), WAIT)


@asynchronous
async def test_a_call_is_answered(tmp_path: Path) -> None:
    request = v1beta1.AllocateRequest(container_requests=[v1beta1.ContainerAllocateRequest(devices_ids=["a", "b"])])
    async with serving(tmp_path / "s", {ALLOCATE: allocate}):
        reply = decode(v1beta1.AllocateResponse, await unary(tmp_path / "s", ALLOCATE, encode(request)))
    assert reply.container_responses[0].envs == {"IDS": "a,b"}


@asynchronous
async def test_replies_follow_each_other_and_the_stream_ends_with_the_iterator(tmp_path: Path) -> None:
    async def watch(_: v1beta1.Empty) -> AsyncIterator[v1beta1.ListAndWatchResponse | Encoded]:
        yield devices()
        yield Encoded(encode(devices("kvm0")))

    def read() -> list[bytes]:
        with channel(tmp_path / "s") as connection:
            return list(connection.unary_stream(WATCH.path)(b"", timeout=WAIT))

    async with serving(tmp_path / "s", {WATCH: watch}):
        assert await asyncio.to_thread(read) == [b"", encode(devices("kvm0"))]


@asynchronous
async def test_a_stream_without_replies_ends_well(tmp_path: Path) -> None:
    async def watch(_: v1beta1.Empty) -> AsyncIterator[v1beta1.ListAndWatchResponse]:
        none: list[v1beta1.ListAndWatchResponse] = []
        for reply in none:
            yield reply

    def read() -> list[bytes]:
        with channel(tmp_path / "s") as connection:
            return list(connection.unary_stream(WATCH.path)(b"", timeout=WAIT))

    async with serving(tmp_path / "s", {WATCH: watch}):
        assert await asyncio.to_thread(read) == []


@pytest.mark.parametrize("code", ["NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "UNAUTHENTICATED"])
@asynchronous
async def test_an_rpc_error_becomes_the_status(code: str, tmp_path: Path) -> None:
    async def refuse(_: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
        raise RpcError(code, "50 % of “kvm0”\nis gone")

    async with serving(tmp_path / "s", {OPTIONS: refuse}):
        assert await failure(tmp_path / "s", OPTIONS) == (code, "50 % of “kvm0”\nis gone")


@asynchronous
async def test_any_other_exception_becomes_unknown_and_one_log_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
        raise LookupError("kvm0")

    async with serving(tmp_path / "s", {OPTIONS: fail}):
        assert await failure(tmp_path / "s", OPTIONS) == ("UNKNOWN", "LookupError: kvm0")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("kubelet_plugin.api.transport", logging.ERROR)
    assert record.__dict__["resource"] == "example.com/thing"
    assert "GetDevicePluginOptions failed: LookupError: kvm0" in record.getMessage()


@asynchronous
async def test_an_iterator_that_fails_after_a_reply_ends_its_stream_with_the_status(tmp_path: Path) -> None:
    async def watch(_: v1beta1.Empty) -> AsyncIterator[v1beta1.ListAndWatchResponse]:
        yield devices("kvm0")
        raise RpcError("DATA_LOSS", "gone")

    def read() -> tuple[bytes, grpc.StatusCode]:
        with channel(tmp_path / "s") as connection:
            stream = connection.unary_stream(WATCH.path)(b"", timeout=WAIT)
            first = next(stream)
            with contextlib.suppress(grpc.RpcError):
                next(stream)
            return first, stream.code()

    async with serving(tmp_path / "s", {WATCH: watch}):
        assert await asyncio.to_thread(read) == (encode(devices("kvm0")), grpc.StatusCode.DATA_LOSS)


@asynchronous
async def test_a_cancellation_out_of_a_handler_ends_the_call(tmp_path: Path) -> None:
    async def cancelled(_: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
        raise asyncio.CancelledError

    async with serving(tmp_path / "s", {OPTIONS: cancelled}):
        assert await failure(tmp_path / "s", OPTIONS) == ("CANCELLED", "the handler was cancelled")


@asynchronous
async def test_an_unknown_method_is_unimplemented(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}):
        assert await failure(tmp_path / "s", ALLOCATE) == ("UNIMPLEMENTED", f"unknown method {ALLOCATE.path}")


@asynchronous
async def test_a_request_that_does_not_decode_is_an_internal_error(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {ALLOCATE: allocate}):
        code, text = await failure(tmp_path / "s", ALLOCATE, b"\x0a\x7f")
    assert code == "INTERNAL"
    assert text.startswith("grpc: error unmarshalling request: AllocateRequest.container_requests: byte 1: 127 bytes")


def request_of(size: int) -> bytes:
    """An AllocateRequest of `size` bytes: one unknown field."""
    filler = size - 6
    lead = bytes([filler & 0x7F | 0x80, filler >> 7 & 0x7F | 0x80, filler >> 14 & 0x7F | 0x80, filler >> 21 | 0x80, 0])
    return b"\x7a" + lead + bytes(filler)


@asynchronous
async def test_a_request_of_the_limit_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {ALLOCATE: allocate}):
        assert await unary(tmp_path / "s", ALLOCATE, request_of(MESSAGE_LIMIT)) == b""


@asynchronous
async def test_a_request_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {ALLOCATE: allocate}):
        code, text = await failure(tmp_path / "s", ALLOCATE, request_of(MESSAGE_LIMIT + 1))
    assert (code, text) == ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (4194305 vs. 4194304)")


@asynchronous
async def test_refused_requests_do_not_use_up_their_connection(tmp_path: Path) -> None:
    def call_often(connection: Any) -> None:
        call = connection.unary_unary(ALLOCATE.path)
        for _ in range(50):
            with pytest.raises(grpc.RpcError):
                call(request_of(MESSAGE_LIMIT + 1), timeout=WAIT)
        call(request_of(MESSAGE_LIMIT), timeout=WAIT)

    with channel(tmp_path / "s") as connection:
        async with serving(tmp_path / "s", {ALLOCATE: allocate}):
            await asyncio.to_thread(call_often, connection)


@asynchronous
async def test_a_compressed_request_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {ALLOCATE: allocate}):
        code, text = await failure(tmp_path / "s", ALLOCATE, request_of(100_000), compression=grpc.Compression.Gzip)
    assert (code, text) == ("UNIMPLEMENTED", "grpc: compressed messages are not supported")


@asynchronous
async def test_a_long_status_message_is_cut(tmp_path: Path) -> None:
    async def refuse(_: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
        raise RpcError("INTERNAL", "ä" * 1_000_000)

    async with serving(tmp_path / "s", {OPTIONS: refuse}):
        assert await failure(tmp_path / "s", OPTIONS) == ("INTERNAL", "ä" * (4096 // len("%C3%A4")))


@asynchronous
async def test_the_callers_deadline_cancels_the_handler(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def hang(_: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    def call() -> grpc.StatusCode:
        with channel(tmp_path / "s") as connection, pytest.raises(grpc.RpcError) as raised:
            connection.unary_unary(OPTIONS.path)(b"", timeout=0.05)
        code: grpc.StatusCode = raised.value.code()
        return code

    async with serving(tmp_path / "s", {OPTIONS: hang}):
        assert await asyncio.to_thread(call) is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(ended.wait(), WAIT)


@asynchronous
async def test_an_iterator_is_closed_when_the_peer_cancels(tmp_path: Path) -> None:
    watch = Watch()
    with channel(tmp_path / "s") as connection:
        async with serving(tmp_path / "s", {WATCH: watch}):
            stream = connection.unary_stream(WATCH.path)(b"")
            await asyncio.to_thread(next, stream)
            stream.cancel()
            await watch.wait_closed()


@asynchronous
async def test_an_iterator_that_waits_to_write_is_closed_when_the_peer_cancels(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def watch(_: v1beta1.Empty) -> AsyncIterator[Encoded]:
        try:
            while True:
                yield Encoded(bytes(1_000_000))
        finally:
            closed.set()

    with channel(tmp_path / "s") as connection:
        async with serving(tmp_path / "s", {WATCH: watch}):
            stream = connection.unary_stream(WATCH.path)(b"")
            await asyncio.to_thread(next, stream)
            stream.cancel()
            await asyncio.wait_for(closed.wait(), WAIT)


@asynchronous
async def test_an_iterator_is_closed_when_the_peer_disconnects(tmp_path: Path) -> None:
    watch = Watch()
    async with serving(tmp_path / "s", {WATCH: watch}):
        with channel(tmp_path / "s") as connection:
            await asyncio.to_thread(next, connection.unary_stream(WATCH.path)(b""))
        await watch.wait_closed()


@asynchronous
async def test_an_iterator_is_closed_when_the_peer_is_killed(tmp_path: Path) -> None:
    watch = Watch()
    code = f"import grpc; print(next(grpc.insecure_channel('unix:{tmp_path}/s').unary_stream('{WATCH.path}')(b'')));input()"
    async with serving(tmp_path / "s", {WATCH: watch}):
        command = [sys.executable, "-c", code]
        peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - at once
        try:
            await asyncio.wait_for(watch.opened.wait(), WAIT)
        finally:
            peer.send_signal(signal.SIGKILL)
            peer.communicate()
        await watch.wait_closed()


@asynchronous
async def test_closing_waits_for_the_handlers(tmp_path: Path) -> None:
    watch = Watch()
    with channel(tmp_path / "s") as connection:
        async with serving(tmp_path / "s", {WATCH: watch}) as server:
            await asyncio.to_thread(next, connection.unary_stream(WATCH.path)(b""))
            await server.close()
            assert watch.closed.is_set()


@asynchronous
async def test_closing_leaves_the_file_of_the_socket_to_its_owner(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}):
        pass
    assert (tmp_path / "s").is_socket()


@asynchronous
async def test_a_server_that_never_listened_can_be_closed() -> None:
    await Server({}, name="example.com/thing").close()


@asynchronous
async def test_open_streams_go_on_when_the_server_listens_anew(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def watch(_: v1beta1.Empty) -> AsyncIterator[v1beta1.ListAndWatchResponse]:
        yield devices("kvm0")
        await more.wait()
        yield devices("kvm1")

    with channel(tmp_path / "old") as connection:
        async with serving(tmp_path / "old", {WATCH: watch, OPTIONS: options}) as server:
            stream = connection.unary_stream(WATCH.path)(b"")
            await asyncio.to_thread(next, stream)
            await server.listen(listening(tmp_path / "new"))
            more.set()
            assert await asyncio.to_thread(next, stream) == encode(devices("kvm1"))
            assert await unary(tmp_path / "new", OPTIONS) == b"\x08\x01"


@asynchronous
async def test_the_old_socket_is_closed_when_the_server_listens_anew(tmp_path: Path) -> None:
    async with serving(tmp_path / "old", {OPTIONS: options}) as server:
        await server.listen(listening(tmp_path / "new"))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(tmp_path / "old")


@asynchronous
async def test_a_peer_that_does_not_read_blocks_its_own_stream_alone(tmp_path: Path) -> None:
    sent = 0

    async def watch(_: v1beta1.Empty) -> AsyncIterator[Encoded]:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield Encoded(bytes(MESSAGE_LIMIT // 2))

    with channel(tmp_path / "s") as connection:
        async with serving(tmp_path / "s", {WATCH: watch, OPTIONS: options}):
            stream = connection.unary_stream(WATCH.path)(b"")
            await asyncio.to_thread(next, stream)
            call = connection.unary_unary(OPTIONS.path)
            for _ in range(20):
                assert await asyncio.to_thread(call, b"", timeout=WAIT) == b"\x08\x01"
            assert sent < 100
            stream.cancel()


@asynchronous
async def test_calls_that_ended_leave_nothing_behind(tmp_path: Path) -> None:
    def call_often(connection: Any) -> None:
        call = connection.unary_unary(OPTIONS.path)
        for _ in range(10_000):
            call(b"", timeout=WAIT)

    with channel(tmp_path / "s") as connection:
        async with serving(tmp_path / "s", {OPTIONS: options}) as server:
            tasks = len(asyncio.all_tasks())
            await asyncio.to_thread(call_often, connection)
            [peer] = server._connections
            h2 = peer.connection._connection
            assert len(asyncio.all_tasks()) == tasks
            assert (len(server._calls), len(peer.processor.streams)) == (0, 0)
            assert len(h2._closed_streams) <= 1024
            assert len(h2.streams) <= 2


@asynchronous
async def test_100_calls_opened_and_cancelled_leave_nothing_behind(tmp_path: Path) -> None:
    ended = threading.Semaphore(0)
    watch = Watch()
    with channel(tmp_path / "s") as connection:
        async with serving(tmp_path / "s", {WATCH: watch, OPTIONS: options}) as server:
            tasks = len(asyncio.all_tasks())
            for _ in range(100):
                stream = connection.unary_stream(WATCH.path)(b"")
                stream.add_callback(ended.release)
                stream.cancel()
            for _ in range(100):
                await asyncio.to_thread(ended.acquire, timeout=WAIT)
            await asyncio.to_thread(connection.unary_unary(OPTIONS.path), b"", timeout=WAIT)
            while server._calls:
                await asyncio.wait(server._calls, timeout=WAIT)
            assert len(asyncio.all_tasks()) == tasks
            assert all(not peer.processor.streams for peer in server._connections)


@asynchronous
async def test_a_closed_server_has_no_descriptor_open(tmp_path: Path) -> None:
    before = sockets()
    async with serving(tmp_path / "s", {OPTIONS: options}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        await reader.readexactly(9)  # the head of the server's settings
    writer.close()
    await writer.wait_closed()
    assert sockets() <= before
