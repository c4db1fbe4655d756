"""The measuring side: a kubelet as far as a plugin can see it, one and the same client for every peer.

grpcio is the transport. Times are taken in the handler or the reading thread, before anything is decoded.
"""

import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import grpc

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import wire

TIMEOUT = 10.0
_OPTIONS = (("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", 4 * 1024 * 1024))
_EMPTY = wire.encode(v1beta1.Empty())


class NothingHappenedError(Exception):
    """What was waited for did not come in time."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One message of a ListAndWatch stream.

    Attributes:
        at: When it had arrived, by `perf_counter`.
        health: The health of each device by its id.
    """

    at: float
    health: dict[str, str]

    def all_are(self, health: str) -> bool:
        """Tell whether there are devices and all are in that state."""
        return set(self.health.values()) == {health}


class Stream:
    """A ListAndWatch stream, read by a thread of its own."""

    def __init__(self, channel: grpc.Channel) -> None:
        call: Any = channel.unary_stream(v1beta1.DevicePlugin.LIST_AND_WATCH.path)
        self._messages: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self.opened_at = perf_counter()
        self._call = call(_EMPTY, wait_for_ready=True)
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, timeout: float = TIMEOUT) -> Listed:
        """Return the next list; raise NothingHappenedError when none comes within `timeout` seconds."""
        try:
            at, data = self._messages.get(timeout=timeout)
        except queue.Empty:
            raise NothingHappenedError(f"no list within {timeout:g} s") from None
        return Listed(at, {d.ID: d.health for d in wire.decode(v1beta1.ListAndWatchResponse, data).devices})

    def until(self, wanted: Callable[[Listed], bool], timeout: float = TIMEOUT) -> Listed:
        """Return the first of the next lists that is as wanted."""
        deadline = perf_counter() + timeout
        while True:
            listed = self.next(max(0.0, deadline - perf_counter()))
            if wanted(listed):
                return listed

    def cancel(self) -> None:
        """End the stream."""
        self._call.cancel()

    def _read(self) -> None:
        try:
            for data in self._call:
                self._messages.put((perf_counter(), data))
        except grpc.RpcError:
            pass  # it ended, as streams do; whoever waits for a list runs into the timeout


class Registered:
    """One registration and the connection it led to.

    Attributes:
        at: When Register had arrived, by `perf_counter`.
        accepted_at: When the plugin had answered the call for its options.
        stream: The stream that a kubelet opens then.
    """

    def __init__(self, path: str, at: float) -> None:
        self.at = at
        self._channel = grpc.insecure_channel(f"unix:{path}", options=_OPTIONS)
        self._method(v1beta1.DevicePlugin.GET_DEVICE_PLUGIN_OPTIONS.path)(_EMPTY, timeout=TIMEOUT, wait_for_ready=True)
        self.accepted_at = perf_counter()
        self.stream = Stream(self._channel)

    def allocate(self, requests: Iterator[bytes], calls: int) -> list[float]:
        """Make calls one after the other and return how long each took, in seconds."""
        method = self._method(v1beta1.DevicePlugin.ALLOCATE.path)
        durations = []
        for _ in range(calls):
            request = next(requests)
            before = perf_counter()
            method(request, timeout=TIMEOUT)
            durations.append(perf_counter() - before)
        return durations

    def close(self) -> None:
        """Drop the connection, as a kubelet does that ends."""
        self._channel.close()

    def _method(self, path: str) -> Any:
        return self._channel.unary_unary(path)


class Kubelet:
    """A registration server at `kubelet.sock`.

    Args:
        plugin_dir: The device-plugin directory.
        private_dir: A directory on the same file system for the server's real socket. The name `kubelet.sock` is a
            second link to it, made when the server already listens: one instant from which to measure.
    """

    def __init__(self, plugin_dir: str, private_dir: str) -> None:
        self._plugin_dir = plugin_dir
        self._private_dir = private_dir
        self._generation = 0
        self._server: grpc.Server | None = None
        self._registrations: queue.SimpleQueue[Registered] = queue.SimpleQueue()
        self._open: list[Registered] = []

    def start(self) -> float:
        """Remove all sockets from the directory and make `kubelet.sock`; return when that was, by `perf_counter`."""
        self._generation += 1
        self._registrations = queue.SimpleQueue()
        socket = os.path.join(self._private_dir, f"{self._generation}.sock")
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        method: Any = grpc.unary_unary_rpc_method_handler(self._register)
        service, _, name = v1beta1.Registration.REGISTER.path.removeprefix("/").partition("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()
        for entry in os.scandir(self._plugin_dir):
            if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                os.unlink(entry.path)
        at = perf_counter()
        os.link(socket, os.path.join(self._plugin_dir, "kubelet.sock"))
        return at

    def registered(self, timeout: float) -> Registered:
        """Return the next registration; raise NothingHappenedError when none comes within `timeout` seconds."""
        try:
            return self._registrations.get(timeout=timeout)
        except queue.Empty:
            raise NothingHappenedError(f"no registration within {timeout:g} s") from None

    def stop(self) -> None:
        """End as a killed kubelet does: connections drop, and `kubelet.sock` stays with nobody behind it."""
        while self._open:
            self._open.pop().close()
        if self._server:
            self._server.stop(None).wait()
            self._server = None

    def _register(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        at = perf_counter()
        request = wire.decode(v1beta1.RegisterRequest, data)
        try:
            registered = Registered(os.path.join(self._plugin_dir, request.endpoint), at)
        except grpc.RpcError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"failed to dial device plugin: {error}")
            raise
        self._open.append(registered)
        self._registrations.put(registered)
        return _EMPTY


def allocate_request(*device_ids: str) -> bytes:
    """Return an encoded Allocate request of one container."""
    container = v1beta1.ContainerAllocateRequest(devices_ids=list(device_ids))
    return wire.encode(v1beta1.AllocateRequest(container_requests=[container]))
