"""A plugin whose devices a test decides on while it is served."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from kubelet_plugin import Device, DevicePlugin

RESOURCE = "example.com/thing"


class Offering(DevicePlugin):
    """Offers the lists that a test gives it."""

    def __init__(self, *devices: Device, resource_name: str = RESOURCE, grace: float = 0.0) -> None:
        self.resource_name = resource_name
        self.grace = grace
        self._lists: list[Sequence[Device]] = [devices]
        self._more = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def offer(self, *devices: Device) -> None:
        """Change what there is, from the test's thread."""
        assert self._loop
        self._lists.append(devices)
        self._loop.call_soon_threadsafe(self._more.set)

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        self._loop = asyncio.get_running_loop()
        while True:
            self._more.clear()
            while self._lists:
                yield self._lists.pop(0)
            await self._more.wait()


def things(count: int) -> list[Device]:
    return [Device(f"thing{number}") for number in range(count)]
