"""What the tests of this room share: counting wakes, letting the loop read, looking at this process's descriptors."""

import asyncio
import os
from pathlib import Path


class Bell:
    """Counts how often it was rung."""

    def __init__(self) -> None:
        self.rings = 0

    def __call__(self) -> None:
        self.rings += 1

    async def rang(self) -> bool:
        """Tell whether it was rung for what was done until now: an event is queued when the system call returns."""
        await loop_has_read()
        rang, self.rings = self.rings > 0, 0
        return rang


async def loop_has_read() -> None:
    """Return when the loop has read what descriptors announce now, and done what that asks for."""
    for _ in range(10):
        await asyncio.sleep(0)


def descriptors() -> int:
    """Count this process's open descriptors."""
    return len(os.listdir("/proc/self/fd"))


def inotify_watches() -> int:
    """Count this process's inotify watches, as the kernel does."""
    count = 0
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            count += sum(line.startswith("inotify ") for line in info.read_text().splitlines())
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return count
