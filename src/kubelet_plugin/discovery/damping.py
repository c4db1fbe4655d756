"""Holding back devices that come and go, or work and fail, faster than pods can follow."""

from collections.abc import Container

_WINDOW = 60.0


class Damper:
    """Tells which devices of one resource flap: they are Unhealthy until they are quiet.

    A device flaps when it changes its health more than `max_flips` times within 60 seconds. Being absent is being
    unhealthy. The first sight of a device is no change.

    Times are those of one clock that never goes back.

    Args:
        max_flips: How many changes within 60 seconds are borne; 0 never holds a device back.
        quiet: For how many seconds a device that flaps has to stay as it is before it is believed again.
    """

    def __init__(self, max_flips: int, quiet: float = _WINDOW) -> None:
        self._max_flips = max_flips
        self._quiet = quiet
        self._memory = max(quiet, _WINDOW)
        flaps = f"flapping: {max_flips + 1} changes within {_WINDOW:g} s"  # one text: each other one would be news
        self._reason = f"{flaps}; Unhealthy until it is quiet for {quiet:g} s"
        self._healthy: dict[str, bool] = {}
        self._changes: dict[str, list[float]] = {}  # of those that changed lately, the last times: as many as matter
        self._held: set[str] = set()

    def judge(self, device_id: str, healthy: bool, now: float) -> str:
        """Take note of a device's health.

        Args:
            device_id: The device.
            healthy: Whether it looks healthy.
            now: The time.

        Returns:
            Why it is to be told as Unhealthy however it looks; one text for as long as it is held, so that what it
            does meanwhile is no news. Empty where it may be told as it is.
        """
        if not self._max_flips:
            return ""
        self._note(device_id, healthy, now)
        return self._reason if device_id in self._held else ""

    def absent(self, listed: Container[str], now: float) -> None:
        """Take note of which devices are gone; to be called for each list, once its devices are judged.

        One that has been gone and quiet for long enough is forgotten.

        Args:
            listed: The ids of the devices that are there; all others are gone.
            now: The time.
        """
        for device_id in [known for known in self._healthy if known not in listed]:
            self._note(device_id, False, now)
            if device_id not in self._changes:
                del self._healthy[device_id]

    def next_release(self, now: float) -> float | None:
        """Tell when to judge again even if nothing is seen to change.

        Args:
            now: The time.

        Returns:
            When the first of the devices that are held will have been quiet for long enough, if it stays so: `now`
            where that is past. None where none is held.
        """
        due = [self._changes[device_id][-1] + self._quiet for device_id in self._held]
        return max(now, min(due)) if due else None

    def _note(self, device_id: str, healthy: bool, now: float) -> None:
        if changes := self._changes.get(device_id):
            if now >= changes[-1] + self._quiet:
                self._held.discard(device_id)
            if now >= changes[-1] + self._memory:
                del self._changes[device_id]
        if self._healthy.setdefault(device_id, healthy) != healthy:
            self._healthy[device_id] = healthy
            self._count(device_id, now)

    def _count(self, device_id: str, now: float) -> None:
        changes = self._changes.setdefault(device_id, [])
        changes.append(now)
        del changes[: -self._max_flips - 1]
        if len(changes) > self._max_flips and now - changes[0] < _WINDOW:
            self._held.add(device_id)
