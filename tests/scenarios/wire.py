"""The services a plugin serves, in protobuf's own runtime and grpcio: nothing of ours is in between."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from tests.foreign import messages
from tests.scenarios.calls import Allocate, Call, GetInfo, GetOptions, Ids, Notified, Prefer, PreStart

v1beta1 = messages("deviceplugin/v1beta1.proto")
registration = messages("pluginregistration/v1.proto")

VERSION = "v1beta1"


@dataclass(frozen=True)
class Device:
    """A device of a list."""

    id: str
    health: str = "Healthy"
    numa: tuple[int, ...] = ()

    def message(self) -> Any:
        topology = v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=node) for node in self.numa])
        return v1beta1.Device(ID=self.id, health=self.health, topology=topology if self.numa else None)


@dataclass(frozen=True)
class Options:
    """What a plugin wants to be asked."""

    pre_start: bool = False
    prefer: bool = False

    def message(self) -> Any:
        return v1beta1.DevicePluginOptions(
            pre_start_required=self.pre_start, get_preferred_allocation_available=self.prefer
        )


@dataclass(frozen=True)
class Answer:
    """What Allocate answers for one container; mounts and devices map container paths to host paths."""

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: Sequence[str] = ()

    def message(self) -> Any:
        return v1beta1.ContainerAllocateResponse(
            envs=dict(self.env),
            annotations=dict(self.annotations),
            mounts=[
                v1beta1.Mount(container_path=inside, host_path=host, read_only=True)
                for inside, host in self.mounts.items()
            ],
            devices=[
                v1beta1.DeviceSpec(container_path=inside, host_path=host, permissions="rw")
                for inside, host in self.devices.items()
            ],
            cdi_devices=[v1beta1.CDIDevice(name=name) for name in self.cdi_devices],
        )


@dataclass(frozen=True)
class Introduction:
    """What a plugin says of itself to the plugin watcher."""

    type: str
    name: str
    endpoint: str
    versions: Sequence[str]

    def message(self) -> Any:
        return registration.PluginInfo(
            type=self.type, name=self.name, endpoint=self.endpoint, supported_versions=list(self.versions)
        )


class PluginError(Exception):
    """What a plugin answers instead: a gRPC status."""

    def __init__(self, text: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Asked(Protocol):
    """Whoever is asked over the wire; each answer may be a `PluginError` that is raised."""

    def options_asked(self) -> Options: ...
    def watch(self, context: grpc.ServicerContext) -> Iterator[bytes]: ...
    def prefer_asked(self, asked: Prefer) -> Sequence[str]: ...
    def allocate_asked(self, asked: Allocate) -> Sequence[Answer]: ...
    def pre_start_asked(self, asked: PreStart) -> None: ...
    def note(self, call: Call) -> None: ...


def listed(devices: Sequence[Device]) -> bytes:
    """A message of ListAndWatch."""
    return _bytes(v1beta1.ListAndWatchResponse(devices=[device.message() for device in devices]))


def device_plugin(plugin: Asked) -> grpc.GenericRpcHandler:
    """The service `v1beta1.DevicePlugin`."""

    def options(_: bytes) -> Any:
        plugin.note(GetOptions())
        return plugin.options_asked().message()

    def prefer(request: bytes) -> Any:
        (container,) = v1beta1.PreferredAllocationRequest.FromString(request).container_requests
        asked = Prefer(
            _sorted(container.available_deviceIDs), _sorted(container.must_include_deviceIDs), container.allocation_size
        )
        plugin.note(asked)
        answer = v1beta1.ContainerPreferredAllocationResponse(deviceIDs=plugin.prefer_asked(asked))
        return v1beta1.PreferredAllocationResponse(container_responses=[answer])

    def allocate(request: bytes) -> Any:
        containers = v1beta1.AllocateRequest.FromString(request).container_requests
        asked = Allocate(tuple(_sorted(each.devices_ids) for each in containers))
        plugin.note(asked)
        answers = plugin.allocate_asked(asked)
        return v1beta1.AllocateResponse(container_responses=[answer.message() for answer in answers])

    def pre_start(request: bytes) -> Any:
        asked = PreStart(_sorted(v1beta1.PreStartContainerRequest.FromString(request).devices_ids))
        plugin.note(asked)
        plugin.pre_start_asked(asked)
        return v1beta1.PreStartContainerResponse()

    return _Service(
        "v1beta1.DevicePlugin",
        GetDevicePluginOptions=_unary(options),
        ListAndWatch=grpc.unary_stream_rpc_method_handler(lambda _, context: plugin.watch(context)),
        GetPreferredAllocation=_unary(prefer),
        Allocate=_unary(allocate),
        PreStartContainer=_unary(pre_start),
    )


def plugin_registration(introduction: Introduction, note: Callable[[Call], None]) -> grpc.GenericRpcHandler:
    """The service `pluginregistration.Registration`."""

    def info(_: bytes) -> Any:
        note(GetInfo())
        return introduction.message()

    def notify(request: bytes) -> Any:
        status = registration.RegistrationStatus.FromString(request)
        note(Notified(status.plugin_registered, status.error))
        return registration.RegistrationStatusResponse()

    return _Service("pluginregistration.Registration", GetInfo=_unary(info), NotifyRegistrationStatus=_unary(notify))


class _Service(grpc.GenericRpcHandler):
    def __init__(self, name: str, **methods: Any) -> None:
        self._methods = {f"/{name}/{method}": handler for method, handler in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)


def _unary(answer: Callable[[bytes], Any]) -> Any:
    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return _bytes(answer(request))
        except PluginError as error:
            context.abort(error.code, error.text)

    return grpc.unary_unary_rpc_method_handler(handle)


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _sorted(ids: Sequence[str]) -> Ids:
    return tuple(sorted(ids))
