"""The other side of the socket: the kubelet's device manager, embedded.

async with DeviceManager(plugin_dir, profile="1.36") as manager:
    ...  # plugins register at kubelet.sock in plugin_dir
    status = await manager.admit(pod)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubelet_plugin.kubelet.clock import Clock, ManualClock
    from kubelet_plugin.kubelet.manager import DeviceManager, NodeResource
    from kubelet_plugin.kubelet.pods import Container, Pod
    from kubelet_plugin.kubelet.profile import VERSIONS, Profile
    from kubelet_plugin.kubelet.runtimes import DryRuntime, Runc
    from kubelet_plugin.kubelet.standalone import Standalone
    from kubelet_plugin.kubelet.status import ContainerStatus, Phase, PodStatus, State
    from kubelet_plugin.kubelet.topology import Policy

_MODULES = {
    "Clock": "clock",
    "Container": "pods",
    "ContainerStatus": "status",
    "DeviceManager": "manager",
    "DryRuntime": "runtimes",
    "ManualClock": "clock",
    "NodeResource": "manager",
    "Phase": "status",
    "Pod": "pods",
    "PodStatus": "status",
    "Policy": "topology",
    "Profile": "profile",
    "Runc": "runtimes",
    "Standalone": "standalone",
    "State": "status",
    "VERSIONS": "profile",
}

__all__ = [
    "VERSIONS",
    "Clock",
    "Container",
    "ContainerStatus",
    "DeviceManager",
    "DryRuntime",
    "ManualClock",
    "NodeResource",
    "Phase",
    "Pod",
    "PodStatus",
    "Policy",
    "Profile",
    "Runc",
    "Standalone",
    "State",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: who asks for the clock must not pay for the HTTP port."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
