"""A kubelet for tests that are coroutines."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.errors import ConfigurationError, NotFoundError, WaitError
from kubelet_plugin.kubelet import Clock, DeviceManager, ManualClock, NodeResource, Pod, PodStatus
from kubelet_plugin.kubelet.endpoint import Endpoint
from kubelet_plugin.kubelet.journal import Journal, Registered
from kubelet_plugin.runtime import DevicePlugin
from kubelet_plugin.testing.blocks import AsyncWithOnly, acting_async, async_block
from kubelet_plugin.testing.containers import Containers
from kubelet_plugin.testing.failures import Actor, Log, hides_frames, report
from kubelet_plugin.testing.node import Node, temporary_directory
from kubelet_plugin.testing.options import Options, check, of_manager
from kubelet_plugin.testing.program import AsyncProgram
from kubelet_plugin.testing.serving import Serving

P = TypeVar("P", bound=DevicePlugin)
T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds that a test waits at most where it does not say."""

__tracebackhide__ = hides_frames
_GLANCE = 0.02  # seconds between two looks at what changes without a word: files, and what time alone ends


class AsyncKubelet(AsyncWithOnly, Node):
    """A kubelet in a temporary directory, for tests that are coroutines: a `Kubelet` on an event loop of the caller's.

    An asynchronous context manager. It runs on the loop on which it is entered, or on which something is first asked of
    it. What acts is a coroutine; what only looks is an ordinary method. `Kubelet` says what each of them promises.

    Args:
        options: How it behaves, as `Options` lists it.

    Attributes:
        faults: What is to go wrong on a plugin's side of the wire; what its `hang` returns is an `asyncio.Event`.

    Raises:
        ConfigurationError: There is no such option, or no such kubelet.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        check(options)
        self._directory = temporary_directory()
        super().__init__(Path(self._directory.name))
        self._make()
        self._clock = ManualClock() if options.get("manual_clock") else Clock()
        self._containers = Containers(str(self.cdi_dir) if options.get("cdi", True) else "")
        self.host_root = Path(options.get("host_root", "/"))
        self._journal = Journal()
        try:
            self._manager = DeviceManager(
                str(self.plugin_dir),
                **of_manager(options),
                clock=self._clock,
                pod_resources=str(self.pod_resources),
                plugins_registry=str(self.plugins_registry) if options.get("plugins_registry") else "",
                journal=self._journal,
                runtime=self._containers,
            )
        except BaseException:
            self._directory.cleanup()
            raise
        self.faults = self._manager.faults
        self._log = Log()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life: asyncio.Task[None] | None = None
        self._is_begun = self._is_running = self._is_ended = False
        self._starting = asyncio.Lock()
        self._actors: list[Actor] = []
        self._waiting: set[asyncio.Event] = set()

    @property
    def host_root(self) -> Path:
        """Where the host's device nodes are seen when a container is started. It may be set."""
        return self._containers.host_root

    @host_root.setter
    def host_root(self, root: Path) -> None:
        self._containers.host_root = root

    # Its life.

    async def __aenter__(self) -> Self:
        """Start it."""
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, and remove its directory."""
        await self._end()

    async def _end(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            life.cancel()
            await asyncio.wait({life})
        self._clear()
        if life is not None and not life.cancelled():
            life.result()

    async def _live(self) -> None:
        """Be there for as long as this is not cancelled, as it is at the latest when its event loop is closed."""
        try:
            await self._manager.until(self._wake)
        finally:
            await self._manager.__aexit__(None, None, None)

    def _clear(self) -> None:
        self._is_ended = True
        self._log.close()
        self._directory.cleanup()

    def _abandon(self) -> None:
        """End it from outside of its event loop, where nobody has ended it on that."""
        if self._life is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.run_until_complete(self._end())
        self._clear()

    async def _ready(self) -> DeviceManager:
        if not self._is_begun:
            await self.start()
        self._check_loop()
        return self._manager

    def _check_loop(self) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("an AsyncKubelet needs asyncio: no event loop of it runs here") from None
        if self._is_ended:
            raise ConfigurationError("this kubelet has ended: make another one")
        self._loop = self._loop or here
        if self._loop is not here:
            raise ConfigurationError(
                "this kubelet runs on another event loop: let the test and all its fixtures share one "
                "(pytest-asyncio: loop_scope)"
            )

    async def start(self) -> None:
        """See `Kubelet.start`."""
        self._check_loop()
        async with self._starting:
            if self._is_running:
                return
            self._begin()
            await self._manager.start()
            self._is_running = True

    def _begin(self) -> None:
        self._is_begun = True
        if self._life is None:
            self._log.open()
            self._life = asyncio.get_running_loop().create_task(self._live())

    async def stop(self) -> None:
        """See `Kubelet.stop`."""
        self._check_loop()
        self._begin()
        await self._manager.stop()
        self._is_running = False

    async def restart(self) -> None:
        """See `Kubelet.restart`."""
        await self.stop()
        await self.start()

    # Plugins.

    @async_block
    async def plugin(self, plugin: P, **settings: Any) -> AsyncIterator[P]:
        """See `Kubelet.plugin`."""
        await self._ready()
        serving = Serving(plugin, self._settings(settings), self._wake)
        await serving.start()
        async with acting_async(self._actors, serving, serving.end):
            yield plugin

    @async_block
    async def command(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, mounted: bool = False
    ) -> AsyncIterator[AsyncProgram]:
        """See `Kubelet.command`."""
        await self._ready()
        environment = self._environment(env or {}, mounted=mounted)
        program = AsyncProgram(command, environment, self._mounts() if mounted else None, self._wake_soon)
        async with acting_async(self._actors, program, program.end):
            yield program

    # Waiting.

    async def wait_for(
        self, resource: str, *, allocatable: int | None = None, capacity: int | None = None, timeout: float = TIMEOUT
    ) -> NodeResource:
        """See `Kubelet.wait_for`."""
        wanted = {"allocatable": allocatable, "capacity": capacity}
        numbers = ", ".join(f"{name} {number}" for name, number in wanted.items() if number is not None)

        def look() -> NodeResource | None:
            found = self._manager.resources().get(resource)
            if found is None or allocatable not in (None, found.allocatable) or capacity not in (None, found.capacity):
                return None
            return found

        found = await self._until(look, f"{resource}: {numbers or 'a first list'}", timeout)
        assert found is not None
        return found

    async def wait_until(self, look: Callable[[], T], *, what: str = "", timeout: float = TIMEOUT) -> T:
        """See `Kubelet.wait_until`."""
        return await self._until(look, what or f"{look} to return something true", timeout)

    async def _until(self, look: Callable[[], T], what: str, timeout: float) -> T:
        await self._ready()
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        woken = asyncio.Event()
        self._waiting.add(woken)
        try:
            while True:
                woken.clear()
                if found := look():
                    return found
                self._check_actors(what)
                if clock() >= deadline:
                    raise self._overdue(what, timeout)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), min(_GLANCE, deadline - clock()))
        finally:
            self._waiting.remove(woken)

    def _check_actors(self, what: str) -> None:
        for actor in self._actors:
            if failure := actor.failure():
                failure.add_note(f"The test was waiting for {what}.")
                raise failure

    async def _within(self, timeout: float, what: str, work: Coroutine[Any, Any, T]) -> T:
        """Await what a plugin has a part in, who may never answer."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=timeout)
            if task.done():
                return task.result()
            raise self._overdue(what, timeout)  # made before the task is cancelled, with the call that it awaits
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _overdue(self, what: str, timeout: float) -> WaitError:
        text = f"waited {timeout:g} s for {what}"
        return WaitError(report(text, self._manager, self._journal, list(self._log.lines), self._actors))

    def _wake(self) -> None:
        for woken in self._waiting:
            woken.set()

    def _wake_soon(self) -> None:
        """Wake from another thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all who waited
                self._loop.call_soon_threadsafe(self._wake)

    # Pods.

    async def admit(self, pod: Pod | Mapping[str, object], *, timeout: float = TIMEOUT) -> PodStatus:
        """See `Kubelet.admit`."""
        manager = await self._ready()
        return await self._within(timeout, "a pod to be admitted", manager.admit(pod))

    async def restart_container(
        self, name: str, container: str = "", *, namespace: str = "default", timeout: float = TIMEOUT
    ) -> PodStatus:
        """See `Kubelet.restart_container`."""
        manager = await self._ready()
        self.pod_status(name, namespace=namespace).container(container)
        work = manager.restart_container(name, container, namespace)
        return await self._within(timeout, f"a container of {name} to be started again", work)

    async def remove(self, name: str, *, namespace: str = "default") -> None:
        """See `Kubelet.remove`."""
        manager = await self._ready()
        self.pod_status(name, namespace=namespace)
        await manager.remove(name, namespace)

    def pods(self) -> list[PodStatus]:
        """See `Kubelet.pods`."""
        return self._manager.pods()

    def pod_status(self, name: str, *, namespace: str = "default") -> PodStatus:
        """See `Kubelet.pod_status`."""
        try:
            return self._manager.pod_status(name, namespace)
        except KeyError:
            there = ", ".join(f"{each.pod.namespace}/{each.pod.name}" for each in self.pods()) or "none"
            raise NotFoundError(f"there is no pod {namespace}/{name}; the pods there are: {there}") from None

    # What it sees.

    def resources(self) -> dict[str, NodeResource]:
        """See `Kubelet.resources`."""
        return self._manager.resources()

    def devices(self, resource: str) -> dict[str, str]:
        """See `Kubelet.devices`."""
        return self._manager.devices(resource)

    def lists(self, resource: str) -> list[dict[str, str]]:
        """See `Kubelet.lists`."""
        return [{device.ID: device.health for device in devices} for devices in self._journal.lists.get(resource, ())]

    def registrations(self) -> list[Registered]:
        """See `Kubelet.registrations`."""
        return list(self._journal.registrations)

    def options(self, resource: str) -> v1beta1.DevicePluginOptions:
        """See `Kubelet.options`."""
        return self._endpoint(resource).options or v1beta1.DevicePluginOptions()

    def _endpoint(self, resource: str) -> Endpoint:
        endpoint = self._manager.endpoint(resource)
        if endpoint is None:
            known = ", ".join(self.resources()) or "nobody"
            raise ConfigurationError(f"no plugin of {resource} has registered, but {known}: wait for it first")
        return endpoint

    # Calls of the test's own.

    async def allocate(self, resource: str, *ids: str, timeout: float = TIMEOUT) -> v1beta1.AllocateResponse:
        """See `Kubelet.allocate`."""
        await self._ready()
        call = self._endpoint(resource).allocate(ids)
        return await self._within(timeout, f"an answer to Allocate of {resource}", call)

    async def get_preferred_allocation(
        self,
        resource: str,
        available: Collection[str],
        size: int,
        *,
        must_include: Collection[str] = (),
        timeout: float = TIMEOUT,
    ) -> list[str]:
        """See `Kubelet.get_preferred_allocation`."""
        await self._ready()
        call = self._endpoint(resource).get_preferred_allocation(available, must_include, size)
        return await self._within(timeout, f"an answer to GetPreferredAllocation of {resource}", call)

    async def pre_start_container(self, resource: str, *ids: str, timeout: float = TIMEOUT) -> None:
        """See `Kubelet.pre_start_container`."""
        await self._ready()
        call = self._endpoint(resource).pre_start_container(ids)
        await self._within(timeout, f"an answer to PreStartContainer of {resource}", call)

    # What befalls it.

    async def advance(self, seconds: float) -> None:
        """See `Kubelet.advance`."""
        await self._ready()
        if not isinstance(self._clock, ManualClock):
            raise ConfigurationError("the kubelet's time is the machine's: choose manual_clock=True to move it")
        self._clock.advance(seconds)
        self._wake()

    async def cut(self, resource: str) -> None:
        """See `Kubelet.cut`."""
        manager = await self._ready()
        endpoint = self._endpoint(resource)
        manager.cut(resource)
        what = f"the kubelet to notice that the stream of {resource} has ended"
        await self._until(lambda: endpoint.stopped_at is not None, what, TIMEOUT)

    async def delete_sockets(self) -> None:
        """See `Kubelet.delete_sockets`."""
        manager = await self._ready()
        manager.delete_sockets()
