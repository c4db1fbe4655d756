"""What starts the containers of pods in tests: nothing does, but what they would be is composed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubelet_plugin.kubelet import Container, DryRuntime, Pod
from kubelet_plugin.kubelet.options import RunContainerOptions


class Containers:
    """A container runtime that runs nothing, on a host that can be another than this machine.

    Args:
        cdi_dir: The directory of CDI specs; empty: CDI is off.
    """

    def __init__(self, cdi_dir: str) -> None:
        self._cdi_dirs = [cdi_dir] if cdi_dir else None
        self.host_root = Path("/")

    @property
    def host_root(self) -> Path:
        """Where the host's device nodes are seen."""
        return self._host_root

    @host_root.setter
    def host_root(self, root: Path) -> None:
        self._host_root = root
        self._runtime = DryRuntime(self._cdi_dirs, host_root=str(root))

    async def start(
        self, pod: Pod, container: Container, options: RunContainerOptions, ended: Callable[[int], None]
    ) -> Mapping[str, Any]:
        """Start a container."""
        return await self._runtime.start(pod, container, options, ended)

    async def stop(self, pod: Pod) -> None:
        """End all containers of a pod."""
        await self._runtime.stop(pod)
