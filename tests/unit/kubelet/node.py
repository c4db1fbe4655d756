"""A kubelet whose time is moved by hand, foreign plugins for it, and pods."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubelet_plugin.errors import ContainerStartError
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.clock import ManualClock
from kubelet_plugin.kubelet.manager import DeviceManager, NodeResource
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.status import Phase, PodStatus
from tests.unit.kubelet.foreign_plugin import THING, WAIT, ForeignPlugin, PluginError, device

Asks = int | dict[str, Any]

REJECTED = "Pod was rejected: Allocate failed due to "
REJECTED_BY_OLD = "Pod Allocate failed due to "
UNEXPECTED = ", which is unexpected"


@dataclass
class Runtime:
    """A container runtime that starts nothing. An init container ends well at once, unless it is told otherwise.

    Attributes:
        started: What containers were started with, in order, by their names.
        ended: To be called with the exit code of the container of that name.
        failures: What the next starts fail with.
        stopped: The names of pods that were stopped.
        inits_end: Whether init containers end at once.
        gate: What each start waits for.
        entered: Set when a start waits for it.
    """

    started: list[tuple[str, RunContainerOptions]] = field(default_factory=list)
    ended: dict[str, Callable[[int], None]] = field(default_factory=dict)
    failures: list[ContainerStartError] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    inits_end: bool = True
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(
        self, pod: Pod, container: Container, options: RunContainerOptions, ended: Callable[[int], None]
    ) -> Mapping[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        self.started.append((container.name, options))
        if self.gate is not None:
            self.entered.set()
            await self.gate.wait()
        self.ended[container.name] = ended
        if self.inits_end and container in pod.init_containers and not container.restarts_always:
            asyncio.get_running_loop().call_soon(ended, 0)
        return {}

    async def stop(self, pod: Pod) -> None:
        self.stopped.append(pod.name)

    def names(self) -> list[str]:
        return [name for name, _ in self.started]


class Clock(ManualClock):
    """A manual clock that knows how many sleep by it."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers = 0
        self.changed: Callable[[], None] = lambda: None

    async def sleep(self, seconds: float) -> None:
        self.sleepers += 1
        self.changed()
        try:
            await super().sleep(seconds)
        finally:
            self.sleepers -= 1
            self.changed()


class _Lines(logging.Handler):
    def __init__(self, lines: list[str], changed: Callable[[], None]) -> None:
        super().__init__()
        self._lines = lines
        self._changed = changed

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())
        self._changed()


@dataclass
class Node:
    """A kubelet and what it has to do with.

    Attributes:
        manager: The kubelet.
        clock: Its time.
        runtime: Its container runtime.
        directory: Its plugin directory.
        plugins: The plugins there are.
        lines: The lines of its log.
    """

    manager: DeviceManager
    clock: Clock
    runtime: Runtime
    directory: Path
    plugins: list[ForeignPlugin] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def changed(self) -> None:
        """Let those look again who wait in `until`."""
        self.manager._notify()

    async def serving(self, *devices: Any, socket: str = "", resource: str = THING, **options: bool) -> ForeignPlugin:
        """A plugin that serves; ids stand for healthy devices."""
        path = self.directory / (socket or f"{len(self.plugins)}.sock")
        listed = [device(each) if isinstance(each, str) else each for each in devices]
        plugin = ForeignPlugin(path, *listed, resource=resource, **options)
        self.plugins.append(plugin)
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # a thread of grpcio may outlive the loop
                loop.call_soon_threadsafe(self.changed)

        plugin.changed = changed
        await asyncio.to_thread(plugin.serve)
        return plugin

    async def register(self, plugin: ForeignPlugin, **options: Any) -> str:
        """Let a plugin register; return what the kubelet says against it."""
        return await asyncio.to_thread(plugin.register, **options)

    async def plugin(self, *devices: Any, socket: str = "", resource: str = THING, **options: bool) -> ForeignPlugin:
        """A plugin whose list the kubelet has taken in."""
        plugin = await self.serving(*devices, socket=socket, resource=resource, **options)
        assert await self.register(plugin) == ""
        await self.listed(plugin)
        return plugin

    async def listed(self, plugin: ForeignPlugin) -> None:
        """Wait until the kubelet knows what a plugin offers."""
        ids = {each.ID: each.health for each in plugin.devices or ()}
        await self.until(
            lambda: plugin.resource in self.manager.resources() and self.manager.devices(plugin.resource) == ids
        )

    async def offer(self, plugin: ForeignPlugin, *devices: Any) -> None:
        """Let a plugin send a list, and wait until the kubelet has taken it in."""
        await asyncio.to_thread(plugin.offer, *(device(each) if isinstance(each, str) else each for each in devices))
        await self.listed(plugin)

    async def offer_unheard(self, plugin: ForeignPlugin, *devices: Any) -> None:
        """Let a plugin send a list that the kubelet will not take in."""
        await asyncio.to_thread(plugin.offer, *devices)

    async def watched(self, plugin: ForeignPlugin, times: int) -> None:
        """Wait until so many streams were opened."""
        await self.until(lambda: len(plugin.asked("ListAndWatch")) == times)

    async def until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            await self.manager.until(lambda: look() or None)

    async def asked(self, plugin: ForeignPlugin, name: str, times: int = 1) -> None:
        """Wait until a plugin was asked this so often."""
        await self.until(lambda: len(plugin.asked(name)) == times)

    async def logged(self, message: str, times: int = 1) -> None:
        """Wait until the kubelet has logged this so often."""
        await self.until(lambda: sum(line.startswith(f'"{message}"') for line in self.lines) == times)

    async def has(self, capacity: int, allocatable: int, resource: str = THING) -> None:
        """Wait until the node has so many devices."""
        await self.until(lambda: self.manager.resources().get(resource) == NodeResource(capacity, allocatable))

    async def lose(self, plugin: ForeignPlugin, error: PluginError | None = None) -> None:
        """Let a plugin end its streams, and wait until the kubelet has noticed."""
        before = self.ends
        await asyncio.to_thread(plugin.end_streams, error)
        await self.until(lambda: self.ends > before)

    async def die(self, plugin: ForeignPlugin) -> None:
        """Let a plugin die, and wait until the kubelet has noticed."""
        before = self.ends
        await asyncio.to_thread(plugin.die)
        await self.until(lambda: self.ends > before)

    @property
    def ends(self) -> int:
        """How many streams have ended so far."""
        return sum(line.startswith('"ListAndWatch ended unexpectedly') for line in self.lines)

    async def admit(self, name: str, *containers: Asks, **options: Any) -> PodStatus:
        """Hand in a pod."""
        return await self.manager.admit(pod(name, *containers, **options))

    async def running(self, name: str, *containers: Asks, **options: Any) -> PodStatus:
        """Hand in a pod that must run."""
        status = await self.admit(name, *containers, **options)
        assert status.phase is Phase.RUNNING, status
        return status

    async def refused(self, name: str, *containers: Asks, **options: Any) -> str:
        """Hand in a pod that must be refused on behalf of its devices; return why it is."""
        status = await self.admit(name, *containers, **options)
        assert status.reason == "UnexpectedAdmissionError", status
        return why(status)

    def waiting(self, name: str = "pod", container: str = "") -> tuple[str, str]:
        """Why a container waits: reason and message."""
        status = self.manager.pod_status(name).container(container)
        assert status.state.value == "waiting", status
        return status.reason, status.message


@contextlib.asynccontextmanager
async def node(directory: Path, version: str | Profile = "1.36", **settings: Any) -> AsyncIterator[Node]:
    """A node with a kubelet that runs, and logs everything."""
    clock, runtime = Clock(), Runtime()
    manager = DeviceManager(str(directory), version, clock=clock, runtime=runtime, seed=1, **settings)
    made = Node(manager, clock, runtime, directory)
    clock.changed = made.changed
    handler = _Lines(made.lines, made.changed)
    log.logger.addHandler(handler)
    log.logger.setLevel(log.level(log.MOST_VERBOSE))
    try:
        async with manager:
            yield made
    finally:
        log.logger.removeHandler(handler)
        log.logger.setLevel(logging.NOTSET)
        for plugin in made.plugins:
            await asyncio.to_thread(plugin.die)


def why(status: PodStatus) -> str:
    """What of a refused pod's message is said of its devices."""
    assert status.phase is Phase.FAILED, status
    prefix = next(each for each in (REJECTED, REJECTED_BY_OLD) if status.message.startswith(each))
    assert status.message.endswith(UNEXPECTED)
    return status.message.removeprefix(prefix).removesuffix(UNEXPECTED)


def container(name: str, limits: int | Mapping[str, int], **fields: Any) -> dict[str, Any]:
    """A container that asks for so much; a number is of things."""
    of_resources = {THING: limits} if isinstance(limits, int) else dict(limits)
    return {"name": name, "image": "x", "resources": {"limits": of_resources}, **fields}


def pod(
    name: str, *containers: Asks, init: Sequence[dict[str, Any]] = (), restart: str = "Always", static: bool = False
) -> dict[str, Any]:
    """A manifest; a number stands for a container `c` that asks for so many things."""
    metadata: dict[str, Any] = {"name": name}
    if static:
        metadata |= {"annotations": {"kubernetes.io/config.source": "file"}, "uid": name}
    spec: dict[str, Any] = {
        "containers": [container("c", each) if isinstance(each, int) else each for each in containers],
        "restartPolicy": restart,
    }
    if init:
        spec["initContainers"] = list(init)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
