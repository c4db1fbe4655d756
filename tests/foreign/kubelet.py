"""A kubelet's side of the socket made of nothing of ours: grpcio for the transport, protobuf's runtime for the messages.

It does what a kubelet does as far as a plugin can see it: it removes all sockets when it starts, dials back inside
Register, calls GetDevicePluginOptions, and then reads one ListAndWatch stream per registration.
"""

import contextlib
import functools
import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory

from tools import generate_api

WAIT = 10.0
_CHANNEL_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),  # each client dials, as a kubelet does; else two share one connection
)


@functools.cache
def messages(proto: str) -> SimpleNamespace:
    """The message classes of one of our .proto files, by protobuf's own runtime in a descriptor pool of its own."""
    files = generate_api.descriptor_set().file
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([proto], pool)
    return SimpleNamespace(**{name.rpartition(".")[2]: message for name, message in classes.items()})


v1beta1 = messages("deviceplugin/v1beta1.proto")


class Stream:
    """One ListAndWatch stream, read in a thread."""

    def __init__(self, call: Any, *, paused: bool = False) -> None:
        self._call = call
        self.lists: queue.Queue[dict[str, str]] = queue.Queue()
        self.ended = threading.Event()
        self.error: grpc.RpcError | None = None
        self.go = threading.Event()
        if not paused:
            self.go.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        self.go.wait()
        try:
            for response in self._call:
                self.lists.put({device.ID: device.health for device in response.devices})
        except grpc.RpcError as error:
            self.error = error
        self.ended.set()

    def next(self) -> dict[str, str]:
        """The next list: health by id."""
        return self.lists.get(timeout=WAIT)

    def until(self, wanted: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """The first list that is as wanted."""
        while True:
            devices = self.next()
            if wanted(devices):
                return devices

    def cancel(self) -> None:
        self._call.cancel()


class PluginClient:
    """Calls a plugin at its socket."""

    def __init__(self, path: str) -> None:
        self.channel = grpc.insecure_channel(f"unix:{path}", options=_CHANNEL_OPTIONS)

    def _unary(self, method: str, request: Any, reply: str, timeout: float = WAIT) -> Any:
        call: Any = self.channel.unary_unary(
            f"/v1beta1.DevicePlugin/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=getattr(v1beta1, reply).FromString,
        )
        return call(request, timeout=timeout, wait_for_ready=True)

    def options(self) -> Any:
        return self._unary("GetDevicePluginOptions", v1beta1.Empty(), "DevicePluginOptions")

    def watch(self, *, paused: bool = False) -> Stream:
        call: Any = self.channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=v1beta1.ListAndWatchResponse.FromString,
        )
        return Stream(call(v1beta1.Empty(), wait_for_ready=True), paused=paused)

    def allocate(self, *containers: Sequence[str], timeout: float = WAIT) -> Any:
        requests = [v1beta1.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
        return self._unary(
            "Allocate", v1beta1.AllocateRequest(container_requests=requests), "AllocateResponse", timeout
        )

    def prefer(self, available: Sequence[str], must: Sequence[str], size: int) -> list[str]:
        request = v1beta1.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=must, allocation_size=size
        )
        response = self._unary(
            "GetPreferredAllocation",
            v1beta1.PreferredAllocationRequest(container_requests=[request]),
            "PreferredAllocationResponse",
        )
        return list(response.container_responses[0].deviceIDs)

    def pre_start(self, *ids: str) -> Any:
        return self._unary(
            "PreStartContainer", v1beta1.PreStartContainerRequest(devices_ids=ids), "PreStartContainerResponse"
        )

    def close(self) -> None:
        self.channel.close()


class Registered:
    """One registration: what was said in it, and the connection it led to."""

    def __init__(self, request: Any, plugin: PluginClient, options: Any, stream: Stream) -> None:
        self.request = request
        self.plugin = plugin
        self.options = options
        self.stream = stream


class ForeignKubelet:
    """A kubelet's registration server and its client of each plugin."""

    def __init__(self, plugin_dir: str) -> None:
        self.plugin_dir = plugin_dir
        self.socket = os.path.join(plugin_dir, "kubelet.sock")
        self.refusals: list[str] = []  # each refuses one Register, with that text
        self.refused: queue.Queue[str] = queue.Queue()
        self.registrations: queue.Queue[Registered] = queue.Queue()
        self._server: grpc.Server | None = None
        self._plugins: list[PluginClient] = []

    def start(self, *, clean: bool = True) -> None:
        """Start as a kubelet does: all sockets in the directory go, then `kubelet.sock` is made."""
        if clean:
            for entry in os.scandir(self.plugin_dir):
                if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                    os.unlink(entry.path)
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((_Registration(self._register),))
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def stop(self) -> None:
        """End: connections drop, and grpcio takes the socket file away."""
        for plugin in self._plugins:
            plugin.close()
        self._plugins.clear()
        if self._server:
            self._server.stop(None).wait()
            self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def registered(self) -> Registered:
        """The next registration that went through."""
        return self.registrations.get(timeout=WAIT)

    def _register(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.refusals:
            text = self.refusals.pop(0)
            self.refused.put(text)
            context.abort(grpc.StatusCode.UNKNOWN, text)
        plugin = PluginClient(os.path.join(self.plugin_dir, request.endpoint))
        options = plugin.options()
        self._plugins.append(plugin)
        self.registrations.put(Registered(request, plugin, options, plugin.watch()))
        return v1beta1.Empty()


class _Registration(grpc.GenericRpcHandler):
    def __init__(self, register: Callable[[Any, grpc.ServicerContext], Any]) -> None:
        self._handler: Any = grpc.unary_unary_rpc_method_handler(
            register,
            request_deserializer=v1beta1.RegisterRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method == "/v1beta1.Registration/Register" else None


@contextlib.contextmanager
def foreign_kubelet(plugin_dir: str) -> Iterator[ForeignKubelet]:
    """A kubelet that is running."""
    kubelet = ForeignKubelet(plugin_dir)
    kubelet.start()
    try:
        yield kubelet
    finally:
        kubelet.stop()
