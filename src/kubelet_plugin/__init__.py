"""Offer a node's devices to pods through the kubelet and CDI.

A device plugin is one class with one method; `run` does the rest:

    from kubelet_plugin import Device, DevicePlugin, run
    from kubelet_plugin.discovery import watch

    class Sensors(DevicePlugin):
        resource_name = "example.com/sensor"

        async def devices(self):
            async for nodes in watch("/dev/sensor*"):
                yield [Device.from_node(node.name, node) for node in nodes]

    raise SystemExit(run(Sensors()))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubelet_plugin.cdi import ContainerEdits, DeviceNode, Hook, Mount
    from kubelet_plugin.errors import Error
    from kubelet_plugin.runtime import Device, DevicePlugin, Health, Inject, Settings, run, serve

__all__ = [
    "ContainerEdits",
    "Device",
    "DeviceNode",
    "DevicePlugin",
    "Error",
    "Health",
    "Hook",
    "Inject",
    "Mount",
    "Settings",
    "run",
    "serve",
]

_ROOMS = {"ContainerEdits": "cdi", "DeviceNode": "cdi", "Hook": "cdi", "Mount": "cdi", "Error": "errors"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import kubelet_plugin.cdi` must not load the runtime."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = importlib.import_module(f"{__name__}.{_ROOMS.get(name, 'runtime')}")
    return getattr(room, name)
