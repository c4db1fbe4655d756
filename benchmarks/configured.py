"""Measures a configuration of many resources: `python -m benchmarks.configured`. Each figure beside what it is to be.

The devices are nodes like /dev/null in a directory of their own, all in one. The daemon is a process of its own; the
embedded kubelet is in this one, so that its moments can be told to the millisecond.
"""

import argparse
import asyncio
import os
import stat
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks import procfs
from benchmarks.embedded import Figure, running
from kubelet_plugin.kubelet import DeviceManager, DryRuntime

_COMMAND = [sys.executable, "-m", "kubelet_plugin", "run"]
_DOMAIN = "bench.example.com"
_DEBOUNCE = 10.0  # ms: what `Lookout` gathers


class Node:
    """A host's /dev of many devices, and the configuration that offers them."""

    def __init__(self, place: Path, resources: int, devices: int) -> None:
        self.place, self.resources, self.each = place, resources, devices // resources
        self.dev = place / "host/dev"
        self.dev.mkdir(parents=True)
        for resource in range(resources):
            for device in range(self.each):
                self.plug(resource, device)
        lines = [f"  - name: r{n}\n    devices: [{{path: /dev/r{n}-*}}]\n" for n in range(resources)]
        self.file = place / "devices.yaml"
        self.file.write_text(f"version: v1\ndomain: {_DOMAIN}\nresources:\n" + "".join(lines))

    def plug(self, resource: int, device: int) -> None:
        os.mknod(self.dev / f"r{resource}-{device}", stat.S_IFCHR | 0o660, os.makedev(1, 3))

    def command(self) -> list[str]:
        options = {
            "config": self.file,
            "plugin-dir": self.place / "plugins",
            "cdi-dir": self.place / "cdi",
            "host-root": self.place / "host",
            "log-level": "warning",
        }
        return [*_COMMAND, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def _offered(manager: DeviceManager, resource: int) -> int:
    found = manager.resources().get(f"{_DOMAIN}/r{resource}")
    return found.allocatable if found else 0


def _all_offered(manager: DeviceManager, node: Node) -> bool:
    resources = manager.resources()
    return len(resources) == node.resources and all(r.allocatable == node.each for r in resources.values())


async def measure(place: Path, resources: int, devices: int, idle: float, plugs: int) -> list[Figure]:
    """Start the daemon, leave it alone for `idle` seconds, then plug devices in one by one."""
    node = Node(place, resources, devices)
    async with DeviceManager(str(place / "plugins"), runtime=DryRuntime([str(place / "cdi")])) as manager:
        began = perf_counter()
        with running(node.command(), place / "plugin.log") as daemon:
            while not _all_offered(manager, node):  # noqa: ASYNC110 -- to look at each change is work for the kubelet
                await asyncio.sleep(0.05)
            ready, worked = perf_counter() - began, procfs.cpu(daemon.pid)
            await asyncio.sleep(2)
            before = procfs.cpu(daemon.pid)
            await asyncio.sleep(idle)
            busy = 100 * (procfs.cpu(daemon.pid) - before) / idle
            memory = procfs.memory(daemon.pid).rss
            took = [await _plugged(manager, node, number) for number in range(plugs)]
            watches = procfs.inotify_watches(daemon.pid)
    return [
        Figure(f"{resources:,} resources, {devices:,} devices: ready", ready, "s", 2),
        Figure("CPU until then", worked, "s", 2),
        Figure("RSS", memory, "MiB", 70),
        Figure(f"CPU, idle for {idle:g} s", busy, "%", 0.1),
        Figure("inotify watches on one directory, most", watches, "", 1),
        Figure(f"hot-plug to the kubelet, p50 of {plugs}", statistics.median(took), "ms", 50 + _DEBOUNCE),
        Figure(f"hot-plug to the kubelet, max of {plugs}", max(took), "ms", 50 + _DEBOUNCE),
    ]


async def _plugged(manager: DeviceManager, node: Node, number: int) -> float:
    resource = number % node.resources
    before = _offered(manager, resource)
    began = perf_counter()
    node.plug(resource, node.each + number)
    await manager.until(lambda: True if _offered(manager, resource) == before + 1 else None)
    return (perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=500)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=120.0, help="seconds")
    parser.add_argument("--plugs", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kp-bench-", dir="/dev/shm") as place:  # as /var/run is: in memory
        for figure in asyncio.run(
            measure(Path(place), options.resources, options.devices, options.idle, options.plugs)
        ):
            print(figure)


if __name__ == "__main__":
    main()
