"""What must be right in a spec before it is written: a runtime that reads it may refuse it, or crash."""

from collections.abc import Iterable, Iterator

from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode, Hook, Mount
from kubelet_plugin.cdi.errors import Error
from kubelet_plugin.cdi.names import kind_fault, validate_device_name
from kubelet_plugin.cdi.spec import Device, Spec
from kubelet_plugin.cdi.version import VERSIONS, minimum_version

HOOK_NAMES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NODE_TYPES = ("", "c", "b", "u", "p")
_MODE_LIMIT = 0o7777
_ID_LIMIT = 2**32 - 1
_NUMBER_LIMIT = 2**63 - 1


def check(spec: Spec) -> None:
    """Check that `spec` may be written.

    Raises:
        Error: The first fault: where it is, what is wrong and the rule.
    """
    fault = next(faults(spec), None)
    if fault:
        raise Error(f"CDI spec {spec.kind!r}: {fault}")


def validate_edits(edits: ContainerEdits) -> None:
    """Check what a container would get.

    Raises:
        Error: The first fault: of which part, what is wrong and the rule.
    """
    fault = next(_edits_faults(edits), None)
    if fault:
        raise Error(fault)


def faults(spec: Spec) -> Iterator[str]:
    """Everything for which `spec` must not be written, in its order, each with its place."""
    fault = kind_fault(spec.kind)
    if fault:
        yield fault
    yield from _version_faults(spec)
    if not spec.devices:
        yield "there are no devices: a spec needs one or more"
    seen: set[str] = set()
    for device in spec.devices:
        if device.name in seen:
            yield f"device {device.name!r} is there more than once, so no runtime would resolve it"
        seen.add(device.name)
        yield from _device_faults(device)
    for fault in _edits_faults(spec.container_edits):
        yield f"container edits: {fault}"


def _version_faults(spec: Spec) -> Iterator[str]:
    if not spec.version:
        return
    if spec.version not in VERSIONS:
        yield f"version {spec.version!r} is none of {', '.join(VERSIONS)}"
        return
    lowest = minimum_version(spec)
    if VERSIONS.index(spec.version) < VERSIONS.index(lowest):
        yield f"version {spec.version!r} cannot express this spec: {lowest} or later is needed"


def _device_faults(device: Device) -> Iterator[str]:
    try:
        validate_device_name(device.name)
    except Error as error:
        yield str(error)
    if not device.container_edits:
        yield f"device {device.name!r} has empty container edits: it would change nothing in a container"
    for fault in _edits_faults(device.container_edits):
        yield f"device {device.name!r}: {fault}"


def _edits_faults(edits: ContainerEdits) -> Iterator[str]:
    yield from _env_faults(edits.env)
    for node in edits.device_nodes:
        for fault in _node_faults(node):
            yield f"device node {node.path!r}: {fault}"
    for mount in edits.mounts:
        for fault in _mount_faults(mount):
            yield f"mount {mount.container_path!r}: {fault}"
    for hook in edits.hooks:
        for fault in _hook_faults(hook):
            yield f"hook {hook.hook_name!r}: {fault}"
    for gid in edits.additional_gids:
        if not 0 < gid <= _ID_LIMIT:
            yield f"additional gid {gid} is not in 1..{_ID_LIMIT}"


def _env_faults(env: Iterable[str]) -> Iterator[str]:
    for entry in env:
        if entry.find("=") < 1:
            yield f"env {entry!r} has not the form NAME=value"


def _node_faults(node: DeviceNode) -> Iterator[str]:
    if not node.path.startswith("/"):
        yield "its path is not absolute"
    if node.host_path and not node.host_path.startswith("/"):
        yield f"host path {node.host_path!r} is not absolute"
    if node.type not in _NODE_TYPES:
        yield f"type {node.type!r} is none of c, b, u, p"
    if node.permissions.strip("rwm"):
        yield f"permissions {node.permissions!r}: only the letters r, w and m are allowed"
    yield from _range_faults("major", node.major, _NUMBER_LIMIT)
    yield from _range_faults("minor", node.minor, _NUMBER_LIMIT)
    yield from _range_faults("uid", node.uid, _ID_LIMIT)
    yield from _range_faults("gid", node.gid, _ID_LIMIT)
    if node.file_mode is not None and not 0 <= node.file_mode <= _MODE_LIMIT:
        yield f"file mode {node.file_mode:#o} is not in 0..{_MODE_LIMIT:#o}: it holds permission bits only"


def _range_faults(what: str, value: int | None, limit: int) -> Iterator[str]:
    if value is not None and not 0 <= value <= limit:
        yield f"{what} {value} is not in 0..{limit}"


def _mount_faults(mount: Mount) -> Iterator[str]:
    if not mount.container_path.startswith("/"):
        yield "its container path is not absolute"
    if not mount.host_path:
        yield "its host path is empty"


def _hook_faults(hook: Hook) -> Iterator[str]:
    if hook.hook_name not in HOOK_NAMES:
        yield f"the name is none of {', '.join(HOOK_NAMES)}"
    if not hook.path.startswith("/"):
        yield f"path {hook.path!r} is not absolute"
    if hook.timeout is not None and hook.timeout <= 0:
        yield f"timeout {hook.timeout} is not more than 0 seconds"
    yield from _env_faults(hook.env)
