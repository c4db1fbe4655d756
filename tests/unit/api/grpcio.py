"""grpcio as the other side: a client of our server and a server for our client, both with plain bytes."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

import grpc

from kubelet_plugin.api.transport import Handler, Method, Server

OPTIONS = [("grpc.default_authority", "localhost"), ("grpc.max_send_message_length", -1)]
WAIT = 20.0  # seconds; longer than anything here takes


def listening(path: Path) -> socket:
    sock = socket(AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def sockets() -> set[str]:
    """The sockets this process has open; grpcio closes its own some time after the last call."""
    targets = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            targets.add(os.readlink(f"/proc/self/fd/{name}"))
    return {target for target in targets if target.startswith("socket:")}


@contextlib.asynccontextmanager
async def serving(path: Path, handlers: Mapping[Method[Any, Any], Handler]) -> AsyncIterator[Server]:
    """Our server, on a socket at `path`."""
    server = Server(handlers, name="example.com/thing")
    await server.listen(listening(path))
    try:
        yield server
    finally:
        await server.close()


@contextlib.contextmanager
def channel(path: Path) -> Iterator[Any]:
    """grpcio's client; its calls block and belong into a thread."""
    with grpc.insecure_channel(f"unix:{path}", options=OPTIONS) as connection:
        yield connection


async def unary(path: Path, method: Method[Any, Any], request: bytes = b"", **options: Any) -> bytes:
    """Make one call by grpcio."""

    def call() -> bytes:
        with channel(path) as connection:
            return bytes(connection.unary_unary(method.path)(request, timeout=WAIT, **options))

    return await asyncio.to_thread(call)


async def failure(path: Path, method: Method[Any, Any], request: bytes = b"", **options: Any) -> tuple[str, str]:
    """Make one call by grpcio that must fail, and return the status code's name and the message."""
    try:
        await unary(path, method, request, **options)
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError("the call succeeded")


@contextlib.contextmanager
def grpcio_server(path: Path, handlers: Mapping[Method[Any, Any], Callable[..., Any]]) -> Iterator[grpc.Server]:
    """grpcio's server; handlers get bytes and a context, and return or yield bytes."""
    by_name: dict[str, Any] = {
        method.path: (
            grpc.unary_stream_rpc_method_handler if method.streaming else grpc.unary_unary_rpc_method_handler
        )(handler)
        for method, handler in handlers.items()
    }

    class Generic(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return by_name.get(details.method)

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Generic()], options=OPTIONS)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield server
    finally:
        server.stop(None).wait(WAIT)
