"""The Container Device Interface (CDI): how a node tells its container runtimes what a device is made of.

A vendor's file in `/etc/cdi` or `/var/run/cdi` names devices and what a container that is given one of them gets.
`Spec` is such a file as data, `write` puts it in place and `parse` reads it. A qualified name, `vendor/class=name`,
asks for a device; a `Registry` of the directories knows what it is, and injects it into an OCI configuration.

This library does not log; it raises `Error`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kubelet_plugin.cdi.document import document, dumps, edits_document
from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode, Hook, IntelRdt, Mount, NetDevice, merge
from kubelet_plugin.cdi.errors import Error, ParseError, UnresolvableError
from kubelet_plugin.cdi.files import remove, spec_path, write, write_file
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
from kubelet_plugin.cdi.validation import validate_edits, validate_spec
from kubelet_plugin.cdi.version import minimum_version

if TYPE_CHECKING:
    from kubelet_plugin.cdi.annotations import annotate, annotated_devices, annotation_key, annotation_value
    from kubelet_plugin.cdi.findings import RULES, Finding, Rule, Severity, examine
    from kubelet_plugin.cdi.injection import apply_edits
    from kubelet_plugin.cdi.parsing import decode, parse
    from kubelet_plugin.cdi.reading import read
    from kubelet_plugin.cdi.registry import DEFAULT_DIRS, ConflictError, Registry, SpecFile
    from kubelet_plugin.cdi.runtimes import RUNTIMES, Runtime
    from kubelet_plugin.cdi.yaml_output import dumps_yaml

# What a process that only writes specs does not need in its memory.
_LAZY = {
    "DEFAULT_DIRS": "registry",
    "RULES": "findings",
    "RUNTIMES": "runtimes",
    "ConflictError": "registry",
    "Finding": "findings",
    "Registry": "registry",
    "Rule": "findings",
    "Runtime": "runtimes",
    "Severity": "findings",
    "SpecFile": "registry",
    "annotate": "annotations",
    "annotated_devices": "annotations",
    "annotation_key": "annotations",
    "annotation_value": "annotations",
    "apply_edits": "injection",
    "decode": "parsing",
    "dumps_yaml": "yaml_output",
    "examine": "findings",
    "parse": "parsing",
    "read": "reading",
}

__all__ = [
    "DEFAULT_DIRS",
    "RULES",
    "RUNTIMES",
    "ConflictError",
    "ContainerEdits",
    "Device",
    "DeviceNode",
    "Error",
    "Finding",
    "Hook",
    "IntelRdt",
    "Mount",
    "NetDevice",
    "ParseError",
    "Registry",
    "Rule",
    "Runtime",
    "Severity",
    "Spec",
    "SpecFile",
    "UnresolvableError",
    "annotate",
    "annotated_devices",
    "annotation_key",
    "annotation_value",
    "apply_edits",
    "decode",
    "document",
    "dumps",
    "dumps_yaml",
    "edits_document",
    "examine",
    "kind_of",
    "merge",
    "minimum_version",
    "parse",
    "parse_qualified_name",
    "qualified_name",
    "read",
    "remove",
    "spec_path",
    "validate_class",
    "validate_device_name",
    "validate_edits",
    "validate_kind",
    "validate_spec",
    "validate_vendor",
    "write",
    "write_file",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
