"""What in plain data has not the form of a `schema` type: all of it, in words of our own."""

import copy
import difflib
import functools
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from kubelet_plugin.config import schema
from kubelet_plugin.config.documents import Fault, Keys
from kubelet_plugin.config.scalars import decode
from kubelet_plugin.config.wording import alternatives, expected, found, listed, quoted

_LIMIT = 20  # each takes a conversion of the whole

_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


def misfits(raw: Any, kind: type) -> Iterator[Fault]:
    """Yield what keeps `raw` from being made a `kind`.

    msgspec ends at the first misfit: the field that holds it is then left out, and the rest is tried again.

    Args:
        raw: Mappings, lists, texts and None.
        kind: One of the types of `schema`.
    """
    rest, root = copy.deepcopy(raw), _type_info(kind)
    for _ in range(_LIMIT):
        try:
            msgspec.convert(rest, kind, strict=False, dec_hook=decode)
        except msgspec.ValidationError as error:
            fault = _explained(str(error), rest, root)
        else:
            return
        yield fault
        if not _left_out(fault.keys, rest, root):
            return


@functools.cache
def _type_info(kind: type) -> inspect.Type:
    return inspect.type_info(kind)


def did_you_mean(name: str, names: list[str]) -> str:
    """Ask whether one of the names was meant that is like this one; an empty string where none is."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean `{near[0]}`?" if near else ""


def _explained(message: str, raw: Any, root: inspect.Type) -> Fault:
    if (unknown := _UNKNOWN.fullmatch(message)) and isinstance(raw, dict) and unknown[1] in raw:
        return Fault((unknown[1],), _unknown(unknown[1], _struct(root, ())))  # whatever its name looks like
    match = _MESSAGE.fullmatch(message)
    assert match
    keys = _keys(match["path"] or "", raw)
    if unknown := _UNKNOWN.fullmatch(match["what"]):
        return Fault((*keys, unknown[1]), _unknown(unknown[1], _struct(root, keys)))
    if missing := _MISSING.fullmatch(match["what"]):
        keys = (*keys, missing[1])
        return Fault(keys, f"this is missing; write {expected(_type(root, keys))}")
    value, kind = _value(raw, keys), _type(root, keys)
    return Fault(keys, f"found {found(value)}; write {expected(kind)}{_hint(value, kind)}")


def _hint(value: Any, kind: inspect.Type) -> str:
    """How to write what was meant, where YAML made a mapping of it; else an empty string."""
    wanted = alternatives(kind)
    if not isinstance(value, dict):
        return ""
    if all(isinstance(each, inspect.VarTupleType) for each in wanted):
        return (
            ": a space goes after `-`" if any(key.startswith("-") for key in value) else ": begin each entry with `- `"
        )
    if [*value.values()] == [None] and any(isinstance(each, inspect.StrType) for each in wanted):
        (name,) = value
        return ": quote it, as " + quoted(f'"{{{name}}}"')
    return ""


def _keys(path: str, raw: Any) -> Keys:
    """The keys of msgspec's path; where that leaves open which value of a mapping is meant, the first no text."""
    keys: list[str | int] = []
    for step in _STEP.finditer(path):
        if step["field"]:
            keys.append(step["field"])
        elif step["index"]:
            keys.append(int(step["index"]))
        else:
            keys += [key for key, value in _value(raw, tuple(keys)).items() if not isinstance(value, str)][:1]
    return tuple(keys)


def _unknown(name: str, struct: inspect.StructType) -> str:
    here = [field.encode_name for field in struct.fields]
    if name.startswith("-") and name[1:] in here:
        return f"unknown field {quoted(name)}; write a space after `-`"
    if remedy := did_you_mean(name, here):
        return f"unknown field {quoted(name)}; {remedy}"
    elsewhere = [f"`{owner}`" for owner, fields in _owners() if name in fields]
    place = f"it is a field of {listed(elsewhere)}; " if elsewhere else ""
    return f"unknown field {quoted(name)}; {place}here there are {listed((f'`{each}`' for each in here), 'and')}"


def _owners() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The fields that hold mappings, and which fields these have."""
    owners = {
        "resources": schema.Resource,
        "devices": schema.Device,
        "group": schema.Member,
        "usb": schema.Usb,
        "pci": schema.Pci,
        "sysfs": schema.Sysfs,
        "parents": schema.SysfsParent,
        "probe": schema.Probe,
        "mounts": schema.Mount,
        "enabled_when": schema.EnabledWhen,
    }
    for name, struct in owners.items():
        yield name, struct.__struct_encode_fields__


def _left_out(keys: Keys, raw: Any, root: inspect.Type) -> bool:
    """Take out the innermost field around `keys` that need not be there; False where there is none."""
    for length in range(len(keys), 0, -1):
        *holder, key = keys[:length]
        value = _value(raw, tuple(holder))
        if isinstance(value, dict) and key in value and not _is_required(root, tuple(holder), key):
            del value[key]
            return True
    return False


def _is_required(root: inspect.Type, holder: Keys, key: str | int) -> bool:
    kind = _type(root, holder)
    structs = [each for each in alternatives(kind) if isinstance(each, inspect.StructType)]
    return any(field.required for struct in structs for field in struct.fields if field.encode_name == key)


def _value(raw: Any, keys: Keys) -> Any:
    for key in keys:
        if isinstance(raw, dict) and isinstance(key, str):
            raw = raw.get(key)
        else:
            raw = raw[key] if isinstance(raw, list) and isinstance(key, int) and key < len(raw) else None
    return raw


def _struct(root: inspect.Type, keys: Keys) -> inspect.StructType:
    return next(each for each in alternatives(_type(root, keys)) if isinstance(each, inspect.StructType))


def _type(root: inspect.Type, keys: Keys) -> inspect.Type:
    """The type of the value at `keys`."""
    kind = root
    for key in keys:
        for each in alternatives(kind):
            if isinstance(each, inspect.StructType) and isinstance(key, str):
                kind = next(field.type for field in each.fields if field.encode_name == key)
            elif isinstance(each, inspect.VarTupleType) and isinstance(key, int):
                kind = each.item_type
            elif isinstance(each, inspect.DictType):
                kind = each.value_type
    return kind
