"""The node of a kubelet that tests run against: its directories, and what is given to plugins."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelet_plugin.runtime import CDI_DIR, Settings
from kubelet_plugin.testing.program import Mounts

KUBELET_DIR = "/var/lib/kubelet"
_PLUGIN_DIR = "device-plugins"
_LONGEST = len(f"{KUBELET_DIR}/{_PLUGIN_DIR}/")  # what a real kubelet leaves of a socket's 107 bytes is left here too


def temporary_directory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory with a path so short that every socket fits into it that fits on a real node."""
    base = tempfile.gettempdir()
    is_too_deep = len(os.fsencode(f"{base}/kp-12345678/{_PLUGIN_DIR}/")) > _LONGEST
    return tempfile.TemporaryDirectory(prefix="kp-", dir="/tmp" if is_too_deep else base)  # noqa: S108 -- it is private


class Node:
    """A node, in a directory of its own.

    Args:
        root: The directory; it is laid out as a kubelet's.

    Attributes:
        plugin_dir: The device-plugin directory.
        socket: The socket in it at which plugins register.
        cdi_dir: The directory of CDI specs.
        pod_resources: The socket of the pod-resources API.
        plugins_registry: The directory in which plugins may announce themselves, where that is on.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.plugin_dir = root / _PLUGIN_DIR
        self.socket = self.plugin_dir / "kubelet.sock"
        self.cdi_dir = root / "cdi"
        self.pod_resources = root / "pod-resources" / "kubelet.sock"
        self.plugins_registry = root / "plugins_registry"

    def _make(self) -> None:
        for directory in (self.plugin_dir, self.cdi_dir, self.plugins_registry, self._root / "stage"):
            directory.mkdir()

    def _settings(self, changes: Mapping[str, Any]) -> Settings:
        """What `serve` is given to find this kubelet."""
        settings: dict[str, Any] = {
            "plugin_dir": str(self.plugin_dir),
            "cdi_dir": str(self.cdi_dir),
            "pod_resources": str(self.pod_resources),
            **changes,
        }
        return Settings(**settings)

    def _mounts(self) -> Mounts:
        """What makes this node's directories those that every program knows."""
        places = ((str(self._root), KUBELET_DIR), (str(self.cdi_dir), CDI_DIR))
        return Mounts(str(self._root / "stage"), places)

    def _environment(self, changes: Mapping[str, str], *, mounted: bool) -> dict[str, str]:
        """What a program is given to find this kubelet."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KUBELET_PLUGIN_")}
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",  # so that what a program in Python has written can be read
            "KUBELET_PLUGIN_PLUGIN_DIR": f"{KUBELET_DIR}/{_PLUGIN_DIR}" if mounted else str(self.plugin_dir),
            "KUBELET_PLUGIN_CDI_DIR": CDI_DIR if mounted else str(self.cdi_dir),
            **changes,
        }
