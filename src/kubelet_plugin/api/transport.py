"""gRPC over unix sockets: a server and a client for the messages of this package.

Both sides refuse a message over 4 MiB before they take it in, as the kubelet does, and refuse compressed ones. An idle
connection has no timers: the kernel tells at once when the process at the other end of a unix socket is gone.
"""

import asyncio
import contextlib
import logging
import re
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self, TypeAlias, TypeVar, cast

from kubelet_plugin.api import http2, status
from kubelet_plugin.api.message import Message
from kubelet_plugin.api.method import Method
from kubelet_plugin.api.wire import Encoded, decode, encode
from kubelet_plugin.errors import RpcError, WireError

__all__ = ["MESSAGE_LIMIT", "Channel", "Handler", "Method", "RpcError", "Server"]

MESSAGE_LIMIT = 4 * 1024 * 1024

# Answers a call: with one reply, or with any number of them.
Handler: TypeAlias = Callable[[Any], Awaitable[Any]] | Callable[[Any], AsyncIterator[Any]]

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)

_log = logging.getLogger(__name__)

_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))
_OK = (("grpc-status", "0"),)
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?(;.*)?")
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_SECONDS = {b"H": 3600, b"M": 60, b"S": 1, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Server:
    """Answers calls on a unix socket.

    A handler may raise `RpcError` to end its call with that status. Any other exception ends it with `UNKNOWN`, the
    name of the exception and its text, and is logged.

    Args:
        handlers: What answers which method: a coroutine function that returns a reply, or, for a streaming method, a
            function that returns an asynchronous iterator of them, which is closed (`aclose`) when the stream ends for
            whatever reason. A reply may be `Encoded` beforehand.
        name: The resource that is served, as log records name it.
    """

    def __init__(self, handlers: Mapping[Method[Any, Any], Handler], *, name: str) -> None:
        self._handlers = {method.path.encode(): (method, handler) for method, handler in handlers.items()}
        self._name = name
        self._listener: asyncio.Server | None = None
        self._connections: set[http2.Protocol] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._closed = False

    async def listen(self, sock: socket.socket) -> None:
        """Accept connections on a socket instead of the one before; open connections go on.

        Args:
            sock: A listening unix socket. It belongs to the server from now on; its file does not.
        """
        loop = asyncio.get_running_loop()
        before = self._listener
        if sys.version_info >= (3, 13):
            self._listener = await loop.create_unix_server(
                self._protocol, sock=sock, cleanup_socket=False, start_serving=False
            )
        else:
            self._listener = await loop.create_unix_server(self._protocol, sock=sock, start_serving=False)
        if before is not None:
            await _stop(before)
        await self._listener.start_serving()

    async def close(self) -> None:
        """Stop listening, close all connections, cancel the handlers and wait until they have ended."""
        self._closed = True
        if self._listener is not None:
            await _stop(self._listener)
            self._listener = None
        connections = list(self._connections)
        for connection in connections:
            connection.close("The server is closed")
        if self._calls:
            await asyncio.wait(self._calls)
        for connection in connections:
            await connection.is_lost.wait()

    def _protocol(self) -> http2.Protocol:
        return http2.Protocol(self._start, self._made, self._connections.discard)

    def _made(self, connection: http2.Protocol) -> None:
        self._connections.add(connection)
        if self._closed:
            connection.close("The server is closed")

    def _start(self, stream: http2.Stream, headers: http2.Headers) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._serve(stream, dict(headers)))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def _serve(self, stream: http2.Stream, headers: dict[bytes, bytes]) -> None:
        with contextlib.suppress(*http2.GONE):
            try:
                await self._answer(stream, headers)
            except RpcError as error:
                _end(stream, error.code, error.message)
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                _end(stream, "CANCELLED", "the handler was cancelled")

    async def _answer(self, stream: http2.Stream, headers: dict[bytes, bytes]) -> None:
        if refusal := _http_refusal(headers):
            stream.put_headers([(":status", refusal)], end=True)
            stream.finish()
            return
        path = headers.get(b":path", b"")
        if path not in self._handlers:
            raise RpcError("UNIMPLEMENTED", f"unknown method {path.decode(errors='replace')}")
        timeout = asyncio.timeout(_timeout(headers))
        try:
            async with timeout:
                await self._call(stream, *self._handlers[path])
        except TimeoutError:
            raise RpcError("DEADLINE_EXCEEDED", "the caller's deadline has passed") from None

    async def _call(self, stream: http2.Stream, method: Method[Any, Any], handler: Handler) -> None:
        data = await stream.read_message(MESSAGE_LIMIT)
        if data is None:
            raise RpcError("INTERNAL", "the caller sent no request")
        try:
            request = decode(method.request, data)
        except WireError as error:
            raise RpcError("INTERNAL", f"grpc: error unmarshalling request: {error}") from error
        try:
            if method.streaming:
                await _stream_replies(stream, handler, request)
            else:
                await _put(stream, await cast("Awaitable[Any]", handler(request)))
        except (RpcError, *http2.GONE):
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            _log.error("%s failed: %s", method.path, text, exc_info=error, extra={"resource": self._name})
            raise RpcError("UNKNOWN", text) from error
        stream.put_headers(_OK if stream.started else (*_HEADERS, *_OK), end=True)
        stream.finish()


async def _stop(listener: asyncio.Server) -> None:
    """Close a listener. asyncio leaks a connection that it accepted just before, and has not begun with (3.11)."""
    for sock in listener.sockets:
        asyncio.get_running_loop().remove_reader(sock.fileno())
    try:
        await asyncio.sleep(0)
    finally:
        listener.close()


async def _stream_replies(stream: http2.Stream, handler: Handler, request: Message) -> None:
    replies = cast("AsyncIterator[Any]", handler(request))
    try:
        async for reply in replies:
            await _put(stream, reply)
            stream.flush()
    finally:
        if aclose := getattr(replies, "aclose", None):
            await aclose()


async def _put(stream: http2.Stream, reply: Message | Encoded) -> None:
    data = _data(reply)
    if not stream.started:
        stream.put_headers(_HEADERS)
    await stream.put_message(data)


def _data(message: Message | Encoded) -> bytes:
    return message.data if isinstance(message, Encoded) else encode(message)


def _end(stream: http2.Stream, code: str, message: str) -> None:
    headers = status.headers(code, message)
    stream.put_headers(headers if stream.started else [*_HEADERS, *headers], end=True)
    stream.finish()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _http_refusal(headers: dict[bytes, bytes]) -> str | None:
    if headers.get(b":method") != b"POST":
        return "405"
    return None if _CONTENT_TYPE.fullmatch(headers.get(b"content-type", b"")) else "415"


def _timeout(headers: dict[bytes, bytes]) -> float | None:
    value = headers.get(b"grpc-timeout")
    if value is None:
        return None
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise RpcError("INTERNAL", "malformed grpc-timeout")
    return int(match[1]) * _SECONDS[match[2]]


class Channel:
    """Calls a server on a unix socket, over one connection, which the first call makes.

    An asynchronous context manager, which closes the connection. A connection that is lost is not made again.

    Args:
        path: The path of the socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: http2.Protocol | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Make the connection, where there is none yet, and wait until the server answers on it.

        Raises:
            OSError: The server cannot be reached, or does not speak HTTP/2.
        """
        connection = await self._connect()
        await connection.is_ready.wait()
        if connection.is_lost.is_set():
            self._connection = None
            raise ConnectionResetError(f"{self._path}: the connection is lost before the server has answered")

    async def close(self) -> None:
        """Close the connection; calls that have not ended fail."""
        if self._connection is not None:
            self._connection.close("The channel is closed")
            await self._connection.is_lost.wait()

    async def call(
        self,
        method: Method[Request, Reply],
        request: Request | Encoded,
        *,
        timeout: float | None,
        limit: int = MESSAGE_LIMIT,
    ) -> Reply:
        """Make a call that has one reply.

        Args:
            method: What to call.
            request: What to send.
            timeout: For how many seconds to wait for the reply, connecting included; None: for ever.
            limit: How many bytes the reply may have.

        Raises:
            RpcError: The call ended with a status other than OK, or the connection is lost (`UNAVAILABLE`).
            TimeoutError: There was no reply in time; the server is told that nobody waits any more.
            OSError: The server cannot be reached.
        """
        try:
            async with asyncio.timeout(timeout), self._open(method, request, timeout=timeout) as stream:
                data = await stream.read_message(limit)
                status.check(await _outcome(stream))
                if data is None:
                    raise RpcError("INTERNAL", "the server answered OK without a reply")
                return _decoded(method, data)
        except TimeoutError:
            raise TimeoutError(f"no reply from {self._path} within {timeout} s") from None

    async def stream(
        self, method: Method[Request, Reply], request: Request | Encoded, *, limit: int = MESSAGE_LIMIT
    ) -> AsyncGenerator[Reply, None]:
        """Make a call that has any number of replies, and yield them; closing the generator cancels the call.

        Args:
            method: What to call.
            request: What to send.
            limit: How many bytes each reply may have.

        Raises:
            RpcError: The call ended with a status other than OK, or the connection is lost (`UNAVAILABLE`).
            OSError: The server cannot be reached.
        """
        async with self._open(method, request) as stream:
            while (data := await stream.read_message(limit)) is not None:
                yield _decoded(method, data)
            status.check(await _outcome(stream))

    @contextlib.asynccontextmanager
    async def _open(
        self,
        method: Method[Any, Any],
        request: Message | Encoded,
        *,
        timeout: float | None = None,
    ) -> AsyncGenerator[http2.Stream, None]:
        """Send a request and wait for the headers of the answer."""
        data = _data(request)
        connection = await self._connect()
        try:
            stream, release = await connection.open(_request_headers(method.path, timeout))
        except http2.GONE as error:
            raise RpcError("UNAVAILABLE", f"the connection to {self._path} is lost") from error
        try:
            with contextlib.suppress(*http2.GONE):  # who answers before all is sent says why
                await stream.put_message(data, end=True)
                stream.flush()
            headers = dict(await stream.response_headers())
            status.check_http(headers)
            if b"grpc-status" in headers:
                status.check(headers)
            yield stream
        except http2.TerminatedError as error:
            if stream.trailers is not None:
                status.check(await _outcome(stream))
            raise status.of_reset(stream.reset_code, f"{self._path}: {error}") from error
        finally:
            with contextlib.suppress(*http2.GONE):
                stream.cancel()
            release()

    async def _connect(self) -> http2.Protocol:
        async with self._connecting:
            if self._connection is None:
                loop = asyncio.get_running_loop()
                _, self._connection = await loop.create_unix_connection(http2.Protocol, self._path)
            return self._connection


def _request_headers(path: str, timeout: float | None) -> list[tuple[str, str]]:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),  # grpc-go refuses a socket's path there
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "kubelet-plugin"),
    ]
    if timeout is not None:
        headers.append(("grpc-timeout", f"{min(int(timeout * 1000), 99_999_999)}m"))
    return headers


async def _outcome(stream: http2.Stream) -> dict[bytes, bytes]:
    """Wait for what says how a call ended: its trailers, or its headers where nothing followed them."""
    return dict(await stream.response_trailers() or await stream.response_headers())


def _decoded(method: Method[Any, Reply], data: bytes) -> Reply:
    try:
        return decode(method.reply, data)
    except WireError as error:
        raise RpcError("INTERNAL", f"grpc: failed to unmarshal the received message: {error}") from error
