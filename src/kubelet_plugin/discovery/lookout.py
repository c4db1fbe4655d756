"""When to look again: something changed, or it was long ago."""

import asyncio
import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kubelet_plugin.discovery.changes import Changes

if TYPE_CHECKING:
    from kubelet_plugin.discovery.uevents import Uevents


class Lookout:
    """Tells when to look again. Events only say "look"; many in a row are one.

    Args:
        host_root: Where the host's root is seen.
        resync: How often, in seconds, to see to what no event tells.
        thorough: Whether it is then time to look at everything, or only where events cannot be had.
        gather: For how many seconds after a look to gather changes for the next one.
    """

    def __init__(
        self, *, host_root: str = "/", resync: float = 60.0, thorough: bool = True, gather: float = 0.010
    ) -> None:
        self._host_root = host_root
        self._resync = resync
        self._thorough = thorough
        self._gather = gather
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._patterns: frozenset[str] = frozenset()
        self._changes: Changes | None = None
        self._uevents: Uevents | None = None
        self._due = self._loop.time() + resync

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch nothing any more."""
        self.watch(())

    def watch(self, patterns: Iterable[str], *, nodes_too: bool = False) -> bool:
        """Watch these paths and globs, and no others any more.

        Args:
            patterns: The paths and globs.
            nodes_too: Whether to be woken, too, when the kernel tells of a device node, a USB or a PCI device.

        Returns:
            Whether anything is watched now that was not before: it may have changed meanwhile.
        """
        new = frozenset(patterns)
        grown = not new <= self._patterns or (nodes_too and self._uevents is None)
        if new != self._patterns:
            before = self._changes
            self._changes = Changes(sorted(new), self.wake, host_root=self._host_root) if new else None
            self._patterns = new
            if before:
                before.close()  # after the new one has begun: what both watch stays watched
        if nodes_too and self._uevents is None:
            from kubelet_plugin.discovery.uevents import Uevents  # noqa: PLC0415 -- most resources need none

            self._uevents = Uevents.of_loop(self._loop)
            self._uevents.subscribe(self, self.wake)
        elif not nodes_too and self._uevents is not None:
            self._uevents.unsubscribe(self)
            self._uevents = None
        return grown

    @property
    def hears_all(self) -> bool:
        """Whether all is told by events that is watched for."""
        return self._uevents is None or self._uevents.heard

    def pace(self, resync: float, *, thorough: bool) -> None:
        """Change how often, and how thoroughly, it is time to look though no event tells; as at the construction."""
        self._resync, self._thorough = resync, thorough
        self._due = min(self._due, self._loop.time() + resync)

    def wake(self) -> None:
        """Say that it is time to look."""
        self._woken.set()

    def looking(self) -> None:
        """Say that a look begins now: what happens from here on asks for another."""
        self._woken.clear()

    async def rest(self, until: float | None = None) -> bool:
        """Wait until it is time to look.

        Args:
            until: When to look at the latest, on the event loop's clock.

        Returns:
            Whether it is time to look at everything anew.
        """
        rested = self._loop.time() + self._gather
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._due if until is None else min(self._due, until)):
                    await self._woken.wait()
            now = self._loop.time()
            if now < self._due:
                await asyncio.sleep(max(0, rested - now))
                return False
            self._due = now + self._resync
            if self._misses_events() or self._thorough:
                return True

    def _misses_events(self) -> bool:
        return bool(self._changes and self._changes.recheck()) or not self.hears_all
