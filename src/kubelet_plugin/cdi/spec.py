"""A CDI spec, what one file says, as data (CDI SPEC.md, "CDI JSON Specification")."""

from dataclasses import KW_ONLY, dataclass

from kubelet_plugin.cdi.edits import ContainerEdits

Annotations = tuple[tuple[str, str], ...]

_NO_EDITS = ContainerEdits()


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a spec.

    Attributes:
        name: Its name within the kind. One that starts with a digit needs CDI 0.5.
        container_edits: What a container that is given the device gets; not empty.
        annotations: Pairs of key and value. They need CDI 0.6.
    """

    name: str
    container_edits: ContainerEdits
    _: KW_ONLY
    annotations: Annotations = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """The devices of a kind.

    Attributes:
        kind: `vendor/class`. A dot in the class needs CDI 0.6.
        devices: The devices, at least one, each name once.
        container_edits: What a container that is given any of them gets besides.
        annotations: Pairs of key and value. They need CDI 0.6.
        version: CDI version of the file, such as `0.6.0`; empty: the lowest that expresses the spec.
    """

    kind: str
    devices: tuple[Device, ...] = ()
    _: KW_ONLY
    container_edits: ContainerEdits = _NO_EDITS
    annotations: Annotations = ()
    version: str = ""
