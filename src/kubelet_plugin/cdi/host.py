"""Whether the device nodes of a spec are on the host, and who could open them."""

import os
import stat
from collections.abc import Callable, Iterator
from functools import cache

from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode
from kubelet_plugin.cdi.injection import NODE_TYPES
from kubelet_plugin.cdi.lines import Keys
from kubelet_plugin.cdi.notes import Note
from kubelet_plugin.cdi.runtimes import RUNTIMES
from kubelet_plugin.cdi.spec import Spec

_BITS = {"r": 0o4, "w": 0o2}
_MISSING = "cannot be looked at"


Look = Callable[[str], tuple[tuple[str, int] | None, str]]
"""From a path of the host to the type and the mode of the device node there; or None, and what there is instead."""


def look_below(host_root: str) -> Look:
    """Look at the host whose `/` is at `host_root`, at each path once."""

    @cache
    def look(path: str) -> tuple[tuple[str, int] | None, str]:
        return _look_at(os.path.join(host_root, path.lstrip("/")))

    return look


def node_notes(spec: Spec, look: Look | None) -> Iterator[Note]:
    """What is wrong with the device nodes of a spec.

    Args:
        spec: The spec.
        look: Looks at the host; None: only what the spec says counts.
    """
    parts: list[tuple[ContainerEdits, Keys]] = [(spec.container_edits, ("containerEdits",))]
    parts += [
        (device.container_edits, ("devices", index, "containerEdits")) for index, device in enumerate(spec.devices)
    ]
    for edits, keys in parts:
        gids = {*spec.container_edits.additional_gids, *edits.additional_gids}
        for index, node in enumerate(edits.device_nodes):
            yield from _notes(node, (*keys, "deviceNodes", index), gids, look)


def _notes(node: DeviceNode, keys: Keys, gids: set[int], look: Look | None) -> Iterator[Note]:
    mode = node.file_mode
    if look is not None:
        path = node.host_path or node.path
        found, fault = look(path)
        is_complete = bool(node.type) and (bool(node.major) or node.type == "p")
        if found is None:
            # A runtime that knows type and numbers need not look.
            if not is_complete:
                rule = "missing-node" if fault.startswith(_MISSING) else "wrong-node"
                yield Note(rule, f"device node {path} {fault}", keys, tuple(RUNTIMES))
        elif node.type not in ("", "u" if found[0] == "c" else "", found[0]):
            yield Note(
                "wrong-node", f"device node {path} is of the type {found[0]}, not {node.type}", keys, tuple(RUNTIMES)
            )
        if mode is None and found:
            mode = found[1]
    if mode is not None and not _opens(node, mode, gids):
        owner = [f"{what} {value}" for what, value in (("uid", node.uid), ("gid", node.gid)) if value is not None]
        text = f"device node {node.path} has {', '.join([f'the mode {mode:04o}', *owner])}"
        yield Note("closed-to-non-root", text, keys)


def _look_at(path: str) -> tuple[tuple[str, int] | None, str]:
    try:
        status = os.lstat(path)
    except (OSError, ValueError) as error:
        return None, f"{_MISSING}: {error.strerror if isinstance(error, OSError) else error}"
    if stat.S_ISLNK(status.st_mode):
        return None, f"is a link to {os.path.realpath(path)}, and runtimes do not follow links"
    type_ = NODE_TYPES.get(stat.S_IFMT(status.st_mode))
    return ((type_, stat.S_IMODE(status.st_mode)), "") if type_ else (None, "is no device node")


def _opens(node: DeviceNode, mode: int, gids: set[int]) -> bool:
    """Whether a user who is not root could open the node in the container, with the access that it permits."""
    needed = sum(bit for letter, bit in _BITS.items() if letter in (node.permissions or "rw"))
    as_owner = node.uid is None and (mode >> 6) & needed == needed
    as_group = (node.gid is None or node.gid in gids) and (mode >> 3) & needed == needed
    return as_owner or as_group or mode & needed == needed
