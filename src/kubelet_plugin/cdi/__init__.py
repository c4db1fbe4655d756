"""The Container Device Interface (CDI): how a node tells its container runtimes what a device is made of.

A vendor's file in `/etc/cdi` or `/var/run/cdi` names devices and what a container that is given one of them gets.
`Spec` is such a file as data, `write` puts it in place, and a qualified name, `vendor/class=name`, asks for a device.

This library does not log; it raises `Error`.
"""

from kubelet_plugin.cdi.document import document, dumps
from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode, Hook, Mount, merge
from kubelet_plugin.cdi.errors import Error
from kubelet_plugin.cdi.files import spec_path, write
from kubelet_plugin.cdi.names import (
    kind_of,
    parse_qualified_name,
    qualified_name,
    validate_class,
    validate_device_name,
    validate_kind,
    validate_vendor,
)
from kubelet_plugin.cdi.spec import Device, Spec
from kubelet_plugin.cdi.validation import validate_edits
from kubelet_plugin.cdi.version import minimum_version

__all__ = [
    "ContainerEdits",
    "Device",
    "DeviceNode",
    "Error",
    "Hook",
    "Mount",
    "Spec",
    "document",
    "dumps",
    "kind_of",
    "merge",
    "minimum_version",
    "parse_qualified_name",
    "qualified_name",
    "spec_path",
    "validate_class",
    "validate_device_name",
    "validate_edits",
    "validate_kind",
    "validate_vendor",
    "write",
]
