"""A CDI spec as JSON, fields named and ordered as in SPEC.md, empty ones left out."""

import json
from typing import Any

from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode, Hook, IntelRdt, Mount, NetDevice
from kubelet_plugin.cdi.spec import Annotations, Device, Spec
from kubelet_plugin.cdi.version import minimum_version

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def document(spec: Spec) -> dict[str, Any]:
    """The spec as a CDI file says it, ready for a JSON or YAML writer. Nothing is checked.

    Where the spec has no version, the lowest that expresses it is filled in.
    """
    return _frame(spec) | {"devices": [_device(device) for device in spec.devices]}


def dumps(spec: Spec) -> str:
    """`document(spec)` as one line of JSON; equal specs give equal bytes."""
    fields = {key: _encode(value) for key, value in _frame(spec).items()}
    # One device at a time: the whole document of 10,000 devices would cost megabytes that the daemon never gives back.
    fields["devices"] = f"[{','.join(_encode(_device(device)) for device in spec.devices)}]"
    return "{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}\n"


def _frame(spec: Spec) -> dict[str, Any]:
    """The document with an empty list in the place of the devices."""
    frame: dict[str, Any] = {"cdiVersion": spec.version or minimum_version(spec), "kind": spec.kind}
    _put_annotations(frame, spec.annotations)
    frame["devices"] = []
    if spec.container_edits:
        frame["containerEdits"] = edits_document(spec.container_edits)
    return frame


def _device(device: Device) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": device.name}
    _put_annotations(fields, device.annotations)
    fields["containerEdits"] = edits_document(device.container_edits)
    return fields


def _put_annotations(fields: dict[str, Any], annotations: Annotations) -> None:
    if annotations:
        fields["annotations"] = dict(annotations)


def edits_document(edits: ContainerEdits) -> dict[str, Any]:
    """The edits as a CDI file says them. Nothing is checked."""
    fields = {
        "env": edits.env,
        "deviceNodes": [_device_node(node) for node in edits.device_nodes],
        "mounts": [_mount(mount) for mount in edits.mounts],
        "hooks": [_hook(hook) for hook in edits.hooks],
        "additionalGids": edits.additional_gids,
        "netDevices": [_net_device(device) for device in edits.net_devices],
    }
    given: dict[str, Any] = {key: list(value) for key, value in fields.items() if value}
    if edits.intel_rdt is not None:
        given["intelRdt"] = intel_rdt_fields(edits.intel_rdt)
    return given


def _device_node(node: DeviceNode) -> dict[str, Any]:
    fields = {
        "hostPath": node.host_path,
        "type": node.type,
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.file_mode,
        "permissions": node.permissions,
        "uid": node.uid,
        "gid": node.gid,
    }
    return {"path": node.path} | {key: value for key, value in fields.items() if value not in (None, "")}


def _mount(mount: Mount) -> dict[str, Any]:
    fields: dict[str, Any] = {"hostPath": mount.host_path, "containerPath": mount.container_path}
    if mount.options:
        fields["options"] = list(mount.options)
    if mount.type:
        fields["type"] = mount.type
    return fields


def _hook(hook: Hook) -> dict[str, Any]:
    return {"hookName": hook.hook_name} | hook_fields(hook)


def hook_fields(hook: Hook) -> dict[str, Any]:
    """The hook as OCI says it, and CDI but for its name."""
    fields: dict[str, Any] = {"path": hook.path}
    if hook.args:
        fields["args"] = list(hook.args)
    if hook.env:
        fields["env"] = list(hook.env)
    if hook.timeout is not None:
        fields["timeout"] = hook.timeout
    return fields


def _net_device(device: NetDevice) -> dict[str, Any]:
    return {"hostInterfaceName": device.host_interface_name, "name": device.name}


def intel_rdt_fields(rdt: IntelRdt) -> dict[str, Any]:
    """The class of service as CDI, and OCI, say it."""
    fields = {
        "closID": rdt.clos_id,
        "l3CacheSchema": rdt.l3_cache_schema,
        "memBwSchema": rdt.mem_bw_schema,
        "schemata": list(rdt.schemata),
        "enableMonitoring": rdt.enable_monitoring,
        "enableCMT": rdt.enable_cmt,
        "enableMBM": rdt.enable_mbm,
    }
    return {key: value for key, value in fields.items() if value}
