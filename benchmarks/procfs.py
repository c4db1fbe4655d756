"""What the kernel says about a process."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """What of a process is in memory.

    Attributes:
        rss: All of it, in MiB.
        pss: The same with each page divided by the number of processes that share it, in MiB.
    """

    rss: float
    pss: float


def memory(pid: int) -> Memory:
    """Add up the mappings of a process; exact, where `VmRSS` is an estimate."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        values = dict(line.split(":", 1) for line in list(file)[1:])
    return Memory(*(int(values[name].split()[0]) / 1024 for name in ("Rss", "Pss")))


def threads(pid: int) -> int:
    """Count the threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


def wakeups(pid: int) -> dict[int, int]:
    """Return for each thread how often it has gone to sleep by itself so far, and so has been woken."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii", errors="replace") as file:
                found[int(thread)] = next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def since(before: dict[int, int], after: dict[int, int]) -> int:
    """Count the wake-ups between two readings; a thread that is new counts from its birth."""
    return sum(count - before.get(thread, 0) for thread, count in after.items())


def cpu(pid: int) -> float:
    """Return for how many seconds a process has been at work so far."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def inotify_watches(pid: int) -> int:
    """Return how many inotify watches a process has on the directory it has most on; at best 1."""
    watched: dict[str, int] = {}
    for descriptor in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as file:
            for line in file:
                if line.startswith("inotify "):
                    _, _, inode, device, *_ = line.split()
                    watched[f"{inode} {device}"] = watched.get(f"{inode} {device}", 0) + 1
    return max(watched.values(), default=0)
