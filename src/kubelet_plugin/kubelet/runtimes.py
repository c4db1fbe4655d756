"""Container runtimes of the embedded kubelet: one that only composes what would run, and runc."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kubelet_plugin import cdi
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet.cdi_cache import CdiCache
from kubelet_plugin.kubelet.oci import container_config
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.runc import RuncContainer, Tools, check_privileges

_Compose = Callable[[Pod, Container, RunContainerOptions], dict[str, Any]]


class DryRuntime:
    """Composes the configurations of containers, and starts nothing.

    A container counts as running until its pod is stopped; but an init container, other than a sidecar, ends at once
    and well.

    Args:
        cdi_dirs: Where CDI specs are, lowest priority first. None: CDI is off, and names are ignored in silence.
        host_root: Where the host's `/` is, for its device nodes.
    """

    def __init__(self, cdi_dirs: Sequence[str] | None = cdi.DEFAULT_DIRS, *, host_root: str = "/") -> None:
        self._compose = _composer(cdi_dirs, host_root)
        self._ends: dict[str, asyncio.Handle] = {}

    async def start(
        self, pod: Pod, container: Container, options: RunContainerOptions, ended: Callable[[int], None]
    ) -> Mapping[str, Any]:
        """Compose a container's configuration; see `Runtime`.

        Raises:
            ContainerStartError: A device node of the host is not there, or a CDI name is not resolved.
        """
        config = self._compose(pod, container, options)
        if container in pod.init_containers and not container.restarts_always:
            self._ends[pod.uid] = asyncio.get_running_loop().call_soon(ended, 0)
        return config

    async def stop(self, pod: Pod) -> None:
        """Forget a pod; see `Runtime`."""
        if handle := self._ends.pop(pod.uid, None):
            handle.cancel()


class Runc:
    """Runs containers by runc, with busybox in the place of their images (see `RuncContainer` for what else differs).

    It takes root, runc and a static busybox.

    Args:
        cdi_dirs: Where CDI specs are, lowest priority first. None: CDI is off, and names are ignored in silence.
        host_root: Where the host's `/` is.

    Raises:
        ConfigurationError: It cannot be used here; says what to do.
    """

    def __init__(self, cdi_dirs: Sequence[str] | None = cdi.DEFAULT_DIRS, *, host_root: str = "/") -> None:
        check_privileges()
        self._tools = Tools.find()
        self._compose = _composer(cdi_dirs, host_root)
        self._host_root = host_root
        self._runs: dict[str, dict[str, RuncContainer]] = {}
        self._reports: dict[RuncContainer, asyncio.Task[None]] = {}

    @staticmethod
    def unavailable() -> str:
        """Why it cannot be used here, and what to do about it; empty where it can."""
        try:
            check_privileges()
            Tools.find()
        except ConfigurationError as error:
            return str(error)
        return ""

    async def start(
        self, pod: Pod, container: Container, options: RunContainerOptions, ended: Callable[[int], None]
    ) -> Mapping[str, Any]:
        """Start a container, in the place of its last run; see `Runtime`.

        Returns:
            The configuration as a node's runtime would have it, before it is adapted to this machine.

        Raises:
            ContainerStartError: It cannot be started; nothing of it is left.
        """
        config = self._compose(pod, container, options)
        await self._remove(pod, container.name)
        run = RuncContainer(self._tools, config, host_root=self._host_root, has_command=bool(container.command))
        self._runs.setdefault(pod.uid, {})[container.name] = run
        try:
            await run.start()
        except BaseException:
            await self._remove(pod, container.name)
            raise

        async def report() -> None:
            ended(await run.exit_code())

        self._reports[run] = asyncio.get_running_loop().create_task(report())
        return config

    async def stop(self, pod: Pod) -> None:
        """Kill the containers of a pod, and leave nothing of them behind; see `Runtime`."""
        for name in list(self._runs.get(pod.uid, ())):
            await self._remove(pod, name)

    async def exec(self, pod: Pod, container: str, *argv: str) -> tuple[int, str]:
        """Run a command in a running container, with its user, environment and working directory.

        Returns:
            The exit code, and what it has written, errors included.

        Raises:
            ConfigurationError: There is no such container.
        """
        return await self._run_of(pod, container).exec(argv)

    def output(self, pod: Pod, container: str) -> str:
        """What a container's own process has written since its last start, errors included.

        Raises:
            ConfigurationError: There is no such container.
        """
        return self._run_of(pod, container).output()

    def _run_of(self, pod: Pod, container: str) -> RuncContainer:
        try:
            return self._runs[pod.uid][container]
        except KeyError:
            raise ConfigurationError(f"pod {pod.namespace}/{pod.name} has no container {container} started") from None

    async def _remove(self, pod: Pod, container: str) -> None:
        runs = self._runs.get(pod.uid, {})
        if run := runs.get(container):
            if report := self._reports.pop(run, None):
                report.cancel()
            await run.remove()
            runs.pop(container, None)
            if not runs:
                self._runs.pop(pod.uid, None)


def _composer(cdi_dirs: Sequence[str] | None, host_root: str) -> _Compose:
    cdi_cache = None if cdi_dirs is None else CdiCache(cdi_dirs)
    return functools.partial(container_config, cdi_cache=cdi_cache, host_root=host_root)
