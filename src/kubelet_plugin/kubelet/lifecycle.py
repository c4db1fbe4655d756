"""The life of pods: admitted or refused, their containers started, started again, ended."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from kubelet_plugin.errors import AdmissionError, ContainerStartError
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.clock import Clock, go_duration
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.status import ContainerStatus, Phase, PodStatus, State

RETRY = 10.0
"""Seconds until a container that could not be started is tried again."""

FIRST_PAUSE = 10.0
"""Seconds until a container that has ended twice is started again; after its first end it is started at once."""

MOST_PAUSE = 300.0
"""The longest pause, in seconds, before a container that ended is started again; it doubles each time, until the
container has run for twice as long."""


class Runtime(Protocol):
    """A container runtime."""

    async def start(
        self, pod: Pod, container: Container, options: RunContainerOptions, ended: Callable[[int], None]
    ) -> Mapping[str, Any]:
        """Start a container.

        Args:
            pod: Its pod.
            container: The container.
            options: What it gets for its devices.
            ended: To be called with the exit code when the container has ended, later and on the event loop.

        Returns:
            Its OCI runtime configuration.

        Raises:
            ContainerStartError: It cannot be started.
        """

    async def stop(self, pod: Pod) -> None:
        """End all containers of a pod; `ended` is not called for them any more."""


class Life:
    """The life of one pod.

    Args:
        pod: The pod.
        runtime: What starts containers.
        clock: The time.
        options: Says what a container gets, before each of its starts; raises ContainerStartError.
        held: Says which devices a container holds, by resource.
        changed: Called after each change.

    Attributes:
        pod: The pod.
        requested: How many devices of each resource it asks for.
    """

    def __init__(
        self,
        pod: Pod,
        *,
        runtime: Runtime,
        clock: Clock,
        options: Callable[[Pod, Container], Awaitable[RunContainerOptions]],
        held: Callable[[Pod, Container], Mapping[str, tuple[str, ...]]],
        changed: Callable[[], None],
    ) -> None:
        self.pod = pod
        self.requested = requested(pod)
        self._runtime = runtime
        self._clock = clock
        self._options = options
        self._held = held
        self._changed = changed
        self._refusal: AdmissionError | None = None
        self._prefix = ""
        self._began = clock.wall()
        self._containers = {each.name: ContainerStatus(name=each.name) for each in pod.all_containers}
        self._phase = Phase.PENDING  # kept, for it is asked of every pod at every admission
        self._starts: dict[str, int] = {}
        self._pauses: dict[str, float] = {}
        self._backing_off: set[str] = set()
        self._is_followed = True
        self._has_ended = False
        self._is_to_retry = False
        self._syncing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    # What became of it.

    @property
    def status(self) -> PodStatus:
        """What became of the pod by now."""
        if self._refusal is not None:
            return PodStatus(
                pod=self.pod,
                phase=Phase.FAILED,
                reason=self._refusal.reason,
                message=self._prefix + self._refusal.message,
                started_at=self._began,
            )
        return PodStatus(
            pod=self.pod,
            phase=self._phase,
            started_at=self._began,
            init_containers=tuple(self._shown(each) for each in self.pod.init_containers),
            containers=tuple(self._shown(each) for each in self.pod.containers),
        )

    def _shown(self, container: Container) -> ContainerStatus:
        return dataclasses.replace(self._containers[container.name], devices=self._held(self.pod, container))

    def _compute_phase(self) -> Phase:
        containers = [self._containers[each.name] for each in self.pod.containers]
        if all(status.state is State.TERMINATED for status in containers) and self.pod.restart_policy != "Always":
            failed = any(status.exit_code for status in containers)
            if not failed:
                return Phase.SUCCEEDED
            return Phase.FAILED if self.pod.restart_policy == "Never" else Phase.RUNNING
        if self._init_failed():
            return Phase.FAILED
        return Phase.RUNNING if all(status.started_at is not None for status in containers) else Phase.PENDING

    def _init_failed(self) -> bool:
        return self.pod.restart_policy == "Never" and any(
            self._containers[each.name].state is State.TERMINATED and self._containers[each.name].exit_code
            for each in self.pod.init_containers
            if not each.restarts_always
        )

    @property
    def is_active(self) -> bool:
        """Whether the pod has not ended, so that its devices are its own."""
        return self._refusal is None and self._phase not in (Phase.SUCCEEDED, Phase.FAILED)

    @property
    def was_refused(self) -> bool:
        """Whether the pod was not admitted."""
        return self._refusal is not None

    def is_running(self, container: str) -> bool:
        """Tell whether a container runs."""
        return self._containers[container].state is State.RUNNING

    # What happens to it.

    async def refuse(self, error: AdmissionError, prefix: str) -> None:
        """Fail the pod; whatever of it runs, ends."""
        self._refusal, self._prefix = error, prefix
        await self.end()

    def admit(self) -> None:
        """Begin, or go on after a pause: an earlier refusal is taken back, what has ended meanwhile has its turn."""
        self._refusal = None
        self._is_followed, self._has_ended = True, False
        for name, status in self._containers.items():
            if status.state is State.TERMINATED and self._restarts(self._named(name), status.exit_code):
                self._containers[name] = dataclasses.replace(status, state=State.WAITING, reason="", message="")
        self._phase = self._compute_phase()

    async def pause(self) -> None:
        """Let what runs go on, and start nothing: the kubelet has ended."""
        self._is_followed = False
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        self._is_to_retry = False
        self._pauses.clear()
        self._backing_off.clear()

    async def end(self) -> None:
        """End what runs of the pod, and all that was to come."""
        self._has_ended = True
        await self.pause()
        await self._runtime.stop(self.pod)
        self._changed()

    async def sync(self) -> None:
        """Start each container whose turn it is; what cannot be started is tried again later."""
        async with self._syncing:
            for container in self.pod.init_containers:
                if self._is_due(container) and not await self._start(container):
                    return
                await asyncio.sleep(0)  # one that nothing really runs has ended by then
                if not container.restarts_always and not self._is_done(container):
                    return  # the next one's turn comes when this one has ended
            for container in self.pod.containers:
                if self._is_due(container):
                    await self._start(container)

    def _is_due(self, container: Container) -> bool:
        return self._containers[container.name].state is State.WAITING and container.name not in self._backing_off

    def _is_done(self, container: Container) -> bool:
        return self._containers[container.name].exit_code == 0

    async def restart(self, container: Container) -> None:
        """Start a container again, as after its end: nothing is allocated anew, the answer of before is replayed."""
        async with self._syncing:
            await self._start(container)

    async def _start(self, container: Container) -> bool:
        name = container.name
        before = self._containers[name]
        self._backing_off.discard(name)
        if not self._is_followed:
            return False
        try:
            options = await self._options(self.pod, container)
            if not self._is_followed:
                return False
            number = self._starts[name] = self._starts.get(name, -1) + 1

            def ended(code: int) -> None:
                if self._starts[name] == number:
                    self._ended(container, code)

            config = await self._runtime.start(self.pod, container, options, ended)
        except ContainerStartError as error:
            failure = f'failed to "StartContainer" for "{name}" with {error}'
            pod = self.pod.full_name
            log.error(failure, "Error syncing pod, skipping", pod=pod, podUID=self.pod.uid)
            self._put(
                container,
                dataclasses.replace(
                    before, state=State.WAITING, reason=error.reason, message=error.message, exit_code=None
                ),
            )
            self._retry()
            return False
        if self._has_ended:  # while it was started
            await self._runtime.stop(self.pod)
            return False
        self._put(
            container,
            dataclasses.replace(
                before,
                state=State.RUNNING,
                reason="",
                message="",
                exit_code=None,
                started_at=self._clock.wall(),
                restarts=before.restarts + (before.started_at is not None),
                config=config,
            ),
        )
        return True

    def _put(self, container: Container, status: ContainerStatus) -> None:
        self._containers[container.name] = status
        self._phase = self._compute_phase()
        self._changed()

    def _ended(self, container: Container, code: int) -> None:
        """Go on from the end of a container: to the next one, or to its next start."""
        name, now = container.name, self._clock.wall()
        pod = self.pod.full_name
        log.info(2, "SyncLoop (PLEG): event for pod", pod=pod, event="ContainerDied", containerName=name, exitCode=code)
        status = dataclasses.replace(
            self._containers[name],
            state=State.TERMINATED,
            reason="Error" if code else "Completed",
            exit_code=code,
            finished_at=now,
        )
        if not self._is_followed:
            self._put(container, status)
        elif self._restarts(container, code):
            has_run_long = now - (status.started_at or now) > 2 * MOST_PAUSE
            pause = 0.0 if has_run_long else self._pauses.get(name, 0.0)
            self._pauses[name] = min(pause * 2, MOST_PAUSE) or FIRST_PAUSE
            if pause:
                message = (
                    f"back-off {go_duration(pause)} restarting failed container={name} "
                    f"pod={self.pod.name}_{self.pod.namespace}({self.pod.uid})"
                )
                status = dataclasses.replace(status, state=State.WAITING, reason="CrashLoopBackOff", message=message)
            self._backing_off.add(name)
            self._put(container, status)
            self._begin(self._start_again(container, self._clock.now() + pause))
        else:
            self._put(container, status)
            if container in self.pod.init_containers:
                self._begin(self.sync())

    def _restarts(self, container: Container, code: int | None) -> bool:
        if container.restarts_always:
            return True
        match self.pod.restart_policy:
            case "Never":
                return False
            case "Always" if container in self.pod.containers:
                return True
            case _:
                return code != 0

    async def _start_again(self, container: Container, due: float) -> None:
        await self._clock.sleep_until(due)
        if container.name in self._backing_off:  # nobody else has started it meanwhile
            await self.restart(container)

    def _retry(self) -> None:
        """Look at all containers again after a while, once for all that could not be started."""
        due = self._clock.now() + RETRY

        async def wait() -> None:
            await self._clock.sleep_until(due)
            self._is_to_retry = False
            await self.sync()

        if self._is_followed and not self._is_to_retry:
            self._is_to_retry = True
            self._begin(wait())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _named(self, name: str) -> Container:
        return next(each for each in self.pod.all_containers if each.name == name)


def requested(pod: Pod) -> dict[str, int]:
    """How many devices of each resource a pod asks for: init containers have run before the others do."""
    total: dict[str, int] = {}
    for resource in {resource for each in pod.all_containers for resource in each.limits}:
        sidecars = peak = 0
        for container in pod.init_containers:
            asked = container.limits.get(resource, 0)
            peak = max(peak, sidecars + asked)
            sidecars += asked if container.restarts_always else 0
        total[resource] = max(peak, sidecars + sum(each.limits.get(resource, 0) for each in pod.containers))
    return total
