"""Measures the embedded kubelet: `python -m benchmarks.embedded`. Each figure stands beside what it is to be.

The plugin is `kubelet-plugin run`, a process of its own; so is the kubelet, but for the round trip, which is measured
from the inside.
"""

import asyncio
import contextlib
import functools
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

from benchmarks import procfs
from kubelet_plugin.kubelet import DeviceManager, DryRuntime, Phase

RESOURCE = "bench.example.com/kvm"
_PATIENCE = 60.0
_LOOK = 0.002
_COMMAND = [sys.executable, "-m", "kubelet_plugin"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        title: What was measured.
        value: What it is.
        unit: In what.
        most: What it may be.
    """

    title: str
    value: float
    unit: str
    most: float

    def __str__(self) -> str:
        verdict = "met" if self.value <= self.most else "MISSED"
        return f"{self.title:<52} {self.value:9.2f} {self.unit:<4} <= {self.most:g} {verdict}"


def plugin(place: Path, count: int) -> list[str]:
    """The command line of a plugin of that many devices, shares of a stand-in for /dev/kvm."""
    (place / "host/dev").mkdir(parents=True, exist_ok=True)
    node = place / "host/dev/kvm"
    if not node.is_symlink():
        node.symlink_to(os.path.relpath("/dev/kvm", node.parent))
    options = {"plugin-dir": place / "plugins", "cdi-dir": place / "cdi", "host-root": place / "host", "count": count}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [*_COMMAND, "run", "kvm", "--domain", "bench.example.com", *arguments]


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that ends with the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def until(what: str, look: Callable[[], bool]) -> float:
    """Wait until `look` is true; return when that was."""
    deadline = perf_counter() + _PATIENCE
    while not look():
        if perf_counter() > deadline:
            raise SystemExit(f"benchmarks: waited {_PATIENCE:g} s for {what}")
        sleep(_LOOK)
    return perf_counter()


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def get(port: int, page: str) -> Mapping[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", page)
        found: Mapping[str, object] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pod(name: str) -> dict[str, object]:
    container = {"name": "c", "image": "busybox", "resources": {"limits": {RESOURCE: 1}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


def ready(place: Path, times: int) -> Figure:
    """From the start of the program until it answers at its socket."""
    took = []
    for number in range(times):
        plugins = place / f"ready-{number}"
        answered = functools.partial(answers, plugins / "kubelet.sock")
        began = perf_counter()
        with running([*_COMMAND, "kubelet", "--plugin-dir", str(plugins)], place / "kubelet.log"):
            took.append(until("the kubelet's socket", answered) - began)
    return Figure(f"start to ready, p50 of {times}", statistics.median(took), "s", 0.3)


async def round_trips(place: Path, times: int) -> Figure:
    """From a Register on, a first list and a pod admitted, with a plugin that is up already."""
    took = []
    async with DeviceManager(str(place / "plugins"), runtime=DryRuntime([str(place / "cdi")])) as manager:
        with running(plugin(place, 10), place / "plugin.log"):
            for number in range(times + 1):
                await manager.until(lambda: True if _allocatable(manager) == 10 else None)
                await manager.stop()
                began = perf_counter()
                await manager.start()
                await manager.until(lambda: True if _allocatable(manager) else None)
                status = await manager.admit(pod(f"pod-{number}"))
                assert status.phase is Phase.RUNNING, status
                took.append(perf_counter() - began)
                await manager.remove(f"pod-{number}")
    return Figure(
        f"kubelet start, registration, list, admission, p50 of {times}", statistics.median(took[1:]) * 1000, "ms", 20
    )


async def listed(place: Path, count: int) -> Figure:
    """From the restart of a kubelet until it has taken in a long list."""
    async with DeviceManager(str(place / "plugins"), runtime=DryRuntime([str(place / "cdi")])) as manager:
        with running(plugin(place, count), place / "plugin.log"):
            await manager.until(lambda: True if _allocatable(manager) == count else None)
            began = perf_counter()
            await manager.restart()
            await manager.until(lambda: True if _allocatable(manager) == count else None)
            return Figure(f"{count:,} devices listed", perf_counter() - began, "s", 0.5)


def _allocatable(manager: DeviceManager) -> int:
    found = manager.resources().get(RESOURCE)
    return found.allocatable if found else 0


def many_devices(place: Path, count: int) -> Figure:
    """The memory of a kubelet that knows a plugin of so many devices."""
    port = free_port()
    options = ["--plugin-dir", str(place / "plugins"), "--listen", f"127.0.0.1:{port}"]
    with running([*_COMMAND, "kubelet", "-v", "0", *options], place / "kubelet.log") as kubelet:
        until("the kubelet's socket", lambda: answers(place / "plugins/kubelet.sock"))
        with running(plugin(place, count), place / "plugin.log"):
            until("the devices", lambda: _node_offers(port, count))
            return Figure(f"RSS, {count:,} devices", procfs.memory(kubelet.pid).rss, "MiB", 40)


def many_pods(place: Path, count: int) -> list[Figure]:
    """So many pods from manifests, one device each, against a plugin of as many devices."""
    manifests, port = place / "manifests", free_port()
    manifests.mkdir()
    arguments = {
        "plugin-dir": place / "plugins",
        "cdi-dir": place / "cdi",
        "manifests": manifests,
        "listen": f"127.0.0.1:{port}",
    }
    options = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    for number in range(count):
        (manifests / f".pod-{number}.json").write_text(json.dumps(pod(f"pod-{number}")))
    with running([*_COMMAND, "kubelet", "-v", "0", *options], place / "kubelet.log") as kubelet:
        until("the kubelet's socket", lambda: answers(place / "plugins/kubelet.sock"))
        idle = procfs.memory(kubelet.pid).rss
        with running(plugin(place, count), place / "plugin.log"):
            until("the devices", lambda: _node_offers(port, count))
            began = perf_counter()
            for number in range(count):
                (manifests / f".pod-{number}.json").rename(manifests / f"pod-{number}.json")
            took = until("the pods", lambda: _allocations(port) == count) - began
            loaded = procfs.memory(kubelet.pid).rss
            until("the last of them", lambda: _running(port) == count)
    return [
        Figure("RSS, idle", idle, "MiB", 40),
        Figure(f"{count:,} pods admitted, {count:,} devices", took, "s", 10),
        Figure(f"RSS, after {count:,} pods", loaded, "MiB", 40),
    ]


def _node_offers(port: int, count: int) -> bool:
    status = get(port, "/node")["status"]
    assert isinstance(status, dict)
    return bool(status["allocatable"].get(RESOURCE) == str(count))


def _allocations(port: int) -> int:
    """How many Allocate calls there were; the page of all pods would be work that nobody else makes for the kubelet."""
    sleep(0.05)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines() if "_alloc_duration_seconds_count" in line)


def _running(port: int) -> int:
    items = get(port, "/pods")["items"]
    assert isinstance(items, list)
    return sum(item["status"]["phase"] == "Running" for item in items)


def main() -> int:
    """Measure, and show the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        places = [Path(directory, name) for name in "abcde"]
        for place in places:
            place.mkdir()
        figures = [
            ready(places[0], 10),
            asyncio.run(round_trips(places[1], 30)),
            asyncio.run(listed(places[2], 10_000)),
        ]
        figures += [many_devices(places[3], 10_000), *many_pods(places[4], 1000)]
    print(f"load {os.getloadavg()[0]:.1f}")
    print(*figures, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
