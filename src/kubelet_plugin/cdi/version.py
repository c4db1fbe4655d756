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
    return next((version for version, needed in _NEEDS if needed(spec)), VERSIONS[0])


def _has_net_devices_or_new_rdt(spec: Spec) -> bool:
    return any(
        edits.net_devices or (edits.intel_rdt and (edits.intel_rdt.schemata or edits.intel_rdt.enable_monitoring))
        for edits in all_edits(spec)
    )


def _has_gids_or_rdt(spec: Spec) -> bool:
    return any(edits.additional_gids or edits.intel_rdt for edits in all_edits(spec))


def _has_annotations_or_dotted_class(spec: Spec) -> bool:
    vendor, class_ = split_kind(spec.kind)
    dotted = bool(vendor) and "." in class_
    return dotted or bool(spec.annotations) or any(device.annotations for device in spec.devices)


def _has_host_path_or_leading_digit(spec: Spec) -> bool:
    # The names come first: they are the cheaper half, and device ids often are numbers.
    return any("0" <= device.name[:1] <= "9" for device in spec.devices) or any(
        node.host_path for edits in all_edits(spec) for node in edits.device_nodes
    )


def _has_mount_type(spec: Spec) -> bool:
    return any(mount.type for edits in all_edits(spec) for mount in edits.mounts)


_NEEDS = (
    ("1.1.0", _has_net_devices_or_new_rdt),
    ("0.7.0", _has_gids_or_rdt),
    ("0.6.0", _has_annotations_or_dotted_class),
    ("0.5.0", _has_host_path_or_leading_digit),
    ("0.4.0", _has_mount_type),
)


def all_edits(spec: Spec) -> Iterator[ContainerEdits]:
    """The edits of the whole spec, then those of each device."""
    yield spec.container_edits
    for device in spec.devices:
        yield device.container_edits
