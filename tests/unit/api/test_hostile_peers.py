"""Peers of our server that are broken, hostile, or no gRPC at all."""

import asyncio
import contextlib
import logging
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded, StreamReset, TrailersReceived

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import Server
from tests.asynchronous import asynchronous
from tests.unit.api.grpcio import WAIT, serving, sockets, unary

OPTIONS = v1beta1.DevicePlugin.GET_DEVICE_PLUGIN_OPTIONS
HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": OPTIONS.path,
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
}
EMPTY = bytes(5)  # an empty message with gRPC's prefix


async def options(_: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
    return v1beta1.DevicePluginOptions()


class Peer:
    """A client that can send anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.h2 = H2Connection(
            H2Configuration(
                validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
            )
        )
        self.h2.initiate_connection()

    @classmethod
    async def connect(cls, path: Path) -> "Peer":
        return cls(*await asyncio.open_unix_connection(path))

    def flush(self, more: bytes = b"") -> None:
        self._writer.write(self.h2.data_to_send() + more)

    def request(self, stream_id: int, headers: dict[str, Any] | None = None, *, end: bool = False) -> None:
        self.h2.send_headers(stream_id, list((HEADERS if headers is None else headers).items()), end_stream=end)

    async def until(self, *kinds: type) -> Any:
        """Read until an event of one of `kinds`; the last one is returned."""
        async with asyncio.timeout(WAIT):
            while True:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                events = self.h2.receive_data(data)
                self.flush()
                if found := [event for event in events if isinstance(event, kinds)]:
                    return found[-1]

    async def answer(self, stream_id: int, headers: dict[str, Any] | None = None) -> dict[str, str]:
        """Make a call and return the headers and trailers of its answer."""
        self.request(stream_id, headers)
        self.h2.send_data(stream_id, EMPTY, end_stream=True)
        self.flush()
        found: dict[str, str] = {}
        while True:
            data = await asyncio.wait_for(self._reader.read(65536), WAIT)
            assert data
            for event in self.h2.receive_data(data):
                if isinstance(event, ResponseReceived | TrailersReceived):
                    found.update(event.headers)  # type: ignore[arg-type]
                if isinstance(event, StreamEnded):
                    self.flush()
                    return found

    async def is_disconnected(self) -> bool:
        async with asyncio.timeout(WAIT):
            while await self._reader.read(65536):
                pass
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)


async def assert_unharmed(server: Server, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server answers others, and of the peer nothing is left: no task, no connection, no word in the log."""
    while server._calls:
        await asyncio.wait(server._calls, timeout=WAIT)
    for connection in list(server._connections):
        await asyncio.wait_for(connection.is_lost.wait(), WAIT)
    assert await unary(path, OPTIONS) == b""
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RUBBISH = {
    "http-1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "noise": random.Random(1).randbytes(100_000),
    "nothing": b"",
    "half-a-preface": PREFACE[:9],
    "noise-after-the-preface": PREFACE + random.Random(2).randbytes(100_000),
    "a-frame-that-is-too-large": PREFACE + b"\xff\xff\xff\x04\x00\x00\x00\x00\x00",
    "headers-that-are-no-hpack": PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\1\5\0\0\0\1\xff\xff\xff\xff",
    "data-on-no-stream": PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\0\0\0\0\0\7x",
    "a-window-beyond-all-bounds": PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\10\0\0\0\0\0\x7f\xff\xff\xff",
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH.keys())
@asynchronous
async def test_rubbish_leaves_nothing_behind(rubbish: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}) as server:
        before = sockets()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        await reader.readexactly(9)
        writer.write(rubbish)
        writer.transport.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        for connection in list(server._connections):
            await asyncio.wait_for(connection.is_lost.wait(), WAIT)
        assert sockets() <= before
        await assert_unharmed(server, tmp_path / "s", caplog)


@pytest.mark.parametrize("seed", range(20))
@asynchronous
async def test_damaged_http2_leaves_nothing_behind(seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(seed)
    async with serving(tmp_path / "s", {OPTIONS: options}) as server:
        for _ in range(20):
            async with await Peer.connect(tmp_path / "s") as peer:
                peer.request(1)
                peer.h2.send_data(1, EMPTY, end_stream=True)
                data = bytearray(peer.h2.data_to_send())
                for _ in range(3):
                    data[chance.randrange(24, len(data))] = chance.randrange(256)
                peer._writer.write(data)
        await assert_unharmed(server, tmp_path / "s", caplog)


@asynchronous
async def test_http_1_is_disconnected_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}), await Peer.connect(tmp_path / "s") as peer:
        peer._writer.write(RUBBISH["http-1"])
        assert await peer.is_disconnected()


@asynchronous
async def test_a_request_that_stops_halfway_ends_with_its_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}) as server:
        async with await Peer.connect(tmp_path / "s") as peer:
            peer.request(1)
            peer.h2.send_data(1, b"\0\0\0\1\0half")
            peer.flush()
        await assert_unharmed(server, tmp_path / "s", caplog)


@pytest.mark.parametrize(("data", "text"), [(b"", "the caller sent no request"), (b"\0\0\0\0\5half", "ended within")])
@asynchronous
async def test_a_request_that_ends_halfway_is_an_internal_error(data: bytes, text: str, tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}), await Peer.connect(tmp_path / "s") as peer:
        peer.request(1)
        peer.h2.send_data(1, data, end_stream=True)
        peer.flush()
        headers = dict((await peer.until(ResponseReceived)).headers)
        assert headers["grpc-status"] == "13"
        assert text in headers["grpc-message"]


@asynchronous
async def test_1000_calls_reset_in_one_breath_leave_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}) as server:
        async with await Peer.connect(tmp_path / "s") as peer:
            for stream_id in range(1, 2001, 2):
                peer.request(stream_id)
                peer.h2.reset_stream(stream_id)
            peer.flush()
            answer = await peer.answer(2001)
            assert answer["grpc-status"] == "0"
            [connection] = server._connections
            assert (connection.processor.streams, server._calls) == ({}, set())
        await assert_unharmed(server, tmp_path / "s", caplog)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({":method": "GET"}, {":status": "405"}),
        ({"content-type": "application/json"}, {":status": "415"}),
        ({"content-type": "application/grpc+proto"}, {"grpc-status": "0"}),
        ({"grpc-timeout": "1 fortnight"}, {"grpc-status": "13", "grpc-message": "malformed grpc-timeout"}),
        ({"grpc-timeout": "99999999H"}, {"grpc-status": "0"}),
        ({"x-odd": b"\xff\xfe"}, {"grpc-status": "0"}),
        ({":path": b"/\xff"}, {"grpc-status": "12"}),
    ],
    ids=str,
)
@asynchronous
async def test_odd_headers_are_answered(change: dict[str, Any], expected: dict[str, str], tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}), await Peer.connect(tmp_path / "s") as peer:
        answer = await peer.answer(1, {**HEADERS, **change})
        assert {key: answer.get(key) for key in expected} == expected


@asynchronous
async def test_an_unknown_kind_of_frame_is_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}), await Peer.connect(tmp_path / "s") as peer:
        peer.flush(b"\0\0\1\xf0\0\0\0\0\0x")
        assert (await peer.answer(1))["grpc-status"] == "0"


@asynchronous
async def test_a_message_in_frames_of_one_byte_and_of_none_is_put_together(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}), await Peer.connect(tmp_path / "s") as peer:
        peer.request(1)
        for byte in EMPTY:
            peer.h2.send_data(1, b"")
            peer.h2.send_data(1, bytes([byte]))
        peer.h2.end_stream(1)
        peer.flush()
        assert dict((await peer.until(TrailersReceived)).headers) == {"grpc-status": "0"}


@asynchronous
async def test_a_caller_that_never_ends_its_request_is_told_that_nobody_listens(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}), await Peer.connect(tmp_path / "s") as peer:
        peer.request(1)
        peer.h2.send_data(1, EMPTY)
        peer.flush()
        reset = await peer.until(StreamReset)
        assert reset.error_code == 0


@asynchronous
async def test_a_peer_that_floods_with_pings_and_does_not_read_is_disconnected(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", {OPTIONS: options}) as server, await Peer.connect(tmp_path / "s") as peer:
        peer._reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.flush()
        ping = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)
        async with asyncio.timeout(WAIT):
            with contextlib.suppress(ConnectionError):
                while True:
                    peer._writer.write(ping * 10_000)
                    await peer._writer.drain()
        assert not server._connections


SERVER = """
import asyncio, resource, socket, sys
sys.modules["ssl"] = None
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import Channel, Server

async def allocate(request):
    return v1beta1.AllocateResponse()

async def main():
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(sys.argv[1])
    sock.listen()
    server = Server({v1beta1.DevicePlugin.ALLOCATE: allocate}, name="example.com/thing")
    await server.listen(sock)
    async with Channel(sys.argv[1]) as channel:
        await channel.call(v1beta1.DevicePlugin.ALLOCATE, v1beta1.AllocateRequest(), timeout=10)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.close()

asyncio.run(main())
"""


def peak(pid: int) -> int:
    """The most memory a process ever held, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@pytest.fixture
def server_process(tmp_path: Path) -> Any:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "s")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.communicate(b"\n", timeout=WAIT)
    assert process.returncode == 0


@asynchronous
async def test_a_request_of_200_mb_costs_no_memory(server_process: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    before = peak(server_process.pid)
    async with await Peer.connect(tmp_path / "s") as peer:
        peer.request(1, {**HEADERS, ":path": v1beta1.DevicePlugin.ALLOCATE.path})
        peer.h2.send_data(1, b"\0" + (200_000_000).to_bytes(4) + bytes(1000))
        peer.flush()
        headers = dict((await peer.until(ResponseReceived)).headers)
        assert headers["grpc-message"] == "grpc: received message larger than max (200000000 vs. 4194304)"
    for _ in range(3):
        code = await asyncio.to_thread(refused, tmp_path / "s", bytes(200_000_000))
        assert code == "RESOURCE_EXHAUSTED"
    assert peak(server_process.pid) - before < 4 * 1024


def refused(path: Path, request: bytes) -> str:
    import grpc

    from tests.unit.api.grpcio import channel

    with channel(path) as connection, pytest.raises(grpc.RpcError) as raised:
        connection.unary_unary(v1beta1.DevicePlugin.ALLOCATE.path)(request, timeout=WAIT)
    name: str = raised.value.code().name
    return name


def test_server_and_channel_work_without_ssl(server_process: "subprocess.Popen[bytes]") -> None:
    assert server_process.poll() is None
