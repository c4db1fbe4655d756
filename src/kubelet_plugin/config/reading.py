"""Reading one file: from its document to what has the right form, and everything in it that has the wrong one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from kubelet_plugin.config.documents import Document, Fault, Keys, manifest_fault
from kubelet_plugin.config.matchers import kinds_fault
from kubelet_plugin.config.scalars import decode
from kubelet_plugin.config.schema import VERSION, Configuration, Device, Member, Resource
from kubelet_plugin.errors import Problem

_Kind = TypeVar("_Kind", Configuration, Resource)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a file.

    Attributes:
        domain: The domain of resource names that have none, where the file says so.
        resources: Those that have the right form, by their index in the file.
        problems: What has the wrong form.
    """

    domain: str | None
    resources: Mapping[int, Resource]
    problems: tuple[Problem, ...]


def examine(document: Document) -> Reading:
    """Read as much of a document as has the right form."""
    data = document.data
    if not isinstance(data, dict):
        what = "nothing is in this file" if data is None else "this is no mapping"
        fault = Fault((), f"{what}; begin with `version: {VERSION}`, and list `resources`")
        return Reading(None, {}, (document.problem(fault),))
    if manifest := manifest_fault(data):
        return Reading(None, {}, (document.problem(manifest),))
    problems: list[Problem] = []
    listed = data.get("resources", [])
    rest = {**data, "resources": [] if isinstance(listed, list) else listed}
    configuration = _convert(document, rest, Configuration, (), problems)
    resources = {}
    for index, raw in enumerate(listed if isinstance(listed, list) else []):
        resource = _convert(document, raw, Resource, ("resources", index), problems)
        if resource is not None:
            resources[index] = resource
    return Reading(configuration.domain if configuration else None, resources, tuple(problems))


def _convert(document: Document, raw: Any, kind: type[_Kind], keys: Keys, problems: list[Problem]) -> _Kind | None:
    """Make one of a kind; where that fails, None, and what is wrong goes to `problems`."""
    try:
        return msgspec.convert(raw, kind, strict=False, dec_hook=decode)
    except msgspec.ValidationError:
        from kubelet_plugin.config.misfits import misfits  # noqa: PLC0415 -- of use only where something is wrong

        faults = [*_kinds_faults(raw), *misfits(raw, kind)]
        problems += [document.problem(fault.below(*keys)) for fault in faults]
    return None


def _kinds_faults(resource: Any) -> Iterator[Fault]:
    """Yield where entries say in several ways what they match: not to be found out only when the rest is mended."""
    for index, device in _mappings(resource, "devices"):
        if fault := kinds_fault(Device, device):
            yield fault.below("devices", index)
        for number, member in _mappings(device, "group"):
            if fault := kinds_fault(Member, member):
                yield fault.below("devices", index, "group", number)


def _mappings(holder: Any, field: str) -> Iterator[tuple[int, dict[str, Any]]]:
    entries = holder.get(field) if isinstance(holder, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict):
            yield index, entry
