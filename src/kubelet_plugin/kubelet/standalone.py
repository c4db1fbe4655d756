"""A kubelet without an API server: a device manager, pods from a directory, and what became of them over HTTP."""

import asyncio
import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kubelet_plugin.kubelet import documents, log
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.manager import DeviceManager, NodeResource
from kubelet_plugin.kubelet.manifests import ManifestDirectory
from kubelet_plugin.listen import Listener, Page

if TYPE_CHECKING:
    from kubelet_plugin.kubelet.pods import Pod
    from kubelet_plugin.kubelet.status import ContainerStatus

NODE_STATUS_PERIOD = 10.0
"""Seconds between two computations of the node's status, as of every kubelet: what has expired is forgotten by it."""


class Standalone:
    """A device manager with static pods and a read-only port.

    An asynchronous context manager.

    Args:
        manager: The device manager; it is started and ended with this.
        clock: The manager's clock.
        node_name: The node's name; static pods carry it at the end of theirs.
        manifests: The directory of static pods; empty: there are none.
        listen: The address at which `/pods`, `/node`, `/containers`, `/metrics`, `/healthz` and, where containers run,
            `/logs` are served; empty: nowhere.
        output: Says what a container of a pod has written, by its name; None where none is run.

    Raises:
        ConfigurationError: `listen` is no address.
    """

    def __init__(
        self,
        manager: DeviceManager,
        *,
        clock: Clock,
        node_name: str,
        manifests: str = "",
        listen: str = "",
        output: "Callable[[Pod, str], str] | None" = None,
    ) -> None:
        self._output = output
        self._manager = manager
        self._clock = clock
        self._node_name = node_name
        self._changed = asyncio.Event()
        self._manifests = (
            ManifestDirectory(manifests, node_name=node_name, clock=clock, changed=self._changed.set)
            if manifests
            else None
        )
        self._listener = Listener(listen, self._pages()) if listen else None
        self._pods: dict[str, Pod] = {}
        self._status: Mapping[str, NodeResource] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def address(self) -> str:
        """The address that is served, its port filled in; empty where there is none."""
        return self._listener.address if self._listener else ""

    async def __aenter__(self) -> Self:
        """Start: pods that have a manifest already are admitted before any plugin can register, as by any kubelet.

        Raises:
            ConfigurationError: The plugin directory or the address cannot be used.
        """
        if self._listener is not None:
            await self._listener.start()
        try:
            if self._manifests is not None:
                self._start(self._manifests.run())
                await asyncio.sleep(0)  # it has read the directory by then
                self._pods = dict(self._manifests.pods)
                self._changed.clear()
            await self._manager.start(self._pods.values())
        except BaseException:
            await self._end()
            raise
        self._start(self._follow())
        self._start(self._update_node_status())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, and all pods."""
        await self._end()
        await self._manager.__aexit__(kind, error, traceback)

    def _start(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._listener is not None:
            await self._listener.close()

    async def _follow(self) -> None:
        """Keep the pods those of the directory, one change after the other."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            assert self._manifests is not None
            wanted = dict(self._manifests.pods)
            for uid in self._pods.keys() - wanted.keys():
                pod = self._pods.pop(uid)
                log.info(2, "SyncLoop REMOVE", source="file", pods=[pod.full_name])
                await self._manager.remove(pod.name, pod.namespace)
            for uid, pod in wanted.items():
                if uid not in self._pods:
                    log.info(2, "SyncLoop ADD", source="file", pods=[pod.full_name])
                    self._pods[uid] = pod
                    await self._manager.admit(pod)

    async def _update_node_status(self) -> None:
        while True:
            before, self._status = self._status, self._manager.resources()
            for resource, of in self._status.items():
                if before.get(resource) != of:
                    log.info(2, "Updated capacity for device plugin", plugin=resource, capacity=of.capacity)
                    log.info(2, "Updated allocatable", device=resource, allocatable=of.allocatable)
            await self._clock.sleep(NODE_STATUS_PERIOD)

    # The read-only port.

    def _pages(self) -> dict[str, Callable[[], Page]]:
        logs = {"/logs": lambda: _json(self._logs())} if self._output else {}
        return logs | {
            "/pods": lambda: _json(self._pod_list()),
            "/node": lambda: _json(self._node()),
            "/containers": lambda: _json(self._containers()),
            "/metrics": lambda: Page("text/plain; version=0.0.4; charset=utf-8", self._manager.metrics().encode()),
            "/healthz": lambda: Page("text/plain; charset=utf-8", b"ok"),
        }

    def _pod_list(self) -> dict[str, Any]:
        return documents.pod_list(
            self._manager.pods(),
            profile=self._manager.profile,
            health=self._manager.health,
            node_name=self._node_name,
        )

    def _node(self) -> dict[str, Any]:
        resources = self._manager.resources()
        return documents.node(
            self._node_name,
            {name: of.capacity for name, of in resources.items()},
            {name: of.allocatable for name, of in resources.items()},
            version=self._manager.profile.version,
        )

    def _containers(self) -> dict[str, Any]:
        """The OCI runtime configuration of each container that was started, by pod and container."""
        return self._by_container(lambda _, container: container.config)

    def _logs(self) -> dict[str, Any]:
        """What each container has written since its last start, by pod and container."""
        assert self._output is not None
        output = self._output
        return self._by_container(lambda pod, container: output(pod, container.name))

    def _by_container(self, of: "Callable[[Pod, ContainerStatus], Any]") -> dict[str, Any]:
        return {
            status.pod.full_name: {
                container.name: of(status.pod, container)
                for container in (*status.init_containers, *status.containers)
                if container.config is not None
            }
            for status in self._manager.pods()
        }


def _json(document: object) -> Page:
    return Page("application/json", json.dumps(document).encode() + b"\n")
