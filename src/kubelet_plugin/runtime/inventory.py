"""The latest list of a resource's devices, for whoever streams it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import MESSAGE_LIMIT
from kubelet_plugin.api.wire import Encoded, encode
from kubelet_plugin.cdi import ContainerEdits
from kubelet_plugin.errors import DeviceListError, ListTooLargeError
from kubelet_plugin.runtime.device import Device, Health

_SHOWN = 5  # ids in a message for people
_HEALTHS = frozenset(Health)


class DeviceList:
    """A complete and valid list of devices, with the message that carries it.

    Args:
        resource_name: The resource, for the errors' sake.
        devices: The devices.

    Raises:
        DeviceListError: There is something else than a device, an invalid one, or an id twice.
        ListTooLargeError: Its message is over the 4 MiB a kubelet accepts.
    """

    __slots__ = ("by_id", "devices", "message")

    def __init__(self, resource_name: str, devices: Iterable[Device]) -> None:
        self.devices = tuple(devices)
        self.by_id: dict[str, Device] = {}
        edits: dict[str, ContainerEdits] = {}
        checked: set[int] = set()
        for device in self.devices:
            try:
                _check(device, self.by_id)
                if id(device.edits) not in checked:  # shares have one and the same
                    _check_edits(device)
                    checked.add(id(device.edits))
                _check_share(device, edits)
            except DeviceListError as error:
                raise DeviceListError(f"{resource_name}: {error}") from error
            self.by_id[device.id] = device
        self.message = Encoded(encode(v1beta1.ListAndWatchResponse(devices=[_message(d) for d in self.devices])))
        if len(self.message.data) > MESSAGE_LIMIT:
            raise _too_large(resource_name, len(self.devices), len(self.message.data))


def id_fault(device: object) -> str:
    """Say why a device's names cannot be, or an empty string."""
    if not isinstance(device, Device):
        return ""
    for name in (device.id, device.cdi_device or device.id):
        try:
            cdi.validate_device_name(name)
        except cdi.Error as error:
            return f"{name!r} cannot be a device's id: {error}"
        except TypeError:
            return f"{name!r} cannot be a device's id: it is no text"
    return ""


def check_size(resource_name: str, ids: Iterable[str]) -> None:
    """Refuse a list that would not fit into one message, where the ids are known beforehand.

    Raises:
        ListTooLargeError: With all of them Unhealthy and without topology, the list is over 4 MiB.
    """
    size = 0
    for count, device_id in enumerate(ids, 1):
        size += len(device_id) + len(Health.UNHEALTHY) + 6  # three tags and three lengths, one byte each at least
        if size > MESSAGE_LIMIT:
            raise ListTooLargeError(
                f"{resource_name}: with {count} devices the list is over the {MESSAGE_LIMIT} bytes that a kubelet "
                "accepts: offer fewer, or give them shorter ids"
            )


def _too_large(resource_name: str, count: int, size: int) -> ListTooLargeError:
    return ListTooLargeError(
        f"{resource_name}: the list of {count} devices takes {size} bytes, and a kubelet accepts {MESSAGE_LIMIT}: "
        "offer fewer devices, or give them shorter ids"
    )


def _check(device: object, listed: Mapping[str, Device]) -> None:
    if not isinstance(device, Device):
        raise DeviceListError(f"devices() yielded a {type(device).__name__} among its devices")
    if fault := id_fault(device):
        raise DeviceListError(fault)
    if device.id in listed:
        raise DeviceListError(f"the id {device.id!r} is on the list twice")
    if device.health not in _HEALTHS:
        raise DeviceListError(f"device {device.id!r} is {device.health!r}, neither Healthy nor Unhealthy")
    nodes: object = device.numa_nodes
    if not isinstance(nodes, tuple) or not all(isinstance(node, int) and node >= 0 for node in nodes):
        raise DeviceListError(f"device {device.id!r} is on NUMA nodes {nodes!r}: give a tuple, leave unknown ones out")
    if not (_are_pairs(device.annotations) and _are_pairs(device.links)):
        raise DeviceListError(f"device {device.id!r} has annotations or links that are no tuple of pairs of texts")


def _are_pairs(pairs: object) -> bool:
    return pairs == () or (
        isinstance(pairs, tuple)
        and all(
            isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)  # noqa: PLR2004
            for pair in pairs
        )
    )


def _check_edits(device: Device) -> None:
    try:
        cdi.validate_edits(device.edits)
    except cdi.Error as error:
        raise DeviceListError(f"device {device.id!r} has edits that cannot be: {error}") from error


def _check_share(device: Device, edits: dict[str, ContainerEdits]) -> None:
    """Healthy shares of one device must have the same edits, for CDI knows it once."""
    if device.health != Health.HEALTHY:
        return
    others = edits.setdefault(device.cdi_name, device.edits)
    if others is not device.edits and others != device.edits:
        raise DeviceListError(f"two devices are {device.cdi_name!r} in CDI, and have different edits")


def _message(device: Device) -> v1beta1.Device:
    topology = None
    if device.numa_nodes:
        topology = v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=node) for node in device.numa_nodes])
    return v1beta1.Device(ID=device.id, health=str(device.health), topology=topology)


class Inventory:
    """Holds the latest list and hands it to any number of streams.

    A late subscriber gets the list at once; lists that follow each other faster than a subscriber takes them coalesce
    into the last; a list whose message is that of the one before is not sent again.
    """

    def __init__(self) -> None:
        self._latest: DeviceList | None = None
        self._changed = asyncio.Event()
        self._ended = False

    @property
    def latest(self) -> DeviceList | None:
        """The list of now; None before the first."""
        return self._latest

    def replace(self, latest: DeviceList) -> None:
        """Make `latest` the list of now, unless the last one has been."""
        if self._ended:
            return
        changed = self._latest is None or self._latest.message != latest.message
        self._latest = latest
        if changed:
            self._changed.set()
            self._changed = asyncio.Event()

    def end(self, last: DeviceList) -> None:
        """Make `last` the last list: whoever has got it gets no more."""
        self._ended = True
        self._latest = last
        self._changed.set()

    async def first(self) -> None:
        """Wait until there is a list."""
        while self._latest is None:
            await self._changed.wait()

    async def lists(self) -> AsyncIterator[DeviceList]:
        """Yield the list of now, then each one that differs, until the last one."""
        sent: Encoded | None = None
        while True:
            changed = self._changed
            if self._latest is not None and self._latest.message != sent:
                sent = self._latest.message
                yield self._latest
            elif self._ended:
                return
            else:
                await changed.wait()


def shown(ids: Sequence[str]) -> str:
    """Write ids for people: all of a few, the first of many."""
    more = len(ids) - _SHOWN
    return ", ".join(ids[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
