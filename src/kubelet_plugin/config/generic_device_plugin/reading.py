"""From a text of generic-device-plugin to resources of ours that are without fault."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from kubelet_plugin.api import resource_names
from kubelet_plugin.config import checking
from kubelet_plugin.config.documents import Document, Fault, Keys, manifest_fault, parse
from kubelet_plugin.config.generic_device_plugin import form
from kubelet_plugin.config.generic_device_plugin.groups import Draft, Notes, drafts
from kubelet_plugin.config.schema import Configuration, Device, Resource
from kubelet_plugin.config.wording import quoted
from kubelet_plugin.errors import ConfigurationFileError, Problem

_EXAMPLE = '{"name": "serial", "groups": [{"paths": [{"path": "/dev/ttyUSB*"}]}]}'


@dataclass(frozen=True, slots=True)
class Converted:
    """What was read.

    Attributes:
        configuration: The same in our words, checked; its resources' names are without the domain.
        left_out: What could not be carried over: where it is, why, and what comes nearest.
        document: What was read.
        keys: For each resource, where in the document it is.
    """

    configuration: Configuration
    left_out: tuple[Problem, ...]
    document: Document
    keys: tuple[Keys, ...]


def read(text: str, name: str, domain: str = form.DOMAIN) -> Converted:
    """Read a file.

    Args:
        text: The text, YAML or JSON.
        name: The file, for messages.
        domain: The domain, where the file does not say it.

    Raises:
        ConfigurationFileError: With all that is wrong with it, or would be in our words.
    """
    document = parse(text, name)
    if not isinstance(document.data, dict):
        fault = Fault((), "this is no file of generic-device-plugin; it lists `devices`, each with its `groups`")
        raise ConfigurationFileError([document.problem(fault)])
    if manifest := manifest_fault(document.data):
        raise ConfigurationFileError([document.problem(manifest)])
    file, document, left_out = form.taken(document, form.File)
    specs: list[tuple[Keys, form.Spec]] = [
        *((("devices", index), spec) for index, spec in enumerate(file.devices)),
        *((("device", index), spec) for index, spec in enumerate(file.device)),
    ]
    if not specs:
        fault = Fault((), "there are no `devices` in it; name a file of generic-device-plugin")
        raise ConfigurationFileError([document.problem(fault)])
    return _converted(document, specs, file.domain.strip() or domain, left_out)


def device(text: str, domain: str = form.DOMAIN) -> Converted:
    """Read what follows one `--device`.

    Args:
        text: YAML or JSON: one of the `devices` of a file.
        domain: The domain of its resource.

    Raises:
        ConfigurationFileError: With all that is wrong with it, or would be in our words.
    """
    document = parse(text, "--device")
    if not isinstance(document.data, dict):
        fault = Fault((), f"found {quoted(text)}; write YAML or JSON, as `{_EXAMPLE}`")
        raise ConfigurationFileError([document.problem(fault)])
    spec, document, left_out = form.taken(document, form.Spec)
    return _converted(document, [((), spec)], domain, left_out)


def _converted(
    document: Document, specs: Sequence[tuple[Keys, form.Spec]], domain: str, left_out: Sequence[Problem]
) -> Converted:
    notes, problems = Notes(), list[Fault]()
    resources: dict[Keys, Resource] = {}
    if resource_names.fault(f"{domain}/name"):
        problems.append(Fault(("domain",), f"{quoted(domain)} is no DNS domain; write one in lower case"))
        specs = ()
    for keys, spec in specs:
        made = _Making(spec, keys, domain, notes, problems)
        if resource := made.resource():
            resources[keys] = resource
    if problems:
        raise ConfigurationFileError(map(document.problem, problems))
    offered = {resource.name for resource in resources.values()}
    for keys, spec in specs:
        if (name := spec.name.strip()) not in offered:
            shown = quoted(f"{domain}/{name}")
            notes.add(keys, f"resource {shown} is not offered: pods that ask for it stay Pending")
    told = sorted((*left_out, *map(document.problem, notes)), key=lambda note: (note.line or 0, note.column or 0))
    configuration = Configuration(version="v1", domain=domain, resources=tuple(resources.values()))
    return Converted(configuration, tuple(told), document, tuple(resources))


@dataclass(frozen=True, slots=True)
class _Making:
    """One resource in the making."""

    spec: form.Spec
    keys: Keys
    domain: str
    notes: Notes
    problems: list[Fault]

    def resource(self) -> Resource | None:
        """Make it; None where nothing of it can be carried over, or it is wrong."""
        name, made = self.spec.name.strip(), list[Draft]()
        if fault := resource_names.fault(f"{self.domain}/{name}"):
            self.problems.append(Fault((*self.keys, "name"), f"{fault}; write another"))
            return None
        for index, group in enumerate(self.spec.groups):
            keys = (*self.keys, "groups", index)
            if group.paths and group.usb:
                self.problems.append(Fault((*keys, "usb"), "`paths` are given, too; make two groups of them"))
                continue
            for draft in drafts(group, keys, self.notes):
                self._add(draft, made)
        if not self.spec.groups:
            self.notes.add(self.keys, "left out: it has no groups, so it has no devices")
        return self._checked(_with_ids(made, name)) if made else None

    def _add(self, draft: Draft, made: list[Draft]) -> None:
        """Add a device; of two that are the same there, one stays."""
        for index, other in enumerate(made):
            if _covers(other.device, draft.device) or _covers(draft.device, other.device):
                wide, narrow = (other, draft) if _covers(other.device, draft.device) else (draft, other)
                self.notes.add(narrow.parts[0], "left out: another entry of this resource has this device already")
                counts = (draft.device.count, other.device.count)
                made[index] = replace(wide, device=structs.replace(wide.device, count=max(map(_count, counts))))
                return
        made.append(draft)

    def _checked(self, made: list[Draft]) -> Resource | None:
        """Make the resource; None where it is wrong."""
        resource = _resource(self.spec.name.strip(), [draft.device for draft in made])
        faults = [*checking.faults(structs.replace(resource, name=f"{self.domain}/{resource.name}"))]
        self.problems.extend(Fault(self._source(fault.keys, made), fault.message) for fault in faults)
        return None if faults else resource

    def _source(self, keys: Keys, made: list[Draft]) -> Keys:
        match keys:
            case ("devices", int(index), *rest):
                return made[index].source(tuple(rest))
        return (*self.keys, "name")


def _resource(name: str, devices: Sequence[Device]) -> Resource:
    """Say once what is the same for all devices."""
    counts = {_count(device.count) for device in devices}
    if len(counts) > 1:
        return Resource(name=name, devices=tuple(structs.replace(each, count=_count(each.count)) for each in devices))
    (count,) = counts
    plain = tuple(structs.replace(device, count=None) for device in devices)
    return Resource(name=name, count=count if count > 1 else None, devices=plain)


def _with_ids(made: list[Draft], name: str) -> list[Draft]:
    """Give groups ids where there are several: one alone has the resource's name."""
    groups = [draft for draft in made if draft.device.group]
    if len(groups) > 1:
        ids = {id(draft): f"{name}-{number}" for number, draft in enumerate(groups)}
        made = [
            replace(draft, device=structs.replace(draft.device, id=ids[id(draft)])) if id(draft) in ids else draft
            for draft in made
        ]
    return made


def _covers(one: Device, other: Device) -> bool:
    """Whether every device of the other is one of this, there."""
    if one.usb and other.usb:
        same = (one.usb.vendor, one.usb.product) == (other.usb.vendor, other.usb.product)
        return same and one.usb.serial in {None, other.usb.serial}
    return not (one.usb or other.usb) and _paths(one) == _paths(other)


def _paths(device: Device) -> list[str]:
    return [os.path.normpath(each.path or "") for each in (device.group or (device,))]


def _count(count: int | None) -> int:
    return count or 1
