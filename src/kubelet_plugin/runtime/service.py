"""The gRPC service a kubelet calls (v1beta1.DevicePlugin)."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import Handler, Method
from kubelet_plugin.api.wire import Encoded
from kubelet_plugin.cdi import ContainerEdits
from kubelet_plugin.errors import DeviceUnavailableError, PluginError, RpcError, TransientError
from kubelet_plugin.runtime.device import NO_EDITS, Device, Health
from kubelet_plugin.runtime.hooks import Hooks
from kubelet_plugin.runtime.inject import answer, needs_cdi
from kubelet_plugin.runtime.inventory import Inventory, shown
from kubelet_plugin.runtime.plugin import DevicePlugin
from kubelet_plugin.runtime.settings import Settings
from kubelet_plugin.runtime.specs import SpecFile
from kubelet_plugin.runtime.statelog import ERROR, WARNING, StateLog
from kubelet_plugin.runtime.streams import Streams


class Service:
    """Answers a kubelet on behalf of one plugin.

    Args:
        plugin: The plugin.
        inventory: Its devices.
        streams: Where open streams are noted.
        spec: The CDI spec file; None where CDI is not used.
        settings: How to inject, and the deadlines.
        log: Where the faults of hooks are reported.
    """

    def __init__(
        self,
        plugin: DevicePlugin,
        inventory: Inventory,
        streams: Streams,
        spec: SpecFile | None,
        settings: Settings,
        log: StateLog,
    ) -> None:
        self._plugin = plugin
        self._inventory = inventory
        self._streams = streams
        self._spec = spec
        self._settings = settings
        self._log = log
        self._hooks = Hooks(plugin.resource_name)
        self._allocates = plugin.overrides("allocate")

    def options(self) -> v1beta1.DevicePluginOptions:
        """Say which optional calls the plugin answers: those whose hooks it overrides."""
        return v1beta1.DevicePluginOptions(
            pre_start_required=self._plugin.overrides("pre_start_container"),
            get_preferred_allocation_available=self._plugin.overrides("preferred_allocation"),
        )

    def handlers(self) -> dict[Method[Any, Any], Handler]:
        """Return the handler of each method."""
        rpc = v1beta1.DevicePlugin
        return {
            rpc.GET_DEVICE_PLUGIN_OPTIONS: self.get_device_plugin_options,
            rpc.LIST_AND_WATCH: self.list_and_watch,
            rpc.GET_PREFERRED_ALLOCATION: self.get_preferred_allocation,
            rpc.ALLOCATE: self.allocate,
            rpc.PRE_START_CONTAINER: self.pre_start_container,
        }

    async def get_device_plugin_options(self, _: v1beta1.Empty) -> v1beta1.DevicePluginOptions:
        return self.options()

    async def list_and_watch(self, _: v1beta1.Empty) -> AsyncIterator[Encoded]:
        """Send the list of now, then every one that differs, for as long as the stream lives."""
        stream = self._streams.open()
        try:
            async for devices in self._inventory.lists():
                yield devices.message
        finally:
            self._streams.end(stream)

    async def allocate(self, request: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        """Answer each container with its devices; an unknown or unhealthy one refuses the whole call."""
        response = v1beta1.AllocateResponse()
        for container in request.container_requests:
            devices = self._apart(self._healthy(container.devices_ids))
            response.container_responses.append(await self._allocate(devices))
        return response

    async def _allocate(self, devices: Sequence[Device]) -> v1beta1.ContainerAllocateResponse:
        extra = NO_EDITS
        if self._allocates:
            returned = await self._call(self._plugin.allocate, devices, deadline=self._settings.hook_deadline)
            if not isinstance(returned, ContainerEdits):
                raise self._fault("allocate", devices, f"it returned {type(returned).__name__}, not ContainerEdits")
            extra = returned
        try:
            return answer(self._plugin.resource_name, self._settings.inject, devices, self._cdi_names(devices), extra)
        except PluginError as error:
            raise self._fault("allocate", devices, str(error)) from error

    def _cdi_names(self, devices: Sequence[Device]) -> tuple[str, ...]:
        if self._spec is None:
            return ()
        try:
            names = self._spec.names(devices)
        except (cdi.Error, TransientError) as error:
            if any(needs_cdi(device, self._settings.inject) for device in devices):
                raise RpcError("FAILED_PRECONDITION", f"{self._plugin.resource_name}: {error}") from error
            self._log.say("answer", WARNING, f"answering with device specs alone: {error}")
            return ()
        self._log.forget("answer")
        return names

    async def get_preferred_allocation(
        self, request: v1beta1.PreferredAllocationRequest
    ) -> v1beta1.PreferredAllocationResponse:
        """Choose for each container. Ids that are not on the list any more are no reason to fail."""
        response = v1beta1.PreferredAllocationResponse()
        for container in request.container_requests:
            chosen = await self._prefer(container)
            response.container_responses.append(v1beta1.ContainerPreferredAllocationResponse(deviceIDs=chosen))
        return response

    async def _prefer(self, container: v1beta1.ContainerPreferredAllocationRequest) -> list[str]:
        must = list(container.must_include_deviceIDs)
        must_devices = self._known(must)
        stale = [device_id for device_id in must if device_id not in {d.id for d in must_devices}]
        available = self._known(dict.fromkeys([*container.available_deviceIDs, *must]))
        size = container.allocation_size - len(stale)
        chosen = await self._call(
            self._plugin.preferred_allocation, available, must_devices, size, deadline=self._settings.hook_deadline
        )
        ids = _ids(chosen)
        if ids is None or not {d.id for d in must_devices} <= set(ids) <= {d.id for d in available}:
            wrong = f"it must choose among {shown([d.id for d in available])}, with {shown(must) or 'none'} among them"
            raise self._fault("preferred_allocation", available, f"it returned {chosen!r:.200}; {wrong}")
        return [*stale, *ids]

    async def pre_start_container(self, request: v1beta1.PreStartContainerRequest) -> v1beta1.PreStartContainerResponse:
        """Let the plugin make devices ready, whatever their health: the container holds them already."""
        devices = [self._device(device_id) for device_id in request.devices_ids]
        if self._plugin.overrides("pre_start_container"):
            await self._call(self._plugin.pre_start_container, devices, deadline=self._settings.pre_start_deadline)
        return v1beta1.PreStartContainerResponse()

    async def _call(
        self, hook: Callable[..., Any], devices: Sequence[Device], *arguments: object, deadline: float
    ) -> Any:
        try:
            return await self._hooks.call(hook, devices, *arguments, deadline=deadline)
        except PluginError as error:
            self._log.event(ERROR, str(error), shown([d.id for d in devices]), error=error.__cause__)
            raise RpcError("INTERNAL", str(error)) from error

    def _fault(self, hook: str, devices: Sequence[Device], cause: str) -> RpcError:
        error = self._hooks.error(hook, devices, cause)
        self._log.event(ERROR, str(error), shown([d.id for d in devices]))
        return RpcError("INTERNAL", str(error))

    def _healthy(self, ids: Iterable[str]) -> list[Device]:
        devices = [self._device(device_id) for device_id in ids]
        for device in devices:
            if device.health != Health.HEALTHY:
                raise self._refusal("FAILED_PRECONDITION", device.id, f"it is Unhealthy: {device.reason}")
        return devices

    def _apart(self, devices: list[Device]) -> list[Device]:
        """See that no two devices have different nodes at one place of the container: the last would win in silence."""
        places: dict[str, tuple[str, str]] = {}
        for device in devices:
            for node in device.edits.device_nodes:
                real, other = places.setdefault(node.path, (node.host_path or node.path, device.id))
                if real != (node.host_path or node.path):
                    why = f"{node.path} in the container is {other}'s already; ask for one of them per container"
                    raise self._refusal("FAILED_PRECONDITION", device.id, why)
        return devices

    def _device(self, device_id: str) -> Device:
        device = self._inventory.latest and self._inventory.latest.by_id.get(device_id)
        if not device:
            raise self._refusal("NOT_FOUND", device_id, "there is no such device on the list")
        return device

    def _refusal(self, code: str, device_id: str, why: str) -> RpcError:
        error = DeviceUnavailableError(f"{self._plugin.resource_name}: cannot hand out {device_id!r:.120}: {why}")
        self._log.event(WARNING, str(error), device_id[:120])
        return RpcError(code, str(error))

    def _known(self, ids: Iterable[str]) -> list[Device]:
        by_id = self._inventory.latest.by_id if self._inventory.latest else {}
        return [by_id[device_id] for device_id in ids if device_id in by_id]


def _ids(chosen: object) -> list[str] | None:
    if not isinstance(chosen, Sequence) or not all(isinstance(device, Device) for device in chosen):
        return None
    ids = [device.id for device in chosen]
    return ids if len(set(ids)) == len(ids) else None
