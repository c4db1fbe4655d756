"""Devices that went away stay listed for a while, as Unhealthy.

A device that is missing from the list reads as healthy in the status of a pod that holds it, and a pod that is admitted
again after a short absence is refused. So a device that is no longer found is listed on, Unhealthy, for a grace time
and for as long as a pod holds it.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from kubelet_plugin.runtime.device import Device, Health

GONE = "it is offered no more: gone from this node, or from the configuration"


class Retention:
    """Remembers the devices of one resource that are no longer yielded.

    Args:
        grace: For how many seconds they stay listed, where a device does not say it itself.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._listed: dict[str, Device] = {}
        self._lost: dict[str, tuple[Device, float]] = {}

    def apply(self, devices: Sequence[Device], now: float) -> tuple[Device, ...]:
        """Return the yielded devices, and after them those that are lost.

        Args:
            devices: What the plugin yielded last.
            now: The time in seconds, on any clock that only goes forward.
        """
        found = {device.id: device for device in devices}
        for device_id, device in self._listed.items():
            if device_id not in found and (grace := self._of(device)) > 0:
                lost = replace(device, health=Health.UNHEALTHY, reason=GONE)
                self._lost[device_id] = (lost, now + grace)
        self._lost = {device_id: entry for device_id, entry in self._lost.items() if device_id not in found}
        self._listed = found
        return (*devices, *(device for device, _ in self._lost.values()))

    def expired(self, now: float) -> tuple[str, ...]:
        """Return the ids of lost devices whose time is over."""
        return tuple(device_id for device_id, (_, until) in self._lost.items() if until <= now)

    def settle(self, expired: Collection[str], held: Collection[str], now: float) -> None:
        """Let go of expired devices, except those a pod holds: they get another grace time.

        Args:
            expired: Ids as `expired` returned them.
            held: The ids that pods hold.
            now: The time in seconds.
        """
        for device_id in expired:
            device, until = self._lost.get(device_id, (None, now))
            if device is None or until > now:
                continue  # it is back, or was lost anew, since it was asked who holds it
            if device_id in held:
                self._lost[device_id] = (device, now + self._of(device))
            else:
                del self._lost[device_id]

    def next_expiry(self) -> float | None:
        """When the next lost device's time is over; None when none is lost."""
        return min((until for _, until in self._lost.values()), default=None)

    def _of(self, device: Device) -> float:
        return self._grace if device.grace is None else device.grace
