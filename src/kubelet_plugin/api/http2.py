"""HTTP/2 connections and streams as gRPC uses them; nothing else here or elsewhere knows grpclib or h2.

Only grpclib's protocol layer is used: its server and client neither limit a message nor let go of a call that is
cancelled before it began, and they write a peer's mistakes to the log as tracebacks.
"""

import asyncio
import contextlib
import functools
import logging
import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from grpclib import protocol
from grpclib.config import Configuration
from grpclib.utils import Wrapper
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, RemoteSettingsChanged, StreamReset
from h2.exceptions import ProtocolError

from kubelet_plugin.errors import RpcError

# Names and values, as bytes since a peer may send what is no text.
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)

_CONNECTION_WINDOW = 1024 * 1024  # what all streams of a connection may send before it is read; one stream: 64 KiB
_FRAME_LIMIT = 32 * 1024  # what a stream writes at once, however much the peer would take
_UNREAD_LIMIT = 4 * 1024 * 1024  # what is kept for a peer that makes us answer and does not read
_CLOSED_STREAMS = 1024
_PREFIX = struct.Struct(">BI")  # gRPC's: whether the message is compressed, and its size


class TerminatedError(Exception):
    """The peer cancelled the stream, or the connection is lost."""


GONE = (TerminatedError, ProtocolError)  # a stream cannot be written to any more


class _Inbox:
    """What a stream has received and nobody has read; reading it lets the peer send more."""

    def __init__(self, ack: Callable[[int], None]) -> None:
        self._ack = ack
        self._data = bytearray()
        self._unacked = 0
        self._ended = False
        self._changed = asyncio.Event()

    def add(self, data: bytes, ack_size: int) -> None:
        self._data += data
        self._unacked += ack_size
        self._changed.set()

    def eof(self) -> None:
        self._ended = True
        self._changed.set()

    def unacked_size(self) -> int:
        size, self._unacked = self._unacked, 0
        return size

    async def read(self, size: int) -> bytes:
        """Return `size` bytes; fewer when the stream ends before."""
        while True:
            self._ack(self.unacked_size())
            if len(self._data) >= size or self._ended:
                break
            self._changed.clear()
            await self._changed.wait()
        data = bytes(memoryview(self._data)[:size])
        del self._data[:size]
        return data


class Stream(protocol.Stream):
    """One call.

    Attributes:
        terminated: Why the stream ended before its time; None while it has not.
        reset_code: The HTTP/2 error code with which the peer cancelled it.
        started: Whether headers were sent.
    """

    terminated: str | None = None
    reset_code: int | None = None
    started = False

    def init_stream(self, stream_id: int, connection: protocol.Connection) -> None:
        self.id = stream_id
        self.inbox = _Inbox(functools.partial(connection.ack, stream_id))
        self.buffer = cast("protocol.Buffer", self.inbox)

    async def read_message(self, limit: int) -> bytes | None:
        """Read a message; None where the peer ended the stream instead.

        Raises:
            RpcError: The message is over `limit` bytes, is compressed, or ends before its time.
            TerminatedError: The stream was terminated.
        """
        prefix = await self._read(_PREFIX.size)
        if prefix is None:
            return None
        compressed, size = _PREFIX.unpack(prefix)
        if compressed:
            raise RpcError("UNIMPLEMENTED", "grpc: compressed messages are not supported")
        if size > limit:
            raise RpcError("RESOURCE_EXHAUSTED", f"grpc: received message larger than max ({size} vs. {limit})")
        return await self._read(size) if size else b""

    async def _read(self, size: int) -> bytes | None:
        data = await self.inbox.read(size)
        if len(data) == size:
            return data
        if self.terminated is not None:
            raise TerminatedError(self.terminated)
        if data:
            raise RpcError("INTERNAL", "the stream ended within a message")
        return None

    def put_headers(self, headers: Sequence[tuple[str, str]], *, end: bool = False) -> None:
        """Put headers, or after a message trailers, into the next flush.

        Raises:
            TerminatedError: The stream is closed.
        """
        if self.id not in self._h2_connection.streams:  # h2 would take it for a new one
            raise TerminatedError(self.terminated or "the stream is closed")
        self._h2_connection.send_headers(self.id, headers, end_stream=end)
        self.started = True

    async def put_message(self, message: bytes, *, end: bool = False) -> None:
        """Send a message as the peer reads it; the last part of it goes with the next flush.

        Raises:
            TerminatedError, ProtocolError: The stream is closed.
        """
        rest = memoryview(_PREFIX.pack(0, len(message)) + message)
        while rest:
            await self.connection.write_ready.wait()
            size = min(len(rest), self._window())
            if size:
                self._h2_connection.send_data(self._id, rest[:size], end_stream=end and size == len(rest))
                rest = rest[size:]
            if rest:
                self.flush()
            if not size:
                self.window_updated.clear()
                await self.window_updated.wait()

    def _window(self) -> int:
        if self.terminated is not None:
            raise TerminatedError(self.terminated)
        h2 = self._h2_connection
        return max(0, min(h2.local_flow_control_window(self._id), h2.max_outbound_frame_size, _FRAME_LIMIT))

    def flush(self) -> None:
        self.connection.flush()

    def finish(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Flush, and tell a peer that has not ended the stream that nobody reads it any more."""
        if self.closable:
            self._h2_connection.reset_stream(self._id, error_code=code)
        self.flush()

    def cancel(self) -> None:
        """Tell a peer that has not ended the stream that nobody waits for the rest."""
        self.finish(ErrorCodes.CANCEL)

    @property
    def _id(self) -> int:
        assert self.id is not None
        return self.id

    async def response_headers(self) -> Headers:
        """Wait for the headers of the answer.

        Raises:
            TerminatedError: There will be none.
        """
        await self.headers_received.wait()
        if self.headers is None:
            raise TerminatedError(self.terminated)
        return cast("Headers", self.headers)

    async def response_trailers(self) -> Headers:
        """Wait for the trailers of the answer; they are empty where it ended without.

        Raises:
            TerminatedError: There will be none.
        """
        await self.trailers_received.wait()
        if self.trailers is None and self.terminated is not None:
            raise TerminatedError(self.terminated)
        return cast("Headers", self.trailers or ())

    def __ended__(self) -> None:
        self.inbox.eof()
        self.trailers_received.set()

    def __terminated__(self, reason: str) -> None:
        if self.terminated is None:
            self.terminated = reason
        self.inbox.eof()
        for event in (self.headers_received, self.trailers_received, self.window_updated):
            event.set()


class _H2Connection(H2Connection):
    MAX_CLOSED_STREAMS = _CLOSED_STREAMS  # the default lets a connection grow by megabytes


class _Connection(protocol.Connection):
    def create_stream(self, *, stream_id: int | None = None, wrapper: Wrapper | None = None) -> Stream:
        return Stream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)

    def flush(self) -> None:
        if not self.is_closing():
            super().flush()

    def ack(self, stream_id: int, size: int) -> None:
        if not self.is_closing():
            super().ack(stream_id, size)

    def close(self) -> None:
        """Say goodbye and close, without waiting for a peer that does not read; wakes whoever waits to write."""
        if not hasattr(self, "_transport"):
            return
        if self._connection.state_machine.state is not ConnectionState.CLOSED:
            self._connection.close_connection()
        self.flush()
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        super().close()
        self.write_ready.set()
        self.stream_close_waiter.set()

    @property
    def unread(self) -> int:
        return 0 if self.is_closing() else self._transport.get_write_buffer_size()


class _Processor(protocol.EventsProcessor):
    def process_stream_reset(self, event: StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if isinstance(stream, Stream):
            stream.reset_code = event.error_code
        super().process_stream_reset(event)


# Starts to answer a call that came in.
Start: TypeAlias = Callable[[Stream, Headers], "asyncio.Task[None]"]


class _Calls(protocol.AbstractHandler):
    """The calls that came in over one connection and have not ended."""

    def __init__(self, start: Start | None) -> None:
        self._start = start
        self._tasks: dict[protocol.Stream, asyncio.Task[None]] = {}

    def accept(self, stream: protocol.Stream, headers: object, release_stream: Callable[[], None]) -> None:
        if self._start is None or not isinstance(stream, Stream):
            return

        def done(_: object) -> None:
            del self._tasks[stream]
            release_stream()

        task = self._tasks[stream] = self._start(stream, cast("Headers", headers))
        task.add_done_callback(done)  # not in the task itself: one that is cancelled before it begins never runs

    def cancel(self, stream: protocol.Stream) -> None:
        task = self._tasks.get(stream)
        if task is not None and not task.cancelling():  # a second time would interrupt its cleaning up
            task.cancel()

    def close(self) -> None:
        for stream in self._tasks:
            self.cancel(stream)


class Protocol(protocol.H2Protocol):
    """One connection.

    Args:
        start: Starts to answer a call that comes in; None at a client.
        made: Called when the connection is made.
        lost: Called when it is lost.
    """

    def __init__(
        self,
        start: Start | None = None,
        made: Callable[["Protocol"], None] | None = None,
        lost: Callable[["Protocol"], None] | None = None,
    ) -> None:
        h2_config = H2Configuration(
            client_side=start is None,
            header_encoding=None,
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        super().__init__(_Calls(start), Configuration(), h2_config)
        self._made = made
        self._lost = lost
        self.is_ready = asyncio.Event()  # the peer speaks HTTP/2, as its settings prove
        self.is_lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        h2_connection = _H2Connection(config=self.h2_config)
        h2_connection.initiate_connection()
        h2_connection.increment_flow_control_window(
            _CONNECTION_WINDOW - h2_connection.local_settings.initial_window_size
        )
        self.connection = _Connection(h2_connection, cast("asyncio.Transport", transport), config=self.config)
        self.connection.flush()
        self.processor = _Processor(self.handler, self.connection)
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        try:
            events = self.connection.feed(data)
        except Exception as error:  # noqa: BLE001 - h2 raises more than it says, and a peer may send anything
            _log.debug("a peer does not speak HTTP/2: %r", error)
            self.close("Protocol error")
            return
        for event in events:
            if isinstance(event, RemoteSettingsChanged):
                self.is_ready.set()
            self._process(event)
        self.connection.flush()
        if cast("_Connection", self.connection).unread > _UNREAD_LIMIT:
            self.close("The peer does not read")

    def _process(self, event: Event) -> None:
        with contextlib.suppress(NotImplementedError):  # an event that gRPC has no use for
            self.processor.process(event)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.is_ready.set()
        self.is_lost.set()
        if self._lost is not None:
            self._lost(self)

    def close(self, reason: str) -> None:
        """Close the connection and cancel its calls; `is_lost` tells when it is done."""
        self.processor.close(reason)

    async def open(self, headers: Sequence[tuple[str, str]]) -> tuple[Stream, Callable[[], None]]:
        """Begin a call; when it is over, call what is returned beside the stream.

        Raises:
            TerminatedError, ProtocolError: The connection is closed.
        """
        if self.connection.is_closing():
            raise TerminatedError("the connection is closed")
        stream = cast("_Connection", self.connection).create_stream()
        release = await stream.send_request(list(headers), _processor=self.processor)
        return stream, release
