"""What a container gets for its devices: the answers of several plugins made one."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.kubelet import log

_ANNOTATION_NAME_LIMIT = 63
_PATHS = "containerPath", "hostPath"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContainerOptions:
    """What the kubelet hands to the container runtime on behalf of device plugins.

    Attributes:
        envs: Environment variables, in order.
        mounts: Mounts.
        devices: Device specs.
        annotations: Annotations of the container (not of the pod).
        cdi_devices: Qualified CDI names, unchecked.
    """

    envs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[v1beta1.Mount, ...] = ()
    devices: tuple[v1beta1.DeviceSpec, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()


def merge(responses: Iterable[v1beta1.ContainerAllocateResponse], *, cdi_devices: bool = True) -> RunContainerOptions:
    """Make one of several answers, in the order given: of each key the first wins, and a contradiction is only logged.

    Args:
        responses: The answers.
        cdi_devices: Whether this kubelet knows of CDI names in an answer.
    """
    envs = _First("env", ("envKey", "envValue"), "Environment variable has conflicting setting", ("got", "expected"))
    devices = _First("device", _PATHS, "Container device has conflicting mapping host devices", ("got", "expected"))
    mounts = _First(
        "mount", _PATHS, "Container mount has conflicting mapping host mounts", ("conflictingPath", "hostPath")
    )
    annotations = _First(
        "annotation", ("annotationKey", "annotationValue"), "Annotation has conflicting setting", ("expected", "got")
    )
    names: dict[str, None] = {}
    for response in responses:
        for key, value in response.envs.items():
            envs.put(key, value, value)
        for device in response.devices:
            devices.put(device.container_path, device.host_path, device)
        for mount in response.mounts:
            mounts.put(mount.container_path, mount.host_path, mount)
        for key, value in response.annotations.items():
            annotations.put(key, value, value)
        for named in response.cdi_devices if cdi_devices else ():
            log.info(4, "Skip existing CDI Device" if named.name in names else "Add CDI device", name=named.name)
            names[named.name] = None
    return RunContainerOptions(
        envs=envs.parts,
        mounts=tuple(mounts.parts.values()),
        devices=tuple(devices.parts.values()),
        annotations=annotations.parts,
        cdi_devices=tuple(names),
    )


class _First:
    """Parts by a key of theirs; of equal keys the first part stays.

    Args:
        what: What they are, for the log.
        words: What the log calls their key, and the value that must not differ.
        conflict: What the log says where it does.
        sides: What it calls the value that stays then, and the one that does not.
    """

    def __init__(self, what: str, words: tuple[str, str], conflict: str, sides: tuple[str, str]) -> None:
        self.parts: dict[str, Any] = {}
        self._values: dict[str, str] = {}
        self._what = what
        self._words = words
        self._conflict = conflict
        self._sides = sides

    def put(self, key: str, value: str, part: object) -> None:
        key_word, value_word = self._words
        is_new = key not in self.parts
        log.info(4, f"{'Add' if is_new else 'Skip existing'} {self._what}", **{key_word: key, value_word: value})
        if is_new:
            self.parts[key], self._values[key] = part, value
        elif (first := self._values[key]) != value:
            stays, goes = self._sides
            log.error(None, self._conflict, **{key_word: key, stays: first, goes: value})


def annotated(options: RunContainerOptions, pod_uid: str, container: str) -> RunContainerOptions:
    """Add the CDI names as an annotation too; where they make none, that is only logged."""
    if not options.cdi_devices:
        return options
    key = f"devicemanager_{pod_uid}-{container}"
    try:
        for name in options.cdi_devices:
            cdi.parse_qualified_name(name)
    except cdi.Error as error:
        log.error(error, "Failed to create CDI annotations")
        return options
    if len(key) > _ANNOTATION_NAME_LIMIT:
        log.error(f"invalid CDI annotation key {key!r}: too long", "Failed to create CDI annotations")
        return options
    annotation = {f"cdi.k8s.io/{key}": ",".join(sorted(options.cdi_devices))}
    return dataclasses.replace(options, annotations={**annotation, **options.annotations})
