"""From nodes that were found to the device that is offered: what a container gets, and whether it works."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubelet_plugin import cdi
from kubelet_plugin.cdi import ContainerEdits, DeviceNode
from kubelet_plugin.config import schema
from kubelet_plugin.discovery import Finding, Node, Roots, sysfs
from kubelet_plugin.discovery.sysfs import SysfsDevice
from kubelet_plugin.plugins.configured.finding import Candidate, Part
from kubelet_plugin.runtime import Device, Health

_MODE_WHILE_ABSENT = 0o660
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_NO_VARIABLE = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class Observed:
    """A device as it was looked at.

    Attributes:
        candidate: What it was made of.
        device: What is offered, before it is shared.
        nodes: Its nodes on the host.
        source: What was matched in sysfs; None where nothing is known of it.
    """

    candidate: Candidate
    device: Device
    nodes: tuple[Node, ...]
    source: SysfsDevice | None = None


def compose(candidate: Candidate, nodes: Mapping[str, Node], roots: Roots) -> Observed:
    """Make the device of a candidate.

    Args:
        candidate: The candidate.
        nodes: Its nodes, by path.
        roots: Where the host's files are seen.
    """
    entry = candidate.entry
    parts = [(part, nodes[part.path]) for part in candidate.parts if _is_meant(part, nodes[part.path])]
    found = [node for _, node in parts]
    source = candidate.device or _source(found, roots)
    finding = _finding(candidate, parts)
    values = _Values(_known(candidate, parts, source, roots) if entry.env or entry.annotations else {})
    device = Device(
        candidate.id,
        _edits(entry, parts, values),
        Health.HEALTHY if finding.healthy else Health.UNHEALTHY,
        finding.reason,
        _numa_nodes(entry, source),
        grace=None if entry.grace is None else float(entry.grace),
        annotations=tuple((key, values.fill(value)) for key, value in entry.annotations.items()),
        links=tuple((node.target, node.path) for node in found if node.target and not node.outside),
    )
    return Observed(candidate, device, tuple(found), source)


def is_no_node(part: Part, node: Node) -> bool:
    """Tell whether a glob led to something else than a device node, such as a directory."""
    return part.is_match and node.present and not node.number


def _is_meant(part: Part, node: Node) -> bool:
    return not is_no_node(part, node) and (node.healthy or not part.optional)


def container_path(part: Part, entry: schema.Device) -> str:
    """Say where a node goes in the container: a directory takes it under its own name."""
    wanted = part.container_path or entry.container_path
    if not wanted:
        return part.path
    return wanted + os.path.basename(part.path) if wanted.endswith("/") else wanted


def _finding(candidate: Candidate, parts: Sequence[tuple[Part, Node]]) -> Finding:
    if candidate.missing:
        return Finding(False, candidate.missing)
    places: dict[str, str] = {}
    for part, node in parts:
        if not node.healthy:
            return Finding(False, node.reason)
        place = container_path(part, candidate.entry)
        if (other := places.setdefault(place, node.path)) != node.path:
            remedy = "let container_path end in `/`, or name the nodes that are meant"
            return Finding(False, f"{other} and {node.path} would both be {place} in the container; {remedy}")
    if not parts:
        return Finding(False, "none of its nodes is there")
    return Finding(True, next((node.reason for _, node in parts if node.reason), ""))


def _edits(entry: schema.Device, parts: Sequence[tuple[Part, Node]], values: "_Values") -> ContainerEdits:
    return ContainerEdits(
        env=tuple(f"{values.variable(name)}={values.fill(value)}" for name, value in entry.env.items()),
        device_nodes=tuple(_device_node(part, node, entry) for part, node in parts),
        mounts=tuple(_mount(mount) for mount in entry.mounts),
        additional_gids=_gids(entry, [node for _, node in parts]),
    )


def _device_node(part: Part, node: Node, entry: schema.Device) -> DeviceNode:
    path = container_path(part, entry)
    real = node.target or node.path
    mode = node.mode if node.present else _MODE_WHILE_ABSENT
    return DeviceNode(
        path,
        host_path="" if real == path else real,
        permissions=part.permissions or entry.permissions or "rw",
        file_mode=mode if entry.file_mode is None else int(entry.file_mode),
        uid=entry.uid,
        gid=entry.gid,
    )


def _mount(mount: schema.Mount) -> cdi.Mount:
    options = ("rbind", "ro" if mount.read_only else "rw")
    return cdi.Mount(mount.host_path, mount.container_path or mount.host_path, options=options)


def _gids(entry: schema.Device, nodes: Sequence[Node]) -> tuple[int, ...]:
    if entry.additional_gids == "auto":
        return tuple(sorted({node.gid for node in nodes} - {0}))
    return tuple(entry.additional_gids or ())


def _source(nodes: Sequence[Node], roots: Roots) -> SysfsDevice | None:
    """Look up in sysfs what is behind the first node."""
    if not nodes or not nodes[0].number:
        return None
    number = nodes[0].number
    return sysfs.of_numbers(roots, "block" if nodes[0].block else "char", os.major(number), os.minor(number))


def _numa_nodes(entry: schema.Device, source: SysfsDevice | None) -> tuple[int, ...]:
    match entry.numa:
        case "none":
            return ()
        case int(number):
            return (number,)
        case _:
            known = source.numa_node() if source else None
            return () if known is None else (known,)


def _known(
    candidate: Candidate, parts: Sequence[tuple[Part, Node]], source: SysfsDevice | None, roots: Roots
) -> Mapping[str, str]:
    """List what can be filled into texts of the configuration."""
    part, node = parts[0] if parts else (None, None)
    return {
        **({} if source is None else sysfs.properties(source, roots)),
        "id": candidate.id,
        "path": (node.target or node.path) if node else "",
        "container_path": container_path(part, candidate.entry) if part else "",
    }


class _Values:
    """Fills in texts of the configuration."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def fill(self, text: str) -> str:
        """Fill in the fields of a text; what the device has no value for is empty."""
        return _FIELD.sub(self._value, text)

    def variable(self, name: str) -> str:
        """Fill in the fields of a variable's name."""
        return _NO_VARIABLE.sub("_", self.fill(name))

    def _value(self, found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else self._values.get(found[1], "")
