"""A device plugin that does as it is told and writes down what it is asked."""

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from tests.scenarios.calls import Allocate, Call, Ids, Notified, Prefer, PreStart, Watch, WatchEnded
from tests.scenarios.wire import (
    VERSION,
    Answer,
    Device,
    Introduction,
    Options,
    PluginError,
    device_plugin,
    listed,
    plugin_registration,
    v1beta1,
)

ANSWER_WITHIN = 20.0  # seconds: a kubelet that dials in vain gives up after 10
_THREADS = 16
_UNLIMITED = [("grpc.max_send_message_length", -1)]
_AUTHORITY = [("grpc.default_authority", "localhost")]


def healthy(*ids: str) -> list[Device]:
    """These devices, Healthy."""
    return [Device(id_) for id_ in ids]


def unhealthy(*ids: str) -> list[Device]:
    """These devices, Unhealthy."""
    return [Device(id_, "Unhealthy") for id_ in ids]


@dataclasses.dataclass(frozen=True)
class _End:
    """Ends a stream, with an error or without."""

    error: PluginError | None = None


class ScriptedPlugin:
    """One resource's plugin, and its socket in a kubelet's plugin directory.

    Args:
        resource: What it registers.
        socket: Where it listens.
        devices: Its list.
        options: What it says of itself, in Register and when it is asked.

    Attributes:
        calls: What it was asked, in order.
        notices: What the plugin watcher asked and told it, in order.
        answers: What its registrations were answered: nothing, or an error.
        on_options: What it says when it is asked for its options; as in Register by default.
        on_prefer: What it says to GetPreferredAllocation; the first ones by default.
        on_allocate: What it says to Allocate; one empty answer by default.
        on_pre_start: What it does at PreStartContainer.
    """

    def __init__(
        self, resource: str, socket: Path, devices: Sequence[Device] = (), options: Options | None = None
    ) -> None:
        self.resource = resource
        self.socket = socket
        self.options = options or Options()
        self.calls: list[Call] = []
        self.notices: list[Call] = []
        self.answers: list[str] = []
        self.on_options: Callable[[], Options] = lambda: self.options
        self.on_prefer: Callable[[Prefer], Sequence[str]] = lambda asked: asked.available[: asked.size]
        self.on_allocate: Callable[[Allocate], Sequence[Answer]] = lambda asked: [Answer()]
        self.on_pre_start: Callable[[PreStart], None] = lambda asked: None
        self._devices: Sequence[Device] | None = devices
        self._streams: list[queue.Queue[Sequence[Device] | _End]] = []
        self._changed = threading.Condition()
        self._servers: list[grpc.Server] = []

    # What a scenario makes it do.

    def serve(self) -> "ScriptedPlugin":
        """Listen on the socket."""
        self._listen(self.socket, device_plugin(self))
        return self

    def register(
        self,
        resource: str | None = None,
        *,
        version: str = VERSION,
        endpoint: str | None = None,
        patience: float = ANSWER_WITHIN,
    ) -> str:
        """Register with the kubelet whose directory the socket is in; what it says against it, or nothing."""
        request = v1beta1.RegisterRequest(
            version=version,
            endpoint=endpoint or self.socket.name,
            resource_name=self.resource if resource is None else resource,
            options=self.options.message(),
        )
        answer = ""
        with grpc.insecure_channel(f"unix:{self.socket.with_name('kubelet.sock')}", options=_AUTHORITY) as channel:
            call: Any = channel.unary_unary("/v1beta1.Registration/Register")
            try:
                call(request.SerializeToString(), timeout=patience, wait_for_ready=True)
            except grpc.RpcError as error:
                refusal: Any = error
                answer = f"{refusal.code().name}: {refusal.details()}"
        self.answers.append(answer)
        return answer

    def introduce(
        self,
        socket: Path,
        *,
        type_: str = "DevicePlugin",
        name: str | None = None,
        versions: Sequence[str] = (VERSION,),
    ) -> None:
        """Appear in plugins_registry, and serve at that same socket."""
        introduction = Introduction(type_, self.resource if name is None else name, "", versions)
        self._listen(socket, device_plugin(self), plugin_registration(introduction, self._notice))

    def offer(self, *devices: Device) -> None:
        """Send a list to all who watch, and to all who will."""
        with self._changed:
            self._devices = devices
            for stream in self._streams:
                stream.put(devices)

    def hold_back(self) -> None:
        """Send no list to those who will watch."""
        self._devices = None

    def end_streams(self, error: PluginError | None = None) -> None:
        """End all ListAndWatch streams; serving goes on."""
        with self._changed:
            for stream in self._streams:
                stream.put(_End(error))
            assert self._changed.wait_for(lambda: not self._streams, ANSWER_WITHIN)

    def die(self) -> None:
        """End at once: connections drop, sockets go."""
        for server in self._servers:
            server.stop(None).wait(ANSWER_WITHIN)
        self._servers.clear()
        self.end_streams()

    def drop_connections(self) -> None:
        """Die in the middle of an answer."""
        for server in self._servers:
            server.stop(None)

    # What a scenario asks of it.

    def count(self, call: type[Call]) -> int:
        """How often it was asked this."""
        return sum(isinstance(each, call) for each in (*self.calls, *self.notices))

    def allocated(self) -> list[Ids]:
        """The ids of each Allocate so far."""
        return [call.requests[0] for call in self.calls if isinstance(call, Allocate)]

    def noticed(self, text: Callable[[str], str]) -> list[Call]:
        """The notices, with their texts changed."""
        return [
            dataclasses.replace(each, error=text(each.error)) if isinstance(each, Notified) else each
            for each in self.notices
        ]

    # What a kubelet asks of it.

    def note(self, call: Call) -> None:
        with self._changed:
            self.calls.append(call)

    def _notice(self, call: Call) -> None:
        self.notices.append(call)

    def options_asked(self) -> Options:
        return self.on_options()

    def prefer_asked(self, asked: Prefer) -> Sequence[str]:
        return self.on_prefer(asked)

    def allocate_asked(self, asked: Allocate) -> Sequence[Answer]:
        return self.on_allocate(asked)

    def pre_start_asked(self, asked: PreStart) -> None:
        self.on_pre_start(asked)

    def watch(self, context: grpc.ServicerContext) -> Iterator[bytes]:
        stream: queue.Queue[Sequence[Device] | _End] = queue.Queue()
        with self._changed:
            if self._devices is not None:
                stream.put(self._devices)
            self._streams.append(stream)
            self.calls.append(Watch())
        context.add_callback(lambda: stream.put(_End()))
        error: PluginError | None = None
        try:
            while not isinstance(given := stream.get(), _End):
                yield listed(given)
            error = given.error
        finally:
            with self._changed:
                self._streams.remove(stream)
                self.calls.append(WatchEnded())
                self._changed.notify_all()
        if error:
            context.abort(error.code, error.text)

    def _listen(self, socket: Path, *handlers: grpc.GenericRpcHandler) -> None:
        server = grpc.server(futures.ThreadPoolExecutor(_THREADS), handlers=list(handlers), options=_UNLIMITED)
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        self._servers.append(server)
