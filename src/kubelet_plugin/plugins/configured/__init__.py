"""A resource of the configuration file as a device plugin.

entries of the file -> finding (which nodes, which ids) -> discovery.Survey (there? working?) -> composing (Device)
"""

from kubelet_plugin.plugins.configured.composing import Observed
from kubelet_plugin.plugins.configured.plugin import ConfiguredPlugin

__all__ = ["ConfiguredPlugin", "Observed"]
