"""The configuration of generic-device-plugin, read as it is: its file, and what its `--device` takes.

`form` tells whether a text is one, `groups` which devices its groups make here, `reading` makes resources of them.
"""

from kubelet_plugin.config.generic_device_plugin.form import DOMAIN, looks_like
from kubelet_plugin.config.generic_device_plugin.reading import Converted, device, read

__all__ = ["DOMAIN", "Converted", "device", "looks_like", "read"]
