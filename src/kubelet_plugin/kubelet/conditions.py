"""Pod conditions: how far a pod has come, as the kubelet computes it from what became of its containers.

No probe is run, so that a container that runs is ready. See Kubernetes' documentation of the pod's life.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kubelet_plugin.kubelet.pods import Container
from kubelet_plugin.kubelet.status import ContainerStatus, Phase, PodStatus, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition of a pod.

    Attributes:
        type: Which one, such as `Ready`.
        is_true: Whether it holds.
        since: Since when it has been so, in seconds since 1970, as far as the containers tell.
        reason: Why, in one word; empty where nothing is to be said.
        message: The same for people.
    """

    type: str
    is_true: bool
    since: float
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A container of a pod, and what became of it.

    Attributes:
        container: The container.
        status: What became of it.
        is_init: Whether it is an init container, sidecars among them.
    """

    container: Container
    status: ContainerStatus
    is_init: bool

    @property
    def has_to_end(self) -> bool:
        """Whether the next one's turn comes when this one has ended."""
        return self.is_init and not self.container.restarts_always

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.status.state is State.RUNNING

    @property
    def is_ready(self) -> bool:
        """Whether it does its part, or has done it."""
        return self.status.exit_code == 0 if self.has_to_end else self.is_running

    @property
    def ready_since(self) -> float | None:
        """Since when, where it is ready."""
        return self.status.finished_at if self.has_to_end else self.status.started_at


def parts(status: PodStatus) -> tuple[Part, ...]:
    """Return a pod's containers and what became of them, init containers first, in the manifest's order."""
    pod = status.pod
    return (
        *(Part(*each, is_init=True) for each in zip(pod.init_containers, status.init_containers, strict=True)),
        *(Part(*each, is_init=False) for each in zip(pod.containers, status.containers, strict=True)),
    )


def conditions(status: PodStatus, began: float, *, is_todays: bool) -> Iterator[Condition]:
    """Return the conditions of a pod that was admitted, in the kubelet's order.

    Args:
        status: What became of the pod.
        began: When the kubelet took it in, in seconds since 1970.
        is_todays: Whether they are those of today's kubelets, not of 1.20.
    """
    has_ended = status.phase in (Phase.SUCCEEDED, Phase.FAILED)
    if is_todays:
        ended_at = _latest(began, (part.status.finished_at for part in parts(status)))
        since = ended_at if has_ended else began
        yield Condition(type="PodReadyToStartContainers", is_true=not has_ended, since=since)
    yield _initialized(status, began)
    reason, message, since = _unreadiness(status, began, is_todays=is_todays)
    gates = "" if reason else _closed_gates(status)
    yield Condition(
        type="Ready",
        is_true=not (reason or gates),
        since=since,
        reason="ReadinessGatesNotReady" if gates else reason,
        message=gates or message,
    )
    yield Condition(type="ContainersReady", is_true=not reason, since=since, reason=reason, message=message)
    yield Condition(type="PodScheduled", is_true=True, since=began)


def _initialized(status: PodStatus, began: float) -> Condition:
    inits = [part for part in parts(status) if part.is_init]
    incomplete = [part for part in inits if not part.is_ready]
    if incomplete and all(container.started_at is None for container in status.containers):
        return Condition(
            type="Initialized",
            is_true=False,
            since=began,
            reason="ContainersNotInitialized",
            message=f"containers with incomplete status: {_names(incomplete)}",
        )
    reason = "PodCompleted" if status.phase is Phase.SUCCEEDED else ""
    since = _latest(began, (part.ready_since for part in inits))
    return Condition(type="Initialized", is_true=True, since=since, reason=reason)


def _unreadiness(status: PodStatus, began: float, *, is_todays: bool) -> tuple[str, str, float]:
    """Return why the containers are not ready, in one word, empty where they are; the same for people; since when."""
    lasting = [part for part in parts(status) if not part.has_to_end]
    unready = [part for part in lasting if not part.is_ready]
    if not unready:
        return "", "", _latest(began, (part.ready_since for part in lasting))
    since = _latest(began, (part.status.finished_at for part in unready))
    if status.phase is Phase.SUCCEEDED:
        return "PodCompleted", "", since
    if status.phase is Phase.FAILED and is_todays:
        return "PodFailed", "", since
    return "ContainersNotReady", f"containers with unready status: {_names(unready)}", since


def _closed_gates(status: PodStatus) -> str:
    """Return what the kubelet says of readiness gates, all of them: nothing here ever opens one."""
    gates = status.pod.document.get("spec", {}).get("readinessGates") or ()
    return ", ".join(
        f"corresponding condition of pod readiness gate {json.dumps(gate['conditionType'])} does not exist."
        for gate in gates
    )


def _names(some: Iterable[Part]) -> str:
    return f"[{' '.join(part.container.name for part in some)}]"


def _latest(began: float, times: Iterable[float | None]) -> float:
    return max((moment for moment in times if moment is not None), default=began)
