"""How a container is told of its devices: CDI names, device specs, or both."""

import enum
import zlib
from collections.abc import Mapping, Sequence

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.cdi import ContainerEdits
from kubelet_plugin.errors import DeviceListError, PluginError
from kubelet_plugin.runtime.device import Device


class Inject(enum.StrEnum):
    """What an Allocate answer holds.

    With `BOTH`, a runtime that has CDI switched on lets the CDI edit win, and one that ignores CDI still delivers the
    device specs. `CDI_ANNOTATION` is for kubelets below 1.28, which drop the field for CDI names.
    """

    BOTH = "both"
    CDI = "cdi"
    DEVICE_SPEC = "device-spec"
    CDI_ANNOTATION = "cdi-annotation"

    @property
    def by_cdi(self) -> bool:
        """Whether CDI names are handed out, and so a spec file is written."""
        return self is not Inject.DEVICE_SPEC

    @property
    def by_cdi_alone(self) -> bool:
        """Whether a container gets nothing where its CDI names are not honoured."""
        return self in (Inject.CDI, Inject.CDI_ANNOTATION)


def annotation_key(resource_name: str) -> str:
    """Return the CDI annotation key of a resource.

    It is one per resource, since a kubelet keeps only the first of two equal keys, and its name part is short enough
    for any resource name (63 characters at most).
    """
    return f"cdi.k8s.io/kubelet-plugin_{zlib.crc32(resource_name.encode()):08x}"  # hashlib takes 4 MiB


def needs_cdi(device: Device, inject: Inject) -> bool:
    """Tell whether a container would miss something of this device where its CDI name is not handed out."""
    return inject.by_cdi_alone or bool(_beyond_v1beta1(device.edits))


def check_deliverable(inject: Inject, devices: Sequence[Device]) -> None:
    """Refuse devices with what CDI alone can carry, such as hooks, where it is not used.

    Raises:
        DeviceListError: There is such a device.
    """
    if inject.by_cdi:
        return
    for device in devices:
        if beyond := _beyond_v1beta1(device.edits):
            raise DeviceListError(
                f"device {device.id} has {beyond}, which a device spec cannot carry: use --inject both or cdi"
            )


def answer(
    resource_name: str, inject: Inject, devices: Sequence[Device], cdi_names: Sequence[str], extra: ContainerEdits
) -> v1beta1.ContainerAllocateResponse:
    """Write the answer for one container.

    Args:
        resource_name: The resource.
        inject: What the answer is to hold.
        devices: The container's devices.
        cdi_names: Their qualified names, as far as their spec is on disk.
        extra: What the plugin's `allocate` adds.

    Raises:
        PluginError: `extra` is not valid, or holds what no field of the answer can carry.
    """
    try:
        cdi.validate_edits(extra)
    except cdi.Error as error:
        raise PluginError(f"allocate() returned edits that cannot be: {error}") from error
    if beyond := _beyond_v1beta1(extra):
        raise PluginError(f"allocate() returned {beyond}, which only a device's own edits can bring, through CDI")
    edits = extra if inject.by_cdi_alone else cdi.merge(*(device.edits for device in devices), extra)
    links = dict(link for device in devices for link in device.links)
    response = v1beta1.ContainerAllocateResponse(
        envs=dict(entry.split("=", 1) for entry in edits.env),
        devices=[_device_spec(node, links) for node in edits.device_nodes],
        mounts=[_mount(mount) for mount in edits.mounts],
    )
    if cdi_names and inject is Inject.CDI_ANNOTATION:
        response.annotations[annotation_key(resource_name)] = ",".join(cdi_names)
    elif cdi_names:
        response.cdi_devices = [v1beta1.CDIDevice(name=name) for name in cdi_names]
    for device in devices:
        for key, value in device.annotations:
            response.annotations.setdefault(key, value)  # the first stays, as among the answers to one container
    return response


def _device_spec(node: cdi.DeviceNode, links: Mapping[str, str]) -> v1beta1.DeviceSpec:
    real = node.host_path or node.path
    return v1beta1.DeviceSpec(
        container_path=node.path, host_path=links.get(real, real), permissions=node.permissions or "rwm"
    )


def _mount(mount: cdi.Mount) -> v1beta1.Mount:
    return v1beta1.Mount(
        container_path=mount.container_path, host_path=mount.host_path, read_only="ro" in mount.options
    )


def _beyond_v1beta1(edits: ContainerEdits) -> str:
    parts = {
        "hooks": edits.hooks,
        "a node's owner": any(node.uid is not None or node.gid is not None for node in edits.device_nodes),
        "additional gids": edits.additional_gids,
        "Intel RDT settings": edits.intel_rdt,
        "network devices": edits.net_devices,
    }
    return " and ".join(name for name, part in parts.items() if part)
