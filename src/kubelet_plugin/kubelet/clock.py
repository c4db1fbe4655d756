"""Time as the embedded kubelet sees it: the machine's, or one that a test moves by hand."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def go_duration(seconds: float) -> str:
    """A duration as Go writes it, in whole seconds from one on: `500ms`, `10s`, `1m20s`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


class Clock:
    """The machine's time."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()

    def wall(self) -> float:
        """The time of day, in seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, moment: float) -> None:
        """Wait until `now` is so much; it may be so already, where the wait was planned before it began."""
        await self.sleep(max(0.0, moment - self.now()))

    async def within(self, seconds: float, awaitable: Awaitable[T]) -> T:
        """Wait for something, but not longer than that; it is cancelled then.

        Raises:
            TimeoutError: The time is up.
            Exception: What it raises.
        """
        work = asyncio.ensure_future(awaitable)
        alarm = asyncio.ensure_future(self.sleep(seconds))
        try:
            await asyncio.wait({work, alarm}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        if work.cancelled():
            raise TimeoutError
        return work.result()


class ManualClock(Clock):
    """Time that stands still until `advance` is called.

    Args:
        wall: The time of day it begins with, in seconds since 1970.
    """

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._now = 0.0
        self._wall = wall
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._now

    def wall(self) -> float:
        """The time of day, in seconds since 1970."""
        return self._wall + self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the time was moved on by so much."""
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        self.advance(0)
        await woken

    def advance(self, seconds: float) -> None:
        """Move the time on, and wake all who slept until then. Call it on the event loop of the sleepers."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
