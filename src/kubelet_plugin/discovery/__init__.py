"""What this node has, and when that changes: paths and globs watched by inotify, device nodes probed.

async for nodes in watch("/dev/kvm", probe=probes.kvm):
    ...
"""

from kubelet_plugin.discovery import probes
from kubelet_plugin.discovery.changes import Changes
from kubelet_plugin.discovery.nodes import watch
from kubelet_plugin.discovery.probes import Finding, Probe
from kubelet_plugin.discovery.roots import Roots
from kubelet_plugin.discovery.survey import Node

__all__ = ["Changes", "Finding", "Node", "Probe", "Roots", "probes", "watch"]
