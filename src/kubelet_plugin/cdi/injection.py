"""Applying container edits to an OCI runtime configuration (CDI SPEC.md, "OCI Edits"), as the container runtimes do."""

import os
import posixpath
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from kubelet_plugin.cdi.document import hook_fields, intel_rdt_fields
from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode, Mount
from kubelet_plugin.cdi.errors import Error
from kubelet_plugin.cdi.validation import edits_refusals

_FIFO = "p"
_ALL_PERMISSIONS = "rwm"

_NAMES: dict[type, str] = {dict: "object", list: "list", str: "string"}
NODE_TYPES = {stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: _FIFO}


def apply_edits(oci: dict[str, Any], *edits: ContainerEdits, host_root: str = "/") -> dict[str, Any]:
    """Make the configuration of a container that is given `edits`.

    Args:
        oci: An OCI runtime configuration, the content of a `config.json`. It stays as it is; what no edit changes, the
            new one shares with it.
        edits: What the container gets, in this order; where they contradict, the later wins.
        host_root: Where the host's `/` is, for device nodes whose type, numbers or mode the edits leave to the host.

    Raises:
        Error: The edits are not valid, the host has no such device node, or one of another type, or `oci` is no OCI
            runtime configuration.
    """
    editor = _Editor(oci)
    for each in edits:
        if fault := next(edits_refusals(each), None):
            raise Error(f"failed to inject devices: {fault}")
        editor.apply(each, host_root)
    return editor.oci


class _Editor:
    """A configuration that shares with the original what is not edited."""

    def __init__(self, oci: dict[str, Any]) -> None:
        self.oci = dict(oci)
        self._own: dict[tuple[str, ...], Any] = {(): self.oci}

    def apply(self, edits: ContainerEdits, host_root: str) -> None:
        if edits.env:
            _set_env(self._list("process", "env", of=str), edits.env)
        for node in edits.device_nodes:
            self._add_device(_filled(node, host_root))
        for device in edits.net_devices:
            self._object("linux", "netDevices")[device.host_interface_name] = {"name": device.name}
        if edits.mounts:
            self._add_mounts(edits.mounts)
        for hook in edits.hooks:
            self._list("hooks", hook.hook_name).append(hook_fields(hook))
        if edits.intel_rdt is not None:
            self._object("linux")["intelRdt"] = intel_rdt_fields(edits.intel_rdt)
        for gid in filter(None, edits.additional_gids):
            gids = self._list("process", "user", "additionalGids")
            if gid not in gids:
                gids.append(gid)

    def _object(self, *path: str) -> dict[str, Any]:
        """The object at `path`, to be changed; made where it is missing."""
        found: dict[str, Any] = self._part(path, dict)
        return found

    def _list(self, *path: str, of: type = object) -> list[Any]:
        """The list at `path`, to be changed; made where it is missing."""
        found: list[Any] = self._part(path, list)
        if not all(isinstance(each, of) for each in found):
            raise _misfit(path, f"list of {_NAMES[of]}s")
        return found

    def _part(self, path: tuple[str, ...], kind: type) -> Any:
        if path not in self._own:
            parent = self._object(*path[:-1])
            present = parent.get(path[-1])
            if present is None:
                present = _new(path) or kind()
            elif not isinstance(present, kind):
                raise _misfit(path, _NAMES[kind])
            self._own[path] = parent[path[-1]] = kind(present)
        return self._own[path]

    def _look_at(self, *path: str) -> Any:
        """What is at `path`, not to be changed; None: nothing."""
        part: Any = self.oci
        for key in path:
            part = part.get(key) if isinstance(part, dict) else None
        return part

    def _add_device(self, node: DeviceNode) -> None:
        device = _device(node, self._look_at("process", "user"))
        devices = self._list("linux", "devices", of=dict)
        same = [index for index, other in enumerate(devices) if other.get("path") == node.path]
        if len(same) > 1:
            # The runtimes take away the first of the configuration, and put the new one in the place of the second.
            devices[same[1]] = device
        else:
            devices.append(device)
        if same:
            del devices[same[0]]
        if node.type in ("b", "c"):
            self._list("linux", "resources", "devices").append(_rule(node))

    def _add_mounts(self, added: Iterable[Mount]) -> None:
        mounts = self._list("mounts", of=dict)
        namespaces = self._look_at("linux", "namespaces") or []
        in_user_namespace = any(isinstance(each, dict) and each.get("type") == "user" for each in namespaces)
        for mount in added:
            same = next((place for place, other in enumerate(mounts) if _target(other) == mount.container_path), None)
            if same is not None:
                del mounts[same]
            mounts.append(_mount(mount, in_user_namespace=in_user_namespace))
        mounts.sort(key=lambda mount: _depth(_target(mount)))


def _new(path: tuple[str, ...]) -> dict[str, Any]:
    """The fields that a part of a configuration must have."""
    if path == ("process",):
        return {"user": _new((*path, "user")), "cwd": ""}
    return {"uid": 0, "gid": 0} if path == ("process", "user") else {}


def _misfit(path: Iterable[str], wanted: str) -> Error:
    return Error(f"no OCI runtime configuration: {'.'.join(path)} is no {wanted}")


def _set_env(env: list[str], entries: Iterable[str]) -> None:
    places = {entry.partition("=")[0]: place for place, entry in enumerate(env)}
    for entry in entries:
        name = entry.partition("=")[0]
        if name in places:
            env[places[name]] = entry
        else:
            places[name] = len(env)
            env.append(entry)


def _filled(node: DeviceNode, host_root: str) -> DeviceNode:
    """The node, with what it leaves to the host looked up there.

    Where type and numbers are given, a host without the node is no error: only the mode is then missing.
    """
    is_complete = bool(node.type) and (bool(node.major) or node.type == _FIFO)
    if is_complete and node.file_mode is not None:
        return node
    host_path = node.host_path or node.path
    try:
        status = os.lstat(os.path.join(host_root, host_path.lstrip("/")))
        type_ = NODE_TYPES.get(stat.S_IFMT(status.st_mode))
        reason = "not a device node"
    except (OSError, ValueError) as error:
        type_ = None
        reason = _reason(error)
    if type_ is None and is_complete:
        return node
    if type_ is None:
        raise Error(f'failed to inject devices: failed to stat CDI host device "{host_path}": {reason}')
    file_mode = stat.S_IMODE(status.st_mode) if node.file_mode is None else node.file_mode
    if is_complete:
        return replace(node, file_mode=file_mode)
    if node.type not in ("", type_):
        raise Error(
            f'failed to inject devices: CDI device ("{node.path}", "{host_path}"), '
            f"host type mismatch ({node.type}, {type_})"
        )
    if node.major or type_ == _FIFO:
        return replace(node, type=type_, file_mode=file_mode)
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return replace(node, type=type_, major=major, minor=minor, file_mode=file_mode)


def _reason(error: Exception) -> str:
    """Why a path cannot be looked at, in the words of the reference."""
    text = error.strerror if isinstance(error, OSError) else None
    return text[0].lower() + text[1:] if text else str(error)


def _device(node: DeviceNode, user: Any) -> dict[str, Any]:
    device: dict[str, Any] = {
        "path": node.path,
        "type": node.type,
        "major": node.major or 0,
        "minor": node.minor or 0,
    }
    if node.file_mode is not None:
        device["fileMode"] = node.file_mode
    for key, own in (("uid", node.uid), ("gid", node.gid)):
        of_process = user.get(key) if isinstance(user, dict) else None
        if own is not None:
            device[key] = own
        elif isinstance(of_process, int) and of_process > 0:
            device[key] = of_process
    return device


def _rule(node: DeviceNode) -> dict[str, Any]:
    """What the device cgroup allows."""
    rule = {"allow": True, "type": node.type, "major": node.major or 0, "minor": node.minor or 0}
    access = node.permissions or _ALL_PERMISSIONS
    return rule if access == "none" else rule | {"access": access}


def _target(mount: dict[str, Any]) -> str:
    return str(mount.get("destination", ""))


def _depth(path: str) -> int:
    # Two slashes at the start, which POSIX sets apart, are one here.
    return posixpath.normpath(path).replace("//", "/").count("/")


def _mount(mount: Mount, *, in_user_namespace: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"destination": mount.container_path, "source": mount.host_path}
    if mount.type:
        made["type"] = mount.type
    options = [*mount.options]
    if in_user_namespace:
        options += _id_mapping(options)
    if options:
        made["options"] = options
    return made


def _id_mapping(options: Sequence[str]) -> list[str]:
    """The option that makes a bind mount's owners those whom the container's user namespace knows."""
    if "idmap" in options or "ridmap" in options:
        return []
    binds = [option for option in options if option in ("bind", "rbind")]
    return [{"bind": "idmap", "rbind": "ridmap"}[binds[-1]]] if binds else []
