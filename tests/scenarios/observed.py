"""What was seen of a kubelet: by its plugins, and by whoever operates it. Two kubelets agree where this is equal."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.scenarios.calls import Allocate, Call, Ids, Prefer, PreStart


@dataclass(frozen=True)
class Resource:
    """What the node's status says of a resource."""

    capacity: int
    allocatable: int


@dataclass(frozen=True)
class ContainerSeen:
    """A container in a pod's status."""

    name: str
    state: str
    reason: str = ""
    message: str = ""
    restarts: int = 0
    health: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """How the devices are that it holds, by resource; which ones it holds is left to chance."""


@dataclass(frozen=True)
class Condition:
    """A condition of a pod."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class PodSeen:
    """A pod's status."""

    phase: str
    reason: str = ""
    message: str = ""
    init_containers: tuple[ContainerSeen, ...] = ()
    containers: tuple[ContainerSeen, ...] = ()
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Delivered:
    """What a container was started with, as far as plugins have to do with it: names and paths to values."""

    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mounts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    devices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()

    def naming(self, word: str) -> "Delivered":
        """The part that carries this word in its name or path."""

        def part(of: Mapping[str, str]) -> dict[str, str]:
            return {name: value for name, value in of.items() if word in name.lower()}

        return Delivered(
            env=part(self.env),
            mounts=part(self.mounts),
            devices=part(self.devices),
            annotations={normalised(name, {}): value for name, value in part(self.annotations).items()},
            cdi_devices=tuple(name for name in self.cdi_devices if word in name),
        )


@dataclass(frozen=True, order=True)
class Held:
    """An entry of the pod-resources API: a resource, ids of it, and the NUMA nodes they are said to be on."""

    resource: str
    ids: Ids
    numa: tuple[int, ...]


@dataclass(frozen=True)
class PluginSeen:
    """What a plugin saw: answers to its registrations, notices of the plugin watcher, and calls."""

    answers: tuple[str, ...]
    notices: tuple[Call, ...]
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Observed:
    """All that was seen in one scenario, each by its name there."""

    plugins: Mapping[str, PluginSeen]
    pods: Mapping[str, PodSeen]
    delivered: Mapping[str, Delivered]
    held: Mapping[str, tuple[Held, ...]]
    metrics: Mapping[str, str]
    resources: Sequence[tuple[str, Resource | None]]


# What must differ between two kubelets that do the same is made equal here, and nowhere else.

_DIFFERS = (
    # A Go struct, printed: addresses, and a moment since the program's start.
    (re.compile(r"endpoint .*? has been stopped"), "endpoint <dump> has been stopped"),
    # A pod's UID is made of its manifest and its path.
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}(?![0-9a-f])"), "<uid>"),
    # How a gRPC library words the loss of a connection is that library's, of that version.
    (
        re.compile(
            r"code = (?:Unavailable|Canceled) desc = "
            r"(?:transport is closing|error reading from server: .*?|Cancelling all calls|Socket closed|connection lost.*?)"
            r"(?=, which is unexpected|$)"
        ),
        "code = <lost> desc = <connection>",
    ),
)


def normalised(text: str, places: Mapping[str, str]) -> str:
    """A text of the kubelet's without what must differ.

    Args:
        text: The text.
        places: Directories of this kubelet, and what to call them.
    """
    for directory, name in places.items():
        text = text.replace(directory, name)
    for pattern, name in _DIFFERS:
        text = pattern.sub(name, text)
    return text


def canonical(calls: Sequence[Call]) -> tuple[Call, ...]:
    """The calls with their device ids renamed.

    A kubelet picks at random among devices that are alike; two of them differ only in what they took part in. So each id
    is named by its rank in that respect.
    """
    parts: dict[str, list[tuple[int, str]]] = {}
    for number, call in enumerate(calls):
        for role, ids in _groups(call):
            for id_ in ids:
                parts.setdefault(id_, []).append((number, role))
    ranked = sorted(parts, key=lambda id_: (parts[id_], id_))
    names = {id_: f"#{rank:03}" for rank, id_ in enumerate(ranked)}
    return tuple(_renamed(call, names) for call in calls)


def _groups(call: Call) -> Collection[tuple[str, Ids]]:
    match call:
        case Allocate(requests):
            return [(f"request {number}", ids) for number, ids in enumerate(requests)]
        case Prefer(available, must_include):
            return [("available", available), ("must include", must_include)]
        case PreStart(ids):
            return [("starts", ids)]
        case _:
            return []


def _renamed(call: Call, names: Mapping[str, str]) -> Call:
    def renamed(ids: Ids) -> Ids:
        return tuple(sorted(names[id_] for id_ in ids))

    match call:
        case Allocate(requests):
            return Allocate(tuple(renamed(ids) for ids in requests))
        case Prefer():
            return dataclasses.replace(call, available=renamed(call.available), must_include=renamed(call.must_include))
        case PreStart(ids):
            return PreStart(renamed(ids))
        case _:
            return call


def pod_seen(status: Mapping[str, Any], places: Mapping[str, str]) -> PodSeen:
    """A pod's status, of a document such as `/pods` gives."""

    def containers(kind: str) -> tuple[ContainerSeen, ...]:
        return tuple(_container_seen(each, places) for each in status.get(kind) or ())

    return PodSeen(
        phase=status.get("phase", ""),
        reason=status.get("reason", ""),
        message=normalised(status.get("message", ""), places),
        init_containers=containers("initContainerStatuses"),
        containers=containers("containerStatuses"),
        conditions=tuple(
            Condition(each["type"], each["status"], each.get("reason", ""), each.get("message", ""))
            for each in status.get("conditions") or ()
        ),
    )


def _container_seen(status: Mapping[str, Any], places: Mapping[str, str]) -> ContainerSeen:
    ((state, of),) = status["state"].items()
    return ContainerSeen(
        name=status["name"],
        state=state,
        reason=of.get("reason", ""),
        message=normalised(of.get("message", ""), places),
        restarts=status.get("restartCount", 0),
        health={
            each["name"]: tuple(sorted(device["health"] for device in each["resources"]))
            for each in status.get("allocatedResourcesStatus") or ()
        },
    )
