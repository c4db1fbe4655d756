"""What became of a pod, as data."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubelet_plugin.errors import NotFoundError
from kubelet_plugin.kubelet.pods import Pod


class State(enum.StrEnum):
    """What a container does."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


class Phase(enum.StrEnum):
    """Where a pod is in its life."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """What became of a container. Times are in seconds since 1970.

    Attributes:
        name: Its name.
        state: What it does.
        reason: Why it waits or ended, in one word.
        message: The same for people.
        exit_code: How it ended.
        restarts: How often it was started again.
        started_at: When it was started last.
        finished_at: When it ended.
        devices: The ids of the devices it holds, by resource, sorted.
        config: The OCI runtime configuration it was started with last; None before.
    """

    name: str
    state: State = State.WAITING
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    restarts: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    devices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    """What became of a pod.

    Attributes:
        pod: The pod.
        phase: Where it is in its life.
        reason: Why it was not admitted, in one word.
        message: The same for people.
        started_at: When the kubelet took it in, in seconds since 1970.
        init_containers: What became of its init containers, in the manifest's order.
        containers: What became of its containers, in the manifest's order.
    """

    pod: Pod
    phase: Phase
    reason: str = ""
    message: str = ""
    started_at: float | None = None
    init_containers: tuple[ContainerStatus, ...] = ()
    containers: tuple[ContainerStatus, ...] = ()

    def container(self, name: str = "") -> ContainerStatus:
        """Return what became of one container, init containers included; of the first where no name is given.

        Raises:
            NotFoundError: The pod has no container of that name, or none at all since it was refused.
        """
        for status in (*self.containers, *self.init_containers):
            if not name or status.name == name:
                return status
        named = f"container {name!r}" if name else "container"
        there = ", ".join(status.name for status in (*self.containers, *self.init_containers))
        raise NotFoundError(f"there is no {named}{there and f', but {there}'}: {self}")

    def __str__(self) -> str:
        """What became of it, for people."""
        why = [f"{self.reason}: {self.message}"] if self.reason else []
        waiting = [
            f"{each.name} waits: {each.reason}: {each.message}"
            for each in (*self.init_containers, *self.containers)
            if each.reason and each.message
        ]
        return "; ".join([f"{self.pod.namespace}/{self.pod.name} is {self.phase}", *why, *waiting])

    def __repr__(self) -> str:
        return f"<PodStatus: {self}>"  # short enough for a failed assertion to show why
