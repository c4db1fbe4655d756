"""One device plugin against the kubelet of its node: the contract, and everything that keeps it.

    /dev changes -> plugin.devices() yields -> Supply (retained, CDI spec) -> Inventory -> every open stream
    Allocate(ids) -> Inventory -> plugin.allocate(devices) -> Inject -> answer

`serving` puts the pieces together; `reconcile` keeps the socket in place and the kubelet's stream open; `fleet` serves
a set of plugins that may change.
"""

from kubelet_plugin.runtime import logs
from kubelet_plugin.runtime.device import Device, Health
from kubelet_plugin.runtime.fleet import Fleet, run, run_fleet
from kubelet_plugin.runtime.inject import Inject
from kubelet_plugin.runtime.inventory import check_size
from kubelet_plugin.runtime.plugin import DevicePlugin
from kubelet_plugin.runtime.serving import serve
from kubelet_plugin.runtime.settings import CDI_DIR, PLUGIN_DIR, Settings

__all__ = [
    "CDI_DIR",
    "PLUGIN_DIR",
    "Device",
    "DevicePlugin",
    "Fleet",
    "Health",
    "Inject",
    "Settings",
    "check_size",
    "logs",
    "run",
    "run_fleet",
    "serve",
]
