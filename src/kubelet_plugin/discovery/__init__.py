"""What this node has, and when that changes: paths and globs watched by inotify, device nodes probed.

async for nodes in watch("/dev/kvm", probe=probes.kvm):
    ...
"""

from kubelet_plugin.discovery import probes
from kubelet_plugin.discovery.changes import Changes
from kubelet_plugin.discovery.nodes import Node, watch
from kubelet_plugin.discovery.probes import Finding, Probe

__all__ = ["Changes", "Finding", "Node", "Probe", "probes", "watch"]
