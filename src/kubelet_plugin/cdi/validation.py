"""What must be right in a spec.

Two measures: `refusals` is what every runtime's reader, or SPEC.md by a MUST, refuses; `faults` is that and what some
runtime refuses, crashes on or mistakes, for which a spec must not be written.
"""

from collections.abc import Iterable, Iterator

from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode, Hook, IntelRdt, Mount, NetDevice
from kubelet_plugin.cdi.errors import Error
from kubelet_plugin.cdi.names import kind_fault, validate_device_name
from kubelet_plugin.cdi.spec import Device, Spec
from kubelet_plugin.cdi.version import DROPPED_IN, VERSIONS, all_edits, minimum_version

HOOK_NAMES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NODE_TYPES = ("", "c", "b", "u", "p")
_MODE_LIMIT = 0o7777
_ID_LIMIT = 2**32 - 1
_NUMBER_LIMIT = 2**63 - 1
_CLOS_ID_LIMIT = 4095


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
    fault = next(_edits_faults(edits, reading=False), None)
    if fault:
        raise Error(fault)


def faults(spec: Spec) -> Iterator[str]:
    """Everything for which `spec` must not be written, in its order, each with its place."""
    yield from _spec_faults(spec, reading=False)


def refusals(spec: Spec) -> Iterator[str]:
    """Everything for which `spec`, read from a file, is not valid, in its order, each with its place."""
    yield from _spec_faults(spec, reading=True)


def edits_refusals(edits: ContainerEdits) -> Iterator[str]:
    """Everything for which `edits` cannot be applied, in its order, each with its place."""
    yield from _edits_faults(edits, reading=True)


def _spec_faults(spec: Spec, *, reading: bool) -> Iterator[str]:
    fault = kind_fault(spec.kind, reading=reading)
    if fault:
        yield fault
    yield from _version_faults(spec, reading=reading)
    if not spec.devices:
        yield "there are no devices: a spec needs one or more"
    seen: set[str] = set()
    for device in spec.devices:
        if device.name in seen:
            yield f"device {device.name!r} is there more than once, so no runtime would resolve it"
        seen.add(device.name)
        yield from _device_faults(device, reading=reading)
    for fault in _edits_faults(spec.container_edits, reading=reading):
        yield f"container edits: {fault}"


def _version_faults(spec: Spec, *, reading: bool) -> Iterator[str]:
    # The runtimes' readers take `v1.0.0` too.
    version = spec.version.removeprefix("v") if reading else spec.version
    if version and version not in VERSIONS:
        yield f"version {spec.version!r} is none of {', '.join(VERSIONS)}"
        return
    if version:
        lowest = minimum_version(spec)
        if VERSIONS.index(version) < VERSIONS.index(lowest):
            yield f"version {spec.version!r} cannot express this spec: {lowest} or later is needed"
    elif reading:
        yield "there is no cdiVersion"
    if any(edits.intel_rdt and _has_dropped_fields(edits.intel_rdt) for edits in all_edits(spec)):
        written = version or minimum_version(spec)
        if VERSIONS.index(written) >= VERSIONS.index(DROPPED_IN):
            yield f"version {written} has no enableCMT and no enableMBM: say enableMonitoring instead"


def _has_dropped_fields(rdt: IntelRdt) -> bool:
    return rdt.enable_cmt or rdt.enable_mbm


def _device_faults(device: Device, *, reading: bool) -> Iterator[str]:
    try:
        validate_device_name(device.name)
    except Error as error:
        yield str(error)
    if not device.container_edits:
        yield f"device {device.name!r} has empty container edits: it would change nothing in a container"
    for fault in _edits_faults(device.container_edits, reading=reading):
        yield f"device {device.name!r}: {fault}"


def _edits_faults(edits: ContainerEdits, *, reading: bool) -> Iterator[str]:
    yield from _env_faults(edits.env)
    for node in edits.device_nodes:
        for fault in _readable_node_faults(node) if reading else _node_faults(node):
            yield f"device node {node.path!r}: {fault}"
    for mount in edits.mounts:
        for fault in _mount_faults(mount, reading=reading):
            yield f"mount {mount.container_path!r}: {fault}"
    for hook in edits.hooks:
        for fault in _hook_faults(hook):
            yield f"hook {hook.hook_name!r}: {fault}"
    for gid in edits.additional_gids:
        # A 0 is legal in a file, and ignored.
        if not (0 < gid <= _ID_LIMIT or (reading and gid == 0)):
            yield f"additional gid {gid} is not in 1..{_ID_LIMIT}"
    yield from _net_device_faults(edits.net_devices)
    if edits.intel_rdt and _is_bad_clos_id(edits.intel_rdt):
        yield f"closID {edits.intel_rdt.clos_id!r} names no directory of resctrl: '/' alone, or a file name, is needed"


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
    yield from _permission_faults(node.permissions)
    yield from _range_faults("major", node.major, _NUMBER_LIMIT)
    yield from _range_faults("minor", node.minor, _NUMBER_LIMIT)
    yield from _range_faults("uid", node.uid, _ID_LIMIT)
    yield from _range_faults("gid", node.gid, _ID_LIMIT)
    if node.file_mode is not None and not 0 <= node.file_mode <= _MODE_LIMIT:
        yield f"file mode {node.file_mode:#o} is not in 0..{_MODE_LIMIT:#o}: it holds permission bits only"


def _readable_node_faults(node: DeviceNode) -> Iterator[str]:
    if not node.path:
        yield "its path is empty"
    if node.type not in _NODE_TYPES:
        yield f"type {node.type!r} is none of c, b, u, p"
    # The permission of nothing, which no release of the runtimes' library reads yet.
    if node.permissions != "none":
        yield from _permission_faults(node.permissions)


def _permission_faults(permissions: str) -> Iterator[str]:
    if permissions.strip("rwm"):
        yield f"permissions {permissions!r}: only the letters r, w and m are allowed"


def _range_faults(what: str, value: int | None, limit: int) -> Iterator[str]:
    if value is not None and not 0 <= value <= limit:
        yield f"{what} {value} is not in 0..{limit}"


def _mount_faults(mount: Mount, *, reading: bool) -> Iterator[str]:
    if not mount.container_path:
        yield "its container path is empty"
    elif not (reading or mount.container_path.startswith("/")):
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


def _net_device_faults(devices: Iterable[NetDevice]) -> Iterator[str]:
    hosts: set[str] = set()
    names: set[str] = set()
    for device in devices:
        if not device.host_interface_name or not device.name:
            yield f"net device {device.host_interface_name!r} with name {device.name!r}: both names are needed"
        if device.host_interface_name in hosts:
            yield f"net device {device.host_interface_name!r} is there more than once"
        if device.name in names:
            yield f"more than one net device is to have the name {device.name!r}"
        hosts.add(device.host_interface_name)
        names.add(device.name)


def _is_bad_clos_id(rdt: IntelRdt) -> bool:
    if rdt.clos_id == "/":
        return False
    return (
        rdt.clos_id in (".", "..")
        or "/" in rdt.clos_id
        or "\n" in rdt.clos_id
        or len(rdt.clos_id.encode(errors="surrogatepass")) > _CLOS_ID_LIMIT
    )
