"""Loading: from the paths that were given to the resources that all files name, or to all that is wrong with them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from kubelet_plugin.api import resource_names
from kubelet_plugin.config import checking
from kubelet_plugin.config.completing import IncompleteError, completed
from kubelet_plugin.config.documents import Document, Fault, Keys, parse
from kubelet_plugin.config.files import content, files
from kubelet_plugin.config.reading import examine
from kubelet_plugin.config.schema import Resource
from kubelet_plugin.config.wording import quoted
from kubelet_plugin.errors import ConfigurationFileError, Problem

Form = Literal["kubelet-plugin", "generic-device-plugin"]
"""Whose vocabulary a file is written in."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What files say.

    Attributes:
        resources: The resources, each complete.
        notes: What was left out of files in another vocabulary, and why.
    """

    resources: tuple[Resource, ...]
    notes: tuple[Problem, ...] = ()


def load(paths: Iterable[str], *, domain: str, form: Form | None = None) -> tuple[Resource, ...]:
    """Load the resources that files name, their presets filled in, their names complete and all of it checked.

    Args:
        paths: Files, and directories, which stand for the `.yaml`, `.yml` and `.json` files in them, sorted by name,
            without those whose name starts with a dot.
        domain: The domain of resource names that have none, where a file does not say it.
        form: Whose vocabulary the files are written in; None: found out for each.

    Raises:
        ConfigurationFileError: With every problem of every file.
    """
    return load_all(paths, domain=domain, form=form).resources


def load_all(paths: Iterable[str], *, domain: str, form: Form | None = None) -> Loaded:
    """Load as `load` does, and tell as well what was left out.

    Raises:
        ConfigurationFileError: With every problem of every file.
    """
    gathered = _Gathered()
    for path in paths:
        try:
            for file in files(path):
                if gathered.is_new(file):
                    _load_file(file, domain, form, gathered)
        except ConfigurationFileError as error:
            gathered.problems += error.problems
    _check_together(gathered)
    if gathered.problems:
        raise ConfigurationFileError(_in_order(gathered.problems))
    return Loaded(tuple(entry.resource for entry in gathered.entries), tuple(gathered.notes))


@dataclass(frozen=True, slots=True)
class _Entry:
    """A resource, and where it is written."""

    resource: Resource
    document: Document
    keys: Keys

    def problem(self, fault: Fault) -> Problem:
        return self.document.problem(fault.below(*self.keys))

    @property
    def place(self) -> str:
        line, _ = self.document.place(self.keys) or (None, None)
        return self.document.name + (f":{line}" if line else "")


@dataclass(slots=True)
class _Gathered:
    """What was found in files so far."""

    entries: list[_Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def is_new(self, file: str) -> bool:
        """Tell whether a file is given for the first time, however its path is written; it is a problem if not."""
        real = os.path.realpath(file)
        if first := self.files.get(real):
            self.problems.append(Problem(file, f"this file is given twice, first as {quoted(first)}; name it once"))
            return False
        self.files[real] = file
        return True


def _load_file(path: str, domain: str, form: Form | None, gathered: _Gathered) -> None:
    try:
        text = content(path)
        document = parse(text, path)
        if form != "kubelet-plugin" and (form or _looks_foreign(document)):
            _load_foreign(text, path, domain, gathered)
        else:
            _load_own(document, domain, gathered)
    except ConfigurationFileError as error:
        gathered.problems += error.problems


def _load_own(document: Document, domain: str, gathered: _Gathered) -> None:
    reading = examine(document)
    gathered.problems += reading.problems
    domain = reading.domain or domain
    if reading.domain is not None and resource_names.fault(f"{reading.domain}/name"):
        message = f"{quoted(reading.domain)} is no DNS domain; write one in lower case, as `vendor.example`"
        gathered.problems.append(document.problem(Fault(("domain",), message)))
        return
    for index, resource in reading.resources.items():
        _gather(_Entry(resource, document, ("resources", index)), domain, gathered)


def _looks_foreign(document: Document) -> bool:
    if isinstance(document.data, dict) and "version" in document.data:
        return False
    from kubelet_plugin.config import generic_device_plugin  # noqa: PLC0415 -- not always used

    return generic_device_plugin.looks_like(document.data)


def _load_foreign(text: str, path: str, domain: str, gathered: _Gathered) -> None:
    from kubelet_plugin.config import generic_device_plugin  # noqa: PLC0415 -- not always used

    converted = generic_device_plugin.read(text, path, domain)
    gathered.notes += converted.left_out
    for keys, resource in zip(converted.keys, converted.configuration.resources, strict=True):
        _gather(_Entry(resource, converted.document, keys), converted.configuration.domain or domain, gathered)


def _gather(entry: _Entry, domain: str, gathered: _Gathered) -> None:
    """Complete a resource and check it."""
    try:
        entry = replace(entry, resource=completed(entry.resource, domain))
    except IncompleteError as error:
        gathered.problems.append(entry.problem(error.fault))
        return
    gathered.problems += map(entry.problem, checking.faults(entry.resource))
    gathered.entries.append(entry)


def _check_together(gathered: _Gathered) -> None:
    """Find resources that cannot be served side by side."""
    taken: dict[tuple[str, str], _Entry] = {}
    for entry in gathered.entries:
        for what, text, fields in _unique(entry.resource):
            other = taken.setdefault((what, text), entry)
            if other is not entry:
                message = f"the {what} {quoted(text)} is that of the resource at {other.place}, too; write another"
                gathered.problems.append(entry.problem(Fault(fields, message)))
                break


def _unique(resource: Resource) -> Iterator[tuple[str, str, Keys]]:
    name = resource.name or ""
    yield "name", name, ("name",)
    yield "socket", name.replace("/", ".") + ".sock", ("name",)
    if kind := checking.cdi_kind(resource):
        yield "CDI kind", kind, ("cdi_kind",)


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Problems by file, in the order that these were given, then by line."""
    files = {problem.file: index for index, problem in reversed([*enumerate(problems)])}
    return sorted(problems, key=lambda each: (files[each.file], each.line or 0, each.column or 0))
