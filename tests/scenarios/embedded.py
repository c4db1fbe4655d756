"""The embedded kubelet as scenarios need it: with static pods, in a thread, and time that is moved by hand."""

import asyncio
import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kubelet_plugin.kubelet import DeviceManager, ManualClock, Profile, Standalone
from kubelet_plugin.kubelet.documents import pod_list
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod
from tests.scenarios.observed import Delivered, PodSeen, Resource, pod_seen
from tests.scenarios.stage import ENDS

NODE_NAME = "node1"
ANSWER_WITHIN = 30.0
SETTLING = 0.05  # seconds

T = TypeVar("T")


class _Runtime:
    """Runs nothing, and remembers what each container would have been started with."""

    def __init__(self) -> None:
        self.started: dict[tuple[str, str], Delivered] = {}

    async def start(
        self, pod: Pod, container: Container, options: RunContainerOptions, ended: Callable[[int], None]
    ) -> Mapping[str, Any]:
        self.started[_manifest_name(pod.name), container.name] = Delivered(
            env={**options.envs, **dict(container.env)},
            mounts={mount.container_path: mount.host_path for mount in options.mounts},
            devices={device.container_path: device.host_path for device in options.devices},
            annotations=options.annotations,
            cdi_devices=options.cdi_devices,
        )
        if tuple(container.command) == ENDS:
            asyncio.get_running_loop().call_soon(ended, 0)
        return {}

    async def stop(self, pod: Pod) -> None:
        pass


class EmbeddedKubelet:
    """An embedded kubelet of one minor version.

    Args:
        minor: Its version is 1.`minor`.
        root: The directory that its directories are made in.
        launcher: The command that runs a command where `plugin_dir` is the node's; none: nothing can be launched.
        reports_health: Its gate for that is open, which by default depends on its version.
    """

    patience = 10.0

    def __init__(
        self,
        minor: int,
        root: Path,
        launcher: Callable[[Path], Sequence[str]] | None = None,
        *,
        reports_health: bool = False,
    ) -> None:
        profile = Profile.of(f"1.{minor}")
        if reports_health:
            profile = dataclasses.replace(profile, reports_health=True)
        self.minor, self.reports_health = minor, profile.reports_health
        self.plugin_dir, self.registry_dir, self.cdi_dir = root / "plugins", root / "registry", root / "cdi"
        self.places = {str(self.plugin_dir): "<plugins>", str(self.registry_dir): "<registry>"}
        self.pod_resources = root / "pod-resources.sock"
        self._manifests = root / "manifests"
        for directory in (self.plugin_dir, self.registry_dir, self.cdi_dir, self._manifests):
            directory.mkdir()
        self._launcher = launcher
        self._clock = ManualClock()
        self._runtime = _Runtime()
        self._loop = asyncio.new_event_loop()
        self._manager = DeviceManager(
            str(self.plugin_dir),
            profile,
            clock=self._clock,
            plugins_registry=str(self.registry_dir),
            pod_resources=str(self.pod_resources),
            runtime=self._runtime,
        )

    @contextlib.contextmanager
    def running(self) -> Iterator["EmbeddedKubelet"]:
        """This kubelet, until the block ends."""
        standalone = Standalone(self._manager, clock=self._clock, node_name=NODE_NAME, manifests=str(self._manifests))
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            self._do(standalone.__aenter__())
            try:
                yield self
            finally:
                self._do(standalone.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(ANSWER_WITHIN)
            self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_WITHIN)

    def _look(self, look: Callable[[], T]) -> T:
        async def work() -> T:
            return look()

        return self._do(work())

    def advance(self, seconds: float) -> None:
        if seconds:
            self._look(lambda: self._clock.advance(seconds))

    def settle(self) -> None:
        self._do(asyncio.sleep(SETTLING))

    def restart(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._do(self._manager.stop())
        meanwhile()
        self._do(self._manager.start())

    def resources(self) -> Mapping[str, Resource]:
        found = self._look(self._manager.resources)
        return {resource: Resource(of.capacity, of.allocatable) for resource, of in found.items()}

    def metrics(self) -> str:
        return self._look(self._manager.metrics)

    def admit(self, manifest: Mapping[str, Any]) -> None:
        self.hand_in(f"{manifest['metadata']['name']}.json", json.dumps(manifest))

    def hand_in(self, name: str, text: str) -> None:
        part = self._manifests / f".{name}"
        part.write_text(text)
        part.rename(self._manifests / name)

    def take_out(self, name: str) -> None:
        (self._manifests / name).unlink()

    def remove(self, pod: str) -> None:
        self.take_out(f"{pod}.json")

        async def gone() -> None:
            await self._manager.until(lambda: None if pod in self._pods() else True)

        self._do(gone())

    def pod(self, name: str) -> PodSeen | None:
        document = self._look(self._pods).get(name)
        return pod_seen(document["status"], self.places) if document else None

    def api_name(self, pod: str) -> str:
        return f"{pod}-{NODE_NAME}"

    def _pods(self) -> dict[str, dict[str, Any]]:
        document = pod_list(
            self._manager.pods(), profile=self._manager.profile, health=self._manager.health, node_name=NODE_NAME
        )
        return {_manifest_name(pod["metadata"]["name"]): pod for pod in document["items"] or ()}

    def delivered(self, pod: str, container: str) -> Delivered:
        return self._runtime.started[pod, container]

    def restart_container(self, pod: str, container: str) -> None:
        self._do(self._manager.restart_container(self.api_name(pod), container))

    def launch(self, arguments: Sequence[str]) -> Sequence[str]:
        assert self._launcher is not None, "nothing can be launched here"
        return [*self._launcher(self.plugin_dir), *arguments]


def _manifest_name(pod: str) -> str:
    return pod.removesuffix(f"-{NODE_NAME}")
