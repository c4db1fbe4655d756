"""A device plugin made of nothing of ours: grpcio for the transport, protobuf's runtime for the messages."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from tests.foreign import messages

v1beta1 = messages("deviceplugin/v1beta1.proto")
registration = messages("pluginregistration/v1.proto")

WAIT = 20.0  # seconds; longer than anything here takes
THING = "example.com/thing"
OPTIONS = [("grpc.default_authority", "localhost"), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]

Call = tuple[Any, ...]
"""The name of a call, and what it carried: ids are sorted, since a kubelet gives them in random order."""


def device(name: str, health: str = "Healthy", numa: Sequence[int] | None = None) -> Any:
    nodes = None if numa is None else [v1beta1.NUMANode(ID=node) for node in numa]
    topology = None if nodes is None else v1beta1.TopologyInfo(nodes=nodes)
    return v1beta1.Device(ID=name, health=health, topology=topology)


def answer(**parts: Any) -> Any:
    """What a container gets, as Allocate answers it."""
    return v1beta1.ContainerAllocateResponse(**parts)


class PluginError(Exception):
    """What a plugin answers instead: a gRPC status."""

    def __init__(self, text: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class ForeignPlugin:
    """A plugin that does as it is told, and writes down what it is asked. Its methods block: call them in a thread.

    Attributes:
        calls: What it was asked, in order.
        on_options, on_prefer, on_allocate, on_pre_start: What it answers; each may raise `PluginError`. A preference may
            be None: an answer without containers.
        devices: Its list; None: it sends none yet.
        versions: What it says in plugins_registry that it supports.
        endpoint: What it says there of where it serves; empty: at the same socket.
        changed: Called when it was asked something, in some thread.
    """

    def __init__(
        self, socket: Path, *devices: Any, resource: str = THING, pre_start: bool = False, prefer: bool = False
    ) -> None:
        self.socket = socket
        self.resource = resource
        self.options = v1beta1.DevicePluginOptions(
            pre_start_required=pre_start, get_preferred_allocation_available=prefer
        )
        self.options_in_register = self.options
        self.calls: list[Call] = []
        self.devices: Sequence[Any] | None = devices
        self.on_options: Callable[[], Any] = lambda: self.options
        self.on_prefer: Callable[[list[str], list[str], int], Sequence[str] | None] = lambda available, must, size: []
        self.on_allocate: Callable[[list[str]], Sequence[Any]] = lambda ids: [answer()]
        self.on_pre_start: Callable[[list[str]], None] = lambda ids: None
        self.versions = ["v1beta1"]
        self.endpoint = ""
        self.changed: Callable[[], None] = lambda: None
        self._holds: dict[str, threading.Event] = {}
        self._releases: list[threading.Event] = []
        self._lock = threading.Lock()
        self._streams: list[queue.Queue[Any]] = []
        self._server: grpc.Server | None = None

    # What a test makes it do.

    def serve(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[_Handlers(self)], options=OPTIONS)
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def register(self, *, version: str = "v1beta1", endpoint: str | None = None, timeout: float = WAIT) -> str:
        """Register with the kubelet whose directory the socket is in; return what it says against it."""
        request = v1beta1.RegisterRequest(
            version=version,
            endpoint=self.socket.name if endpoint is None else endpoint,
            resource_name=self.resource,
            options=self.options_in_register,
        )
        with grpc.insecure_channel(f"unix:{self.socket.parent / 'kubelet.sock'}", options=OPTIONS) as channel:
            call: Any = channel.unary_unary("/v1beta1.Registration/Register")
            try:
                call(request.SerializeToString(), timeout=timeout, wait_for_ready=True)
            except grpc.RpcError as error:
                refusal: Any = error
                return f"{refusal.code().name}: {refusal.details()}"
        return ""

    def offer(self, *devices: Any) -> None:
        """Send a list to all who watch, and to all who will."""
        with self._lock:
            self.devices = devices
            for stream in self._streams:
                stream.put(_list(devices))

    def end_streams(self, error: PluginError | None = None) -> None:
        """End all ListAndWatch streams; serving goes on."""
        with self._lock:
            for stream in self._streams:
                stream.put(error)

    def die(self) -> None:
        """End at once: connections drop, the socket goes, and no call hangs any more."""
        for release in self._releases:
            release.set()
        if self._server is not None:
            self._server.stop(None)
            self.end_streams()
            self._server.wait_for_termination(WAIT)
            self._server = None

    def hold(self, name: str) -> threading.Event:
        """Let the next call of this name hang until the event is set."""
        release = self._holds[name] = threading.Event()
        self._releases.append(release)
        return release

    @property
    def streams(self) -> list[Callable[..., None]]:
        """What sends a list on one open stream only, for each of them in the order in which they were opened."""
        return [lambda *devices, stream=stream: stream.put(_list(devices)) for stream in self._streams]

    # What it was asked.

    def asked(self, name: str) -> list[Call]:
        """What the calls of this name carried."""
        return [call[1:] for call in self.calls if call[0] == name]

    def note(self, *call: Any) -> None:
        self.calls.append(call)
        self.changed()
        if hold := self._holds.pop(call[0], None):
            hold.wait(WAIT)

    def watch(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        stream: queue.Queue[Any] = queue.Queue()
        with self._lock:
            if self.devices is not None:
                stream.put(_list(self.devices))
            self._streams.append(stream)
        self.note("ListAndWatch")
        context.add_callback(lambda: stream.put(None))
        try:
            while isinstance(given := stream.get(), bytes):
                yield given
        finally:
            with self._lock:
                self._streams.remove(stream)
            self.note("ListAndWatch ended")
        if given is not None:
            context.abort(given.code, given.text)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, plugin: ForeignPlugin) -> None:
        self._plugin = plugin
        unary: Any = grpc.unary_unary_rpc_method_handler
        self._methods: dict[str, Any] = {
            "GetDevicePluginOptions": unary(_answering(self._options)),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(plugin.watch),
            "GetPreferredAllocation": unary(_answering(self._prefer)),
            "Allocate": unary(_answering(self._allocate)),
            "PreStartContainer": unary(_answering(self._pre_start)),
            "GetInfo": unary(_answering(self._info)),
            "NotifyRegistrationStatus": unary(_answering(self._notified)),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method.rpartition("/")[2])

    def _info(self, _: bytes) -> Any:
        plugin = self._plugin
        return registration.PluginInfo(
            type="DevicePlugin", name=plugin.resource, endpoint=plugin.endpoint, supported_versions=plugin.versions
        )

    def _notified(self, request: bytes) -> Any:
        status = registration.RegistrationStatus.FromString(request)
        self._plugin.note("NotifyRegistrationStatus", status.plugin_registered, status.error)
        return registration.RegistrationStatusResponse()

    def _options(self, _: bytes) -> Any:
        self._plugin.note("GetDevicePluginOptions")
        return self._plugin.on_options()

    def _prefer(self, request: bytes) -> Any:
        (asked,) = v1beta1.PreferredAllocationRequest.FromString(request).container_requests
        available, must = sorted(asked.available_deviceIDs), sorted(asked.must_include_deviceIDs)
        self._plugin.note("GetPreferredAllocation", available, must, asked.allocation_size)
        ids = self._plugin.on_prefer(available, must, asked.allocation_size)
        if ids is None:
            return v1beta1.PreferredAllocationResponse()
        response = v1beta1.ContainerPreferredAllocationResponse(deviceIDs=ids)
        return v1beta1.PreferredAllocationResponse(container_responses=[response])

    def _allocate(self, request: bytes) -> Any:
        containers = [
            sorted(each.devices_ids) for each in v1beta1.AllocateRequest.FromString(request).container_requests
        ]
        self._plugin.note("Allocate", *containers)
        return v1beta1.AllocateResponse(container_responses=self._plugin.on_allocate(containers[0]))

    def _pre_start(self, request: bytes) -> Any:
        ids = sorted(v1beta1.PreStartContainerRequest.FromString(request).devices_ids)
        self._plugin.note("PreStartContainer", ids)
        self._plugin.on_pre_start(ids)
        return v1beta1.PreStartContainerResponse()


def _answering(handle: Callable[[bytes], Any]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def answer_call(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return bytes(handle(request).SerializeToString())
        except PluginError as refusal:
            context.abort(refusal.code, refusal.text)

    return answer_call


def _list(devices: Sequence[Any]) -> bytes:
    return bytes(v1beta1.ListAndWatchResponse(devices=devices).SerializeToString())
