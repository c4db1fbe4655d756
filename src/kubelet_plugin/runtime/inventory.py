"""The latest list of a resource's devices, for whoever streams it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import MESSAGE_LIMIT
from kubelet_plugin.api.wire import Encoded, encode
from kubelet_plugin.errors import DeviceListError, ListTooLargeError
from kubelet_plugin.runtime.device import Device, Health

_SHOWN = 5  # ids in a message for people


class DeviceList:
    """A complete and valid list of devices, with the message that carries it.

    Args:
        resource_name: The resource, for the errors' sake.
        devices: The devices.

    Raises:
        DeviceListError: It is not a list of devices with distinct, valid ids.
        ListTooLargeError: Its message is over the 4 MiB a kubelet accepts.
    """

    __slots__ = ("by_id", "devices", "message")

    def __init__(self, resource_name: str, devices: Iterable[Device]) -> None:
        self.devices = tuple(devices)
        self.by_id = {device.id: device for device in self.devices if _is_valid(resource_name, device)}
        if len(self.by_id) != len(self.devices):
            raise DeviceListError(f"{resource_name}: the id {_duplicate(self.devices)!r} is on the list twice")
        self.message = Encoded(encode(v1beta1.ListAndWatchResponse(devices=[_message(d) for d in self.devices])))
        if len(self.message.data) > MESSAGE_LIMIT:
            raise _too_large(resource_name, len(self.devices), len(self.message.data))

    def unhealthy(self, reason: str) -> tuple[Device, ...]:
        """The same devices, all Unhealthy for one reason."""
        return tuple(Device(d.id, d.edits, Health.UNHEALTHY, reason, d.numa_nodes, d.cdi_device) for d in self.devices)


def check_size(resource_name: str, ids: Iterable[str]) -> None:
    """Refuse a list that would not fit into one message, where the ids are known beforehand.

    Raises:
        ListTooLargeError: With all of them Unhealthy and without topology, the list is over 4 MiB.
    """
    count = size = 0
    for device_id in ids:
        count += 1
        size += len(device_id) + len(Health.UNHEALTHY) + 6  # three tags and three lengths, one byte each at least
    if size > MESSAGE_LIMIT:
        raise _too_large(resource_name, count, size)


def _too_large(resource_name: str, count: int, size: int) -> ListTooLargeError:
    return ListTooLargeError(
        f"{resource_name}: the list of {count} devices takes {size} bytes, and a kubelet accepts {MESSAGE_LIMIT}: "
        "offer fewer devices, or give them shorter ids"
    )


def _is_valid(resource_name: str, device: object) -> bool:
    if not isinstance(device, Device):
        raise DeviceListError(f"{resource_name}: devices() yielded a {type(device).__name__} among its devices")
    if device.numa_nodes and min(device.numa_nodes) < 0:
        raise DeviceListError(f"{resource_name}: device {device.id!r} is on NUMA node -1: leave an unknown node out")
    for name in {device.id, device.cdi_name}:
        try:
            cdi.validate_device_name(name)
        except cdi.Error as error:
            raise DeviceListError(f"{resource_name}: {name!r} cannot be a device's id: {error}") from error
    return True


def _duplicate(devices: Sequence[Device]) -> str:
    seen: set[str] = set()
    return next(device.id for device in devices if device.id in seen or seen.add(device.id))  # type: ignore[func-returns-value]


def _message(device: Device) -> v1beta1.Device:
    topology = None
    if device.numa_nodes:
        topology = v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=node) for node in device.numa_nodes])
    return v1beta1.Device(ID=device.id, health=device.health.value, topology=topology)


class Inventory:
    """Holds the latest list and hands it to any number of streams.

    A late subscriber gets the list at once; lists that follow each other faster than a subscriber takes them coalesce
    into the last; a list whose message is that of the one before is not sent again.
    """

    def __init__(self) -> None:
        self._latest: DeviceList | None = None
        self._changed = asyncio.Event()

    @property
    def latest(self) -> DeviceList | None:
        """The list of now; None before the first."""
        return self._latest

    def replace(self, latest: DeviceList) -> None:
        """Make `latest` the list of now."""
        changed = self._latest is None or self._latest.message != latest.message
        self._latest = latest
        if changed:
            self._changed.set()
            self._changed = asyncio.Event()

    async def first(self) -> None:
        """Wait until there is a list."""
        while self._latest is None:
            await self._changed.wait()

    async def lists(self) -> AsyncIterator[DeviceList]:
        """Yield the list of now, then each one that differs, for ever."""
        sent: Encoded | None = None
        while True:
            changed = self._changed
            if self._latest is not None and self._latest.message != sent:
                sent = self._latest.message
                yield self._latest
            else:
                await changed.wait()


def shown(ids: Sequence[str]) -> str:
    """Write ids for people: all of a few, the first of many."""
    more = len(ids) - _SHOWN
    return ", ".join(ids[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
