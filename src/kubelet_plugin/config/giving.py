"""Checks of what a container gets, and of when: the fields that a resource and its entries have in common."""

import os
import re
from collections.abc import Iterator

from kubelet_plugin.cdi.annotations import key_fault
from kubelet_plugin.config.documents import Fault
from kubelet_plugin.config.matchers import is_root, path_faults
from kubelet_plugin.config.schema import DeviceOptions, EnabledWhen, Probe
from kubelet_plugin.config.wording import quoted
from kubelet_plugin.errors import ConfigurationError

_FIELD = re.compile(r"\{\{|\}\}|\{[A-Za-z_][A-Za-z0-9_]*\}")
_VARIABLE = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")  # what Kubernetes takes
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
_CDI_PREFIX = "cdi.k8s.io/"


def option_faults(options: DeviceOptions) -> Iterator[Fault]:
    """Yield what is wrong with what a resource or an entry says, whatever the other says."""
    if options.container_path is not None:
        yield from (fault.below("container_path") for fault in container_path_faults(options.container_path))
    yield from (fault.below("env") for fault in _env_faults(options.env))
    yield from (fault.below("annotations") for fault in _annotation_faults(options.annotations))
    yield from _mount_faults(options)
    if isinstance(options.additional_gids, tuple):
        for index, gid in enumerate(options.additional_gids):
            if gid == 0:
                yield Fault(
                    ("additional_gids", index), "group 0 is that of root, and is given to nobody; write another group"
                )
    if isinstance(options.probe, Probe):
        yield from (fault.below("probe") for fault in _probe_faults(options.probe))
    if options.enabled_when:
        yield from (fault.below("enabled_when") for fault in _condition_faults(options.enabled_when))


def container_path_faults(path: str) -> Iterator[Fault]:
    """Yield why a node cannot be at a path in a container."""
    if is_root(path):
        yield Fault(
            (), f"{quoted(path)} is the container's root; write a name, as `/dev/modem`, or a directory, as `/dev/`"
        )
    yield from (Fault((), text) for text in _plain_path_faults(path))


def _env_faults(env: dict[str, str]) -> Iterator[Fault]:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(_FIELD.sub("X", name)):
            yield Fault((name,), f"{quoted(name)} is no variable's name; write letters, digits and `_`")
        yield from (fault.below(name) for fault in _template_faults(value))


def _annotation_faults(annotations: dict[str, str]) -> Iterator[Fault]:
    for key, value in annotations.items():
        if key.startswith(_CDI_PREFIX):
            yield Fault((key,), f"annotations under `{_CDI_PREFIX}` ask for CDI devices; see `inject`, and remove this")
        elif fault := key_fault(key):
            yield Fault((key,), f"{quoted(key)} is no annotation's key; it {fault}")
        yield from (fault.below(key) for fault in _template_faults(value))


def _template_faults(text: str) -> Iterator[Fault]:
    rest = _FIELD.sub("", text)
    if "{" in rest or "}" in rest:
        remedy = "write `{NAME}` for what is filled in, and `{{` and `}}` for the characters themselves"
        yield Fault((), f"{quoted(text)} holds a brace that belongs to no name; {remedy}")


def _mount_faults(options: DeviceOptions) -> Iterator[Fault]:
    taken: set[str] = set()
    for index, mount in enumerate(options.mounts):
        for field, path in (("host_path", mount.host_path), ("container_path", mount.container_path)):
            for text in _plain_path_faults(path) if path is not None else ():
                yield Fault(("mounts", index, field), text)
        path = os.path.normpath(mount.container_path or mount.host_path)
        if path in taken:
            yield Fault(("mounts", index), f"another mount is at {quoted(path)}; mount it elsewhere")
        taken.add(path)


def _plain_path_faults(path: str) -> Iterator[str]:
    if ".." in path.split("/") or not path.isprintable():
        yield f"{quoted(path)} is no plain path; write it without `..` and without what cannot be seen"


def _probe_faults(probe: Probe) -> Iterator[Fault]:
    if (probe.command is None) == (probe.entry_point is None):
        what = "neither `command` nor `entry_point` is" if probe.command is None else "`command` and `entry_point` are"
        yield Fault((), f"{what} given; write one of them")
    if probe.command is not None and not probe.command[0]:
        yield Fault(("command", 0), "the program is an empty text; write its path")
    if probe.entry_point is not None:
        from kubelet_plugin.discovery import probes  # noqa: PLC0415 -- of use only here

        try:
            probes.entry_point(probe.entry_point)
        except ConfigurationError as error:
            yield Fault(("entry_point",), str(error))
    if probe.deadline is not None and not probe.deadline:
        yield Fault(("deadline",), "no probe ends in no time; write a duration such as `1s`")


def _condition_faults(condition: EnabledWhen) -> Iterator[Fault]:
    if condition.module is None and condition.path is None:
        yield Fault((), "nothing is in it, so it would always hold; write `module` or `path`, or remove it")
    for keys, module in _each("module", condition.module):
        if not _MODULE.fullmatch(module):
            yield Fault(keys, f"{quoted(module)} is no kernel module; write its name, as `kvm_intel`")
    for keys, path in _each("path", condition.path):
        if not path.startswith("/"):
            yield Fault(keys, f"{quoted(path)} is no absolute path; begin it with a slash")
        yield from (Fault(keys, text) for text in path_faults(path))


def _each(field: str, value: str | tuple[str, ...] | None) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield (field,), value
    for index, text in enumerate(value if isinstance(value, tuple) else ()):
        yield (field, index), text
