"""Which CDI version a spec needs (CDI SPEC.md, "Released versions")."""

from collections.abc import Iterator

from kubelet_plugin.cdi.edits import ContainerEdits
from kubelet_plugin.cdi.names import split_kind
from kubelet_plugin.cdi.spec import Spec

VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
"""The versions in use, oldest first. Nobody reads 0.1.0 and 0.2.0, which had other fields."""

DROPPED_IN = "1.1.0"
"""The version that has no enableCMT and enableMBM any more."""


def minimum_version(spec: Spec) -> str:
    """The lowest CDI version that expresses `spec`, for older container runtimes refuse the newer ones."""
    return version_need(spec)[0]


def version_need(spec: Spec) -> tuple[str, str]:
    """The lowest CDI version that expresses `spec`, and what of it needs that; empty where any version would do."""
    return next(((version, what) for version, find in _NEEDS if (what := find(spec))), (VERSIONS[0], ""))


def _net_devices_or_new_rdt(spec: Spec) -> str:
    for edits in all_edits(spec):
        if edits.net_devices:
            return "netDevices"
        if edits.intel_rdt and edits.intel_rdt.schemata:
            return "schemata of intelRdt"
        if edits.intel_rdt and edits.intel_rdt.enable_monitoring:
            return "enableMonitoring of intelRdt"
    return ""


def _gids_or_rdt(spec: Spec) -> str:
    for edits in all_edits(spec):
        if edits.additional_gids:
            return "additionalGids"
        if edits.intel_rdt:
            return "intelRdt"
    return ""


def _annotations_or_dotted_class(spec: Spec) -> str:
    vendor, class_ = split_kind(spec.kind)
    if vendor and "." in class_:
        return "a class with a dot"
    return "annotations" if spec.annotations or any(device.annotations for device in spec.devices) else ""


def _host_path_or_leading_digit(spec: Spec) -> str:
    # The names come first: they are the cheaper half, and device ids often are numbers.
    if any("0" <= device.name[:1] <= "9" for device in spec.devices):
        return "a device name that starts with a digit"
    nodes = (node for edits in all_edits(spec) for node in edits.device_nodes)
    return "the hostPath of a device node" if any(node.host_path for node in nodes) else ""


def _mount_type(spec: Spec) -> str:
    return "the type of a mount" if any(mount.type for edits in all_edits(spec) for mount in edits.mounts) else ""


_NEEDS = (
    ("1.1.0", _net_devices_or_new_rdt),
    ("0.7.0", _gids_or_rdt),
    ("0.6.0", _annotations_or_dotted_class),
    ("0.5.0", _host_path_or_leading_digit),
    ("0.4.0", _mount_type),
)


def all_edits(spec: Spec) -> Iterator[ContainerEdits]:
    """The edits of the whole spec, then those of each device."""
    yield spec.container_edits
    for device in spec.devices:
        yield device.container_edits
