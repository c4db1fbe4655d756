"""From what a JSON or YAML reader made to a `Spec`: the right fields, of the right types, and nothing else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kubelet_plugin.cdi.edits import ContainerEdits, DeviceNode, Hook, IntelRdt, Mount, NetDevice
from kubelet_plugin.cdi.lines import Keys
from kubelet_plugin.cdi.spec import Annotations, Device, Spec
from kubelet_plugin.cdi.version import DROPPED_IN, VERSIONS
from kubelet_plugin.cdi.yaml_scalars import as_text

_INT64 = (-(2**63), 2**63 - 1)
_UINT32 = (0, 2**32 - 1)

# What the runtimes' YAML reader, which reads JSON too, takes for a key: 1024 characters with its quotes.
_KEY_LIMIT = 1022

Place = tuple["Place", str | int] | None
"""Where a value is: the place of what holds it, and its key or index there; None: the whole document."""

Read = Callable[[Any, Place, "_Reading"], Any]


class MisfitError(Exception):
    """A field is not known, is missing, or has a value of the wrong type."""

    def __init__(self, reason: str, place: Place) -> None:
        super().__init__(reason)
        self.reason, self.place = reason, place


@dataclass(frozen=True, slots=True)
class _Reading:
    """One document that is read: how, and what of it is odd."""

    is_yaml: bool
    has_dropped_fields: bool
    warn: Callable[[str, Place], object]


def decode_document(document: Any, *, is_yaml: bool, warn: Callable[[str, Place], object]) -> Spec:
    """The spec that a document says. Only its form is checked.

    Args:
        document: What a JSON or YAML reader made.
        is_yaml: Whether a number or a boolean will do where text is wanted, as for the runtimes' YAML reader.
        warn: Called with what is odd, and its place.

    Raises:
        MisfitError: A field is not known, is missing, or has a value of the wrong type.
    """
    if document is None:
        raise MisfitError("there is no document in it", None)
    version = document.get("cdiVersion") if isinstance(document, dict) else None
    dropped = isinstance(version, str) and version.removeprefix("v") in VERSIONS[VERSIONS.index(DROPPED_IN) :]
    spec: Spec = _spec(document, None, _Reading(is_yaml, not dropped, warn))
    return spec


def keys_of(place: Place) -> Keys:
    """The keys and indices that lead to `place`."""
    keys: list[str | int] = []
    while place is not None:
        place, key = place
        keys.append(key)
    return tuple(keys[::-1])


def _misfit(value: Any, wanted: str, place: Place) -> MisfitError:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    found = names.get(type(value), f"the number {value}")
    return MisfitError(f"{found} is there, but {wanted} is needed", place)


def _text(value: Any, place: Place, reading: _Reading) -> str:
    if isinstance(value, str):
        return value
    if reading.is_yaml and isinstance(value, bool | int | float):
        text = as_text(value)
        reading.warn(f"{text} is taken as text, which other readers refuse: quote it", place)
        return text
    raise _misfit(value, "text", place)


def _flag(value: Any, place: Place, _reading: _Reading) -> bool:
    if isinstance(value, bool):
        return value
    raise _misfit(value, "true or false", place)


def _integer(limits: tuple[int, int]) -> Read:
    lowest, highest = limits

    def read(value: Any, place: Place, _reading: _Reading) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        raise _misfit(value, f"an integer in {lowest}..{highest}", place)

    return read


def _list(read_item: Read) -> Read:
    def read(value: Any, place: Place, reading: _Reading) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _misfit(value, "a list", place)
        return tuple([read_item(item, (place, index), reading) for index, item in enumerate(value)])

    return read


def _annotations(value: Any, place: Place, reading: _Reading) -> Annotations:
    if not isinstance(value, dict):
        raise _misfit(value, "an object", place)
    if not reading.is_yaml and any(len(key) > _KEY_LIMIT for key in value):
        raise MisfitError(f"a key has more than the {_KEY_LIMIT} characters that container runtimes can read", place)
    return tuple([(key, _text(item, (place, key), reading)) for key, item in value.items()])


def _object(make: Callable[..., Any], fields: Mapping[str, tuple[str, Read]], required: Iterable[str] = ()) -> Read:
    """Read an object by its fields: their names in the file, to those in the data and how they are read.

    A null is as good as no field, as it is for the runtimes.
    """

    def read(value: Any, place: Place, reading: _Reading) -> Any:
        if not isinstance(value, dict):
            raise _misfit(value, "an object", place)
        given = {}
        for key, item in value.items():
            field = fields.get(key)
            if field is None:
                raise MisfitError(_unknown(key, fields), (place, key))
            if item is not None:
                name, read_item = field
                given[name] = read_item(item, (place, key), reading)
        for key in required:
            if fields[key][0] not in given:
                raise MisfitError("this field is missing", (place, key))
        return make(**given)

    return read


def _unknown(key: str, fields: Iterable[str]) -> str:
    meant = next((name for name in fields if name.lower() == key.lower()), None)
    return f"this field is not known{f': {meant} is' if meant else ''}"


_texts = _list(_text)

_device_node = _object(
    DeviceNode,
    {
        "path": ("path", _text),
        "hostPath": ("host_path", _text),
        "type": ("type", _text),
        "major": ("major", _integer(_INT64)),
        "minor": ("minor", _integer(_INT64)),
        "fileMode": ("file_mode", _integer(_UINT32)),
        "permissions": ("permissions", _text),
        "uid": ("uid", _integer(_UINT32)),
        "gid": ("gid", _integer(_UINT32)),
    },
    required=("path",),
)

_mount = _object(
    Mount,
    {
        "hostPath": ("host_path", _text),
        "containerPath": ("container_path", _text),
        "options": ("options", _texts),
        "type": ("type", _text),
    },
    required=("hostPath", "containerPath"),
)

_hook = _object(
    Hook,
    {
        "hookName": ("hook_name", _text),
        "path": ("path", _text),
        "args": ("args", _texts),
        "env": ("env", _texts),
        "timeout": ("timeout", _integer(_INT64)),
    },
    required=("hookName", "path"),
)

_net_device = _object(
    NetDevice,
    {"hostInterfaceName": ("host_interface_name", _text), "name": ("name", _text)},
    required=("hostInterfaceName", "name"),
)

_INTEL_RDT: dict[str, tuple[str, Read]] = {
    "closID": ("clos_id", _text),
    "l3CacheSchema": ("l3_cache_schema", _text),
    "memBwSchema": ("mem_bw_schema", _text),
    "schemata": ("schemata", _texts),
    "enableMonitoring": ("enable_monitoring", _flag),
}
_new_intel_rdt = _object(IntelRdt, _INTEL_RDT)
_old_intel_rdt = _object(
    IntelRdt, {**_INTEL_RDT, "enableCMT": ("enable_cmt", _flag), "enableMBM": ("enable_mbm", _flag)}
)


def _intel_rdt(value: Any, place: Place, reading: _Reading) -> Any:
    read = _old_intel_rdt if reading.has_dropped_fields else _new_intel_rdt
    return read(value, place, reading)


_container_edits = _object(
    ContainerEdits,
    {
        "env": ("env", _texts),
        "deviceNodes": ("device_nodes", _list(_device_node)),
        "mounts": ("mounts", _list(_mount)),
        "hooks": ("hooks", _list(_hook)),
        "additionalGids": ("additional_gids", _list(_integer(_UINT32))),
        "intelRdt": ("intel_rdt", _intel_rdt),
        "netDevices": ("net_devices", _list(_net_device)),
    },
)

_device = _object(
    partial(Device, container_edits=ContainerEdits()),
    {
        "name": ("name", _text),
        "annotations": ("annotations", _annotations),
        "containerEdits": ("container_edits", _container_edits),
    },
    required=("name",),
)

_spec = _object(
    Spec,
    {
        "cdiVersion": ("version", _text),
        "kind": ("kind", _text),
        "annotations": ("annotations", _annotations),
        "devices": ("devices", _list(_device)),
        "containerEdits": ("container_edits", _container_edits),
    },
    required=("cdiVersion", "kind", "devices"),
)
