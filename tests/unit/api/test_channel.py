"""Our client, against grpcio's server and against broken ones."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import MESSAGE_LIMIT, Channel, RpcError
from kubelet_plugin.api.wire import Encoded, decode, encode
from tests.asynchronous import asynchronous
from tests.unit.api.grpcio import WAIT, grpcio_server, listening, sockets

REGISTER = v1beta1.Registration.REGISTER
ALLOCATE = v1beta1.DevicePlugin.ALLOCATE
WATCH = v1beta1.DevicePlugin.LIST_AND_WATCH
REQUEST = v1beta1.RegisterRequest(version="v1beta1", endpoint="s", resource_name="example.com/thing")


def devices(*ids: str) -> bytes:
    return encode(v1beta1.ListAndWatchResponse(devices=[v1beta1.Device(ID=each) for each in ids]))


@asynchronous
async def test_a_call_returns_the_reply(tmp_path: Path) -> None:
    def allocate(data: bytes, _: grpc.ServicerContext) -> bytes:
        ids = decode(v1beta1.AllocateRequest, data).container_requests[0].devices_ids
        return encode(
            v1beta1.AllocateResponse(container_responses=[v1beta1.ContainerAllocateResponse(envs={"IDS": ids[0]})])
        )

    request = v1beta1.AllocateRequest(container_requests=[v1beta1.ContainerAllocateRequest(devices_ids=["kvm0"])])
    with grpcio_server(tmp_path / "s", {ALLOCATE: allocate}):
        async with Channel(str(tmp_path / "s")) as channel:
            reply = await channel.call(ALLOCATE, request, timeout=WAIT)
    assert reply.container_responses[0].envs == {"IDS": "kvm0"}


@asynchronous
async def test_many_calls_at_once_share_one_connection(tmp_path: Path) -> None:
    peers = set()

    def register(_: bytes, context: grpc.ServicerContext) -> bytes:
        peers.add(context.peer())
        return b""

    with grpcio_server(tmp_path / "s", {REGISTER: register}):
        async with Channel(str(tmp_path / "s")) as channel:
            before = sockets()
            await asyncio.gather(*(channel.call(REGISTER, REQUEST, timeout=WAIT) for _ in range(300)))
            assert len(sockets() - before) <= 2  # ours, and the server's end of it


@asynchronous
async def test_a_failed_call_raises_code_and_message(tmp_path: Path) -> None:
    def register(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNKNOWN, 'the ResourceName "ä%" is invalid')
        raise AssertionError

    with grpcio_server(tmp_path / "s", {REGISTER: register}):
        async with Channel(str(tmp_path / "s")) as channel:
            with pytest.raises(RpcError) as raised:
                await channel.call(REGISTER, REQUEST, timeout=WAIT)
    assert (raised.value.code, raised.value.message) == ("UNKNOWN", 'the ResourceName "ä%" is invalid')


@asynchronous
async def test_a_method_the_server_lacks_raises_unimplemented(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {}):
        async with Channel(str(tmp_path / "s")) as channel:
            with pytest.raises(RpcError, match=r"^UNIMPLEMENTED: "):
                await channel.call(REGISTER, REQUEST, timeout=WAIT)


@asynchronous
async def test_a_request_of_3_mib_arrives_whole(tmp_path: Path) -> None:
    request = Encoded(encode(v1beta1.Device(ID="x" * 3 * 1024 * 1024)))
    received = []

    def register(data: bytes, _: grpc.ServicerContext) -> bytes:
        received.append(data)
        return b""

    with grpcio_server(tmp_path / "s", {REGISTER: register}):
        async with Channel(str(tmp_path / "s")) as channel:
            await channel.call(REGISTER, request, timeout=WAIT)
    assert received == [request.data]


@asynchronous
async def test_a_server_that_refuses_before_it_has_read_everything_is_heard(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {REGISTER: lambda _data, _context: b""}):
        async with Channel(str(tmp_path / "s")) as channel:
            with pytest.raises(RpcError, match=r"^RESOURCE_EXHAUSTED: "):
                await channel.call(REGISTER, Encoded(bytes(64 * 1024 * 1024)), timeout=WAIT)


@asynchronous
async def test_a_reply_over_the_limit_is_refused(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {REGISTER: lambda _data, _context: bytes(MESSAGE_LIMIT + 1)}):
        async with Channel(str(tmp_path / "s")) as channel:
            with pytest.raises(RpcError) as raised:
                await channel.call(REGISTER, REQUEST, timeout=WAIT)
    assert str(raised.value) == "RESOURCE_EXHAUSTED: grpc: received message larger than max (4194305 vs. 4194304)"


@asynchronous
async def test_the_limit_of_a_call_can_be_raised(tmp_path: Path) -> None:
    reply = encode(v1beta1.Device(ID="x" * (MESSAGE_LIMIT + 1)))
    with grpcio_server(tmp_path / "s", {REGISTER: lambda _data, _context: reply}):
        async with Channel(str(tmp_path / "s")) as channel:
            await channel.call(REGISTER, REQUEST, timeout=WAIT, limit=2 * MESSAGE_LIMIT)


@asynchronous
async def test_a_reply_that_does_not_decode_is_an_internal_error(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {ALLOCATE: lambda _data, _context: b"\x0a\x7f"}):
        async with Channel(str(tmp_path / "s")) as channel:
            with pytest.raises(RpcError, match=r"^INTERNAL: .*AllocateResponse\.container_responses: byte 1"):
                await channel.call(ALLOCATE, v1beta1.AllocateRequest(), timeout=WAIT)


class Hanging:
    """A handler of grpcio's that does not answer, and tells when its call is over."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()

    def __call__(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.over.set)
        self.begun.set()
        self.over.wait(WAIT)
        return b""


@asynchronous
async def test_a_call_past_its_timeout_raises_and_is_cancelled_at_the_server(tmp_path: Path) -> None:
    hanging = Hanging()
    with grpcio_server(tmp_path / "s", {REGISTER: hanging}):
        async with Channel(str(tmp_path / "s")) as channel:
            with pytest.raises(TimeoutError, match=f"^no reply from {tmp_path}/s within 0.2 s$"):
                await channel.call(REGISTER, REQUEST, timeout=0.2)
            assert await asyncio.to_thread(hanging.over.wait, WAIT)


@asynchronous
async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    hanging = Hanging()
    with grpcio_server(tmp_path / "s", {REGISTER: hanging}):
        async with Channel(str(tmp_path / "s")) as channel:
            call = asyncio.create_task(channel.call(REGISTER, REQUEST, timeout=WAIT))
            await asyncio.to_thread(hanging.begun.wait, WAIT)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(hanging.over.wait, WAIT)


@asynchronous
async def test_a_socket_that_is_absent_raises_an_os_error(tmp_path: Path) -> None:
    async with Channel(str(tmp_path / "s")) as channel:
        with pytest.raises(FileNotFoundError):
            await channel.call(REGISTER, REQUEST, timeout=WAIT)


@asynchronous
async def test_a_socket_nobody_listens_on_raises_an_os_error(tmp_path: Path) -> None:
    listening(tmp_path / "s").close()
    async with Channel(str(tmp_path / "s")) as channel:
        with pytest.raises(ConnectionRefusedError):
            await channel.call(REGISTER, REQUEST, timeout=WAIT)


@asynchronous
async def test_a_stream_yields_the_replies_and_ends(tmp_path: Path) -> None:
    def watch(_: bytes, __: grpc.ServicerContext) -> Iterator[bytes]:
        yield devices("kvm0")
        yield devices()

    with grpcio_server(tmp_path / "s", {WATCH: watch}):
        async with Channel(str(tmp_path / "s")) as channel:
            replies = [reply async for reply in channel.stream(WATCH, v1beta1.Empty())]
    assert [encode(reply) for reply in replies] == [devices("kvm0"), b""]


@asynchronous
async def test_a_stream_that_fails_raises_after_its_replies(tmp_path: Path) -> None:
    def watch(_: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield devices("kvm0")
        context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    with grpcio_server(tmp_path / "s", {WATCH: watch}):
        async with Channel(str(tmp_path / "s")) as channel:
            stream = channel.stream(WATCH, v1beta1.Empty())
            assert encode(await anext(stream)) == devices("kvm0")
            with pytest.raises(RpcError, match=r"^DATA_LOSS: gone$"):
                await anext(stream)


class Endless:
    """A streaming handler of grpcio's: one reply, then silence until the call is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.over.set)
        yield devices("kvm0")
        self.over.wait(WAIT)


@asynchronous
async def test_closing_the_generator_cancels_the_stream_at_the_server(tmp_path: Path) -> None:
    endless = Endless()
    with grpcio_server(tmp_path / "s", {WATCH: endless}):
        async with Channel(str(tmp_path / "s")) as channel:
            stream = channel.stream(WATCH, v1beta1.Empty())
            await anext(stream)
            await stream.aclose()
            assert await asyncio.to_thread(endless.over.wait, WAIT)


@asynchronous
async def test_a_stream_whose_server_goes_raises_unavailable(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {WATCH: Endless()}) as server:
        async with Channel(str(tmp_path / "s")) as channel:
            stream = channel.stream(WATCH, v1beta1.Empty())
            await anext(stream)
            server.stop(None)
            with pytest.raises(RpcError, match=r"^UNAVAILABLE: "):
                await anext(stream)


@asynchronous
async def test_a_call_after_the_connection_is_lost_raises_unavailable(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {WATCH: Endless()}) as server:
        async with Channel(str(tmp_path / "s")) as channel:
            stream = channel.stream(WATCH, v1beta1.Empty())
            await anext(stream)
            await asyncio.to_thread(server.stop(None).wait, WAIT)
            with pytest.raises(RpcError):
                await anext(stream)
            with pytest.raises(RpcError, match=r"^UNAVAILABLE: the connection to .* is lost$"):
                await channel.call(REGISTER, REQUEST, timeout=WAIT)


@asynchronous
async def test_closing_the_channel_ends_its_calls(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {WATCH: Endless()}):
        channel = Channel(str(tmp_path / "s"))
        stream = channel.stream(WATCH, v1beta1.Empty())
        await anext(stream)
        await channel.close()
        with pytest.raises(RpcError, match=r"^UNAVAILABLE: .*The channel is closed$"):
            await anext(stream)


@asynchronous
async def test_a_timeout_of_the_caller_works_after_the_server_went(tmp_path: Path) -> None:
    with grpcio_server(tmp_path / "s", {WATCH: Endless()}) as server:
        async with Channel(str(tmp_path / "s")) as channel:
            timeout = asyncio.timeout(None)
            with contextlib.suppress(TimeoutError):
                async with timeout:
                    stream = channel.stream(WATCH, v1beta1.Empty())
                    await anext(stream)
                    server.stop(None)
                    with pytest.raises(RpcError):
                        await anext(stream)
                    timeout.reschedule(0)
                    await asyncio.Event().wait()
            assert timeout.expired()


class Http2Server:
    """A server that answers every request with the given headers, data and trailers, and keeps the request's headers."""

    def __init__(self, headers: dict[str, str], data: bytes = b"", trailers: dict[str, str] | None = None) -> None:
        self._headers, self._data, self._trailers = headers, data, trailers
        self.received: dict[bytes, bytes] = {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        h2 = H2Connection(H2Configuration(client_side=False))
        h2.initiate_connection()
        while data := await reader.read(65536):
            for event in h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    self.received = dict(event.headers)
                if isinstance(event, StreamEnded):
                    self._answer(h2, event.stream_id)
            writer.write(h2.data_to_send())
        writer.close()

    def _answer(self, h2: H2Connection, stream_id: int) -> None:
        h2.send_headers(stream_id, list(self._headers.items()))
        h2.send_data(stream_id, self._data, end_stream=self._trailers is None)
        if self._trailers is not None:
            h2.send_headers(stream_id, list(self._trailers.items()), end_stream=True)


async def called(path: Path, peer: Callable[..., Awaitable[None]]) -> object:
    """Make one call to a server of streams."""
    server = await asyncio.start_unix_server(peer, path)
    try:
        async with Channel(str(path)) as channel:
            return await channel.call(REGISTER, REQUEST, timeout=WAIT)
    finally:
        server.close()


GRPC = {":status": "200", "content-type": "application/grpc"}


@asynchronous
async def test_the_request_is_what_grpc_go_accepts(tmp_path: Path) -> None:
    peer = Http2Server(GRPC, bytes(5), {"grpc-status": "0"})
    assert await called(tmp_path / "s", peer) == v1beta1.Empty()
    expected = {b":authority": b"localhost", b":scheme": b"http", b"te": b"trailers", b"grpc-timeout": b"20000m"}
    assert expected.items() <= peer.received.items()


@pytest.mark.parametrize(
    ("headers", "data", "trailers", "text"),
    [
        ({":status": "404"}, b"", None, "^UNIMPLEMENTED: the peer answered with HTTP status 404$"),
        ({":status": "302"}, b"", None, "^UNKNOWN: the peer answered with HTTP status 302$"),
        ({":status": "200"}, b"", None, "^UNKNOWN: the peer answered with content-type '', which is not gRPC$"),
        (GRPC, bytes(5), None, "^UNKNOWN: the peer answered with grpc-status none"),
        (GRPC, bytes(5), {"grpc-status": "99"}, "^UNKNOWN: the peer answered with grpc-status 99"),
        (GRPC, bytes(5), {"grpc-status": "5", "grpc-message": "%E4%"}, "^NOT_FOUND: �%$"),
        (GRPC, b"", {"grpc-status": "0"}, "^INTERNAL: the server answered OK without a reply$"),
        (GRPC, bytes(4), {"grpc-status": "0"}, "^INTERNAL: the stream ended within a message$"),
        (GRPC, b"\1\0\0\0\1x", {"grpc-status": "0"}, "^UNIMPLEMENTED: grpc: compressed messages are not supported$"),
    ],
)
@asynchronous
async def test_an_answer_that_is_not_as_it_should_be_raises(
    headers: dict[str, str], data: bytes, trailers: dict[str, str] | None, text: str, tmp_path: Path
) -> None:
    with pytest.raises(RpcError, match=text):
        await called(tmp_path / "s", Http2Server(headers, data, trailers))


@pytest.mark.parametrize(
    "rubbish", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100_000)], ids=["nothing", "http-1", "zeros"]
)
@asynchronous
async def test_a_server_that_speaks_no_http2_raises_unavailable(rubbish: bytes, tmp_path: Path) -> None:
    async def peer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(rubbish)
        writer.close()

    with pytest.raises(RpcError, match=r"^UNAVAILABLE: "):
        await called(tmp_path / "s", peer)


@asynchronous
async def test_a_server_that_stops_reading_does_not_hold_a_call_beyond_its_timeout(tmp_path: Path) -> None:
    done = asyncio.Event()

    async def peer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await done.wait()
        writer.close()

    server = await asyncio.start_unix_server(peer, tmp_path / "s")
    async with Channel(str(tmp_path / "s")) as channel:
        with pytest.raises(TimeoutError):
            await channel.call(REGISTER, Encoded(bytes(MESSAGE_LIMIT)), timeout=0.2)
    done.set()
    server.close()
