"""What must be right in a spec.

Two measures: `refusals` is what every runtime's reader, or SPEC.md by a MUST, refuses; `faults` is that and what some
runtime refuses, crashes on or mistakes, for which a spec must not be written.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in a spec.

    Attributes:
        text: What it is, and the rule.
        keys: The keys and indices in the document that lead to it.
        rule: Which rule it breaks.
    """

    text: str
    keys: tuple[str | int, ...] = ()
    rule: str = "invalid"

    def __str__(self) -> str:
        return self.text

    def inside(self, what: str, *keys: str | int) -> "Fault":
        """The same, seen from what holds it."""
        return Fault(f"{what}: {self.text}", (*keys, *self.keys), self.rule)


def validate_spec(spec: Spec) -> None:
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


def faults(spec: Spec) -> Iterator[Fault]:
    """Everything for which `spec` must not be written, in its order, each with its place."""
    yield from _spec_faults(spec, reading=False)


def refusals(spec: Spec) -> Iterator[Fault]:
    """Everything for which `spec`, read from a file, is not valid, in its order, each with its place."""
    yield from _spec_faults(spec, reading=True)


def edits_refusals(edits: ContainerEdits) -> Iterator[Fault]:
    """Everything for which `edits` cannot be applied, in its order, each with its place."""
    yield from _edits_faults(edits, reading=True)


def _spec_faults(spec: Spec, *, reading: bool) -> Iterator[Fault]:
    fault = kind_fault(spec.kind, reading=reading)
    if fault:
        is_short = not reading and not kind_fault(spec.kind, reading=True)
        yield Fault(fault, ("kind",), "short-kind" if is_short else "invalid")
    yield from _version_faults(spec, reading=reading)
    if not spec.devices:
        yield Fault("there are no devices: a spec needs one or more", ("devices",))
    seen: set[str] = set()
    for index, device in enumerate(spec.devices):
        if device.name in seen:
            yield Fault(
                f"device {device.name!r} is there more than once, so no runtime would resolve it",
                ("devices", index, "name"),
                "duplicate-device",
            )
        seen.add(device.name)
        yield from _device_faults(device, index, reading=reading)
    for each in _edits_faults(spec.container_edits, reading=reading):
        yield each.inside("container edits", "containerEdits")


def _version_faults(spec: Spec, *, reading: bool) -> Iterator[Fault]:
    keys = ("cdiVersion",)
    # The runtimes' readers take `v1.0.0` too.
    version = spec.version.removeprefix("v") if reading else spec.version
    if version and version not in VERSIONS:
        is_prefixed = version.removeprefix("v") in VERSIONS
        text = f"version {spec.version!r} is none of {', '.join(VERSIONS)}"
        yield Fault(text, keys, "prefixed-version" if is_prefixed else "version")
        return
    if version:
        lowest = minimum_version(spec)
        if VERSIONS.index(version) < VERSIONS.index(lowest):
            text = f"version {spec.version!r} cannot express this spec: {lowest} or later is needed"
            yield Fault(text, keys, "version")
    elif reading:
        yield Fault("there is no cdiVersion", keys, "version")
    if any(edits.intel_rdt and _has_dropped_fields(edits.intel_rdt) for edits in all_edits(spec)):
        written = version or minimum_version(spec)
        if VERSIONS.index(written) >= VERSIONS.index(DROPPED_IN):
            text = f"version {written} has no enableCMT and no enableMBM: say enableMonitoring instead"
            yield Fault(text, keys, "version")


def _has_dropped_fields(rdt: IntelRdt) -> bool:
    return rdt.enable_cmt or rdt.enable_mbm


def _device_faults(device: Device, index: int, *, reading: bool) -> Iterator[Fault]:
    keys = ("devices", index)
    try:
        validate_device_name(device.name)
    except Error as error:
        yield Fault(str(error), (*keys, "name"))
    if not device.container_edits:
        text = f"device {device.name!r} has empty container edits: it would change nothing in a container"
        yield Fault(text, keys)
    for fault in _edits_faults(device.container_edits, reading=reading):
        yield fault.inside(f"device {device.name!r}", *keys, "containerEdits")


def _edits_faults(edits: ContainerEdits, *, reading: bool) -> Iterator[Fault]:
    yield from _env_faults(edits.env)
    for index, node in enumerate(edits.device_nodes):
        for fault in _readable_node_faults(node) if reading else _node_faults(node):
            yield fault.inside(f"device node {node.path!r}", "deviceNodes", index)
    for index, mount in enumerate(edits.mounts):
        for fault in _mount_faults(mount, reading=reading):
            yield fault.inside(f"mount {mount.container_path!r}", "mounts", index)
    for index, hook in enumerate(edits.hooks):
        for fault in _hook_faults(hook):
            yield fault.inside(f"hook {hook.hook_name!r}", "hooks", index)
    for index, gid in enumerate(edits.additional_gids):
        # A 0 is legal in a file, and ignored.
        if not (0 < gid <= _ID_LIMIT or (reading and gid == 0)):
            text = f"additional gid {gid} is not in 1..{_ID_LIMIT}"
            yield Fault(text, ("additionalGids", index), "invalid" if gid else "gid-of-no-effect")
    yield from _net_device_faults(edits.net_devices)
    if edits.intel_rdt and _is_bad_clos_id(edits.intel_rdt):
        text = f"closID {edits.intel_rdt.clos_id!r} names no directory of resctrl: '/' alone, or a file name, is needed"
        yield Fault(text, ("intelRdt", "closID"))


def _env_faults(env: Iterable[str]) -> Iterator[Fault]:
    for index, entry in enumerate(env):
        if entry.find("=") < 1:
            yield Fault(f"env {entry!r} has not the form NAME=value", ("env", index))


def _node_faults(node: DeviceNode) -> Iterator[Fault]:
    if not node.path.startswith("/"):
        yield Fault("its path is not absolute", ("path",))
    if node.host_path and not node.host_path.startswith("/"):
        yield Fault(f"host path {node.host_path!r} is not absolute", ("hostPath",))
    if node.type not in _NODE_TYPES:
        yield Fault(f"type {node.type!r} is none of c, b, u, p", ("type",))
    yield from _permission_faults(node.permissions)
    yield from _range_faults("major", node.major, _NUMBER_LIMIT)
    yield from _range_faults("minor", node.minor, _NUMBER_LIMIT)
    yield from _range_faults("uid", node.uid, _ID_LIMIT)
    yield from _range_faults("gid", node.gid, _ID_LIMIT)
    if node.file_mode is not None and not 0 <= node.file_mode <= _MODE_LIMIT:
        text = f"file mode {node.file_mode:#o} is not in 0..{_MODE_LIMIT:#o}: it holds permission bits only"
        yield Fault(text, ("fileMode",))


def _readable_node_faults(node: DeviceNode) -> Iterator[Fault]:
    if not node.path:
        yield Fault("its path is empty", ("path",))
    if node.type not in _NODE_TYPES:
        yield Fault(f"type {node.type!r} is none of c, b, u, p", ("type",))
    # The permission of nothing, which no release of the runtimes' library reads yet.
    if node.permissions != "none":
        yield from _permission_faults(node.permissions)


def _permission_faults(permissions: str) -> Iterator[Fault]:
    if permissions.strip("rwm"):
        yield Fault(f"permissions {permissions!r}: only the letters r, w and m are allowed", ("permissions",))


def _range_faults(what: str, value: int | None, limit: int) -> Iterator[Fault]:
    if value is not None and not 0 <= value <= limit:
        yield Fault(f"{what} {value} is not in 0..{limit}", (what,))


def _mount_faults(mount: Mount, *, reading: bool) -> Iterator[Fault]:
    if not mount.container_path:
        yield Fault("its container path is empty", ("containerPath",))
    elif not (reading or mount.container_path.startswith("/")):
        yield Fault("its container path is not absolute", ("containerPath",))
    if not mount.host_path:
        yield Fault("its host path is empty", ("hostPath",))


def _hook_faults(hook: Hook) -> Iterator[Fault]:
    if hook.hook_name not in HOOK_NAMES:
        yield Fault(f"the name is none of {', '.join(HOOK_NAMES)}", ("hookName",))
    if not hook.path.startswith("/"):
        yield Fault(f"path {hook.path!r} is not absolute", ("path",))
    if hook.timeout is not None and hook.timeout <= 0:
        yield Fault(f"timeout {hook.timeout} is not more than 0 seconds", ("timeout",))
    yield from _env_faults(hook.env)


def _net_device_faults(devices: Iterable[NetDevice]) -> Iterator[Fault]:
    hosts: set[str] = set()
    names: set[str] = set()
    for index, device in enumerate(devices):
        keys = ("netDevices", index)
        if not device.host_interface_name or not device.name:
            text = f"net device {device.host_interface_name!r} with name {device.name!r}: both names are needed"
            yield Fault(text, keys)
        if device.host_interface_name in hosts:
            yield Fault(f"net device {device.host_interface_name!r} is there more than once", keys)
        if device.name in names:
            yield Fault(f"more than one net device is to have the name {device.name!r}", keys)
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
