"""Pods and the node as the Kubernetes API says them: what a kubelet's read-only port serves.

What there is not is left empty: no image was pulled, and no pod has an address of its own. The ids of containers are
made up. See Kubernetes' API reference for PodStatus, ContainerStatus and NodeStatus.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kubelet_plugin.kubelet.conditions import Condition, Part, conditions, parts
from kubelet_plugin.kubelet.identity import digest
from kubelet_plugin.kubelet.machine import Machine
from kubelet_plugin.kubelet.pods import Pod
from kubelet_plugin.kubelet.profile import Profile
from kubelet_plugin.kubelet.quantities import Quantity
from kubelet_plugin.kubelet.status import PodStatus, State

_RUNTIME = "embedded"
_MOST_PODS = 110  # a kubelet's default
_RESERVED_MEMORY = 100 << 20  # bytes that a kubelet keeps free by its default, by eviction

_COMPUTE_RESOURCES = ("cpu", "memory")

Document = dict[str, Any]


def pod_list(
    statuses: Iterable[PodStatus],
    *,
    profile: Profile,
    health: Callable[[str, str], str],
    node_name: str,
    host_ip: str = "127.0.0.1",
) -> Document:
    """Return what became of pods, as a v1 PodList of the kubelet's `/pods`.

    Args:
        statuses: The pods.
        profile: Which kubelet says it.
        health: Says how a device is, from its resource and its id: `Healthy` or `Unhealthy`.
        node_name: The node's name.
        host_ip: The node's address.

    Returns:
        The document. As in the kubelet's own, the items are null where there is no pod.
    """
    view = _View(profile, health, node_name, host_ip)
    items = [view.pod(each) for each in statuses]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items or None}


def node(
    name: str,
    capacity: Mapping[str, int],
    allocatable: Mapping[str, int],
    *,
    version: str,
    machine: Machine | None = None,
    host_ip: str = "127.0.0.1",
) -> Document:
    """Return a node as a v1 Node.

    Args:
        name: Its name.
        capacity: How many devices it has, by resource.
        allocatable: How many of them are healthy, by resource.
        version: The kubelet's version, such as `1.36`.
        machine: The machine; None is this one.
        host_ip: The node's address.
    """
    machine = machine or Machine.read()
    own = {"cpu": str(machine.cpus), "pods": str(_MOST_PODS)}
    system = {"kubernetes.io/arch": machine.architecture, "kubernetes.io/os": "linux"}
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **system}},
        "spec": {},
        "status": {
            "capacity": own | {"memory": _bytes(machine.memory)} | _counts(capacity),
            "allocatable": own | {"memory": _bytes(machine.memory - _RESERVED_MEMORY)} | _counts(allocatable),
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "kubelet is posting ready status",
                }
            ],
            "addresses": [{"type": "InternalIP", "address": host_ip}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "machineID": machine.machine_id,
                "systemUUID": "",
                "bootID": machine.boot_id,
                "kernelVersion": machine.kernel,
                "osImage": machine.os_image,
                "containerRuntimeVersion": f"{_RUNTIME}://Unknown",
                "kubeletVersion": f"v{version}.0",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": machine.architecture,
            },
        },
    }


def _bytes(count: int) -> str:
    return str(Quantity(Fraction(max(0, count)), "binary"))


def _counts(resources: Mapping[str, int]) -> dict[str, str]:
    return {resource: str(count) for resource, count in resources.items()}


@dataclass(frozen=True, slots=True)
class _View:
    """Pods as one kubelet says them."""

    profile: Profile
    health: Callable[[str, str], str]
    node_name: str
    host_ip: str

    def pod(self, status: PodStatus) -> Document:
        pod = status.pod
        metadata = {**pod.document.get("metadata", {}), "name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
        created = metadata.pop("creationTimestamp", None)
        if created or not self.profile.leaves_out_creation:
            metadata["creationTimestamp"] = created
        spec = {**pod.document.get("spec", {}), "nodeName": self.node_name}
        return {"metadata": metadata, "spec": spec, "status": self._status(status, _qos_class(spec))}

    def _status(self, status: PodStatus, qos_class: str) -> Document:
        if status.started_at is None:  # the kubelet has only just seen it
            return {"phase": status.phase.value}
        document: Document = {"phase": status.phase.value, "startTime": _time(status.started_at)}
        if not status.reason or self.profile.tells_todays_status:
            document["qosClass"] = qos_class
        if status.reason:  # it was refused: nothing is said of its containers
            return document | _words(status.reason, status.message)
        described = conditions(status, status.started_at, is_todays=self.profile.tells_todays_status)
        document |= {"hostIP": self.host_ip, "conditions": [_condition(each) for each in described]}
        inits, others = (
            [self._container(part, status.pod) for part in parts(status) if part.is_init is is_init]
            for is_init in (True, False)
        )
        if inits:
            document["initContainerStatuses"] = inits
        return document | {"containerStatuses": sorted(others, key=lambda container: str(container["name"]))}

    def _container(self, part: Part, pod: Pod) -> Document:
        status = part.status
        document: Document = {
            "name": status.name,
            "state": {status.state.value: _state(part, pod)},
            "lastState": {},
            "ready": part.is_ready,
            "restartCount": status.restarts,
            "image": part.container.image,
            "imageID": "",
        }
        if status.started_at is not None:
            document["containerID"] = _container_id(part, pod)
        if self.profile.tells_todays_status or not part.is_init:
            document["started"] = part.is_running
        if self.profile.reports_health and status.devices and not part.is_init:
            document["allocatedResourcesStatus"] = [
                {
                    "name": resource,
                    "resources": [{"resourceID": id_, "health": self.health(resource, id_)} for id_ in ids],
                }
                for resource, ids in sorted(status.devices.items())
            ]
        return document


def _state(part: Part, pod: Pod) -> Document:
    status = part.status
    match status.state:
        case State.WAITING:
            default = "PodInitializing" if pod.init_containers else "ContainerCreating"
            return _words(status.reason or default, status.message)
        case State.RUNNING:
            return {"startedAt": _time(status.started_at)}
        case State.TERMINATED:
            return {
                "exitCode": status.exit_code,
                "startedAt": _time(status.started_at),
                "finishedAt": _time(status.finished_at),
                "containerID": _container_id(part, pod),
            } | _words(status.reason, status.message)


def _container_id(part: Part, pod: Pod) -> str:
    """Make up an id, another one after each start."""
    start = f"{pod.uid}/{part.status.name}/{part.status.restarts}"
    return f"{_RUNTIME}://{digest(start, 64)}"


def _condition(condition: Condition) -> Document:
    return {
        "type": condition.type,
        "status": "True" if condition.is_true else "False",
        "lastProbeTime": None,
        "lastTransitionTime": _time(condition.since),
    } | _words(condition.reason, condition.message)


def _words(reason: str, message: str) -> Document:
    return {key: text for key, text in (("reason", reason), ("message", message)) if text}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _qos_class(spec: Document) -> str:
    """Tell how well a pod is served when resources are short, from its containers' CPU and memory."""
    resources = [
        container.get("resources") or {}
        for kind in ("containers", "initContainers")
        for container in spec.get(kind) or ()
    ]
    requests, limits = ([_compute(each.get(kind) or {}) for each in resources] for kind in ("requests", "limits"))
    if not any(requests) and not any(limits):
        return "BestEffort"
    is_limited = all(len(each) == len(_COMPUTE_RESOURCES) for each in limits)
    return "Guaranteed" if is_limited and _total(requests) == _total(limits) else "Burstable"


def _compute(quantities: Mapping[str, object]) -> dict[str, Fraction]:
    parsed = {name: Quantity.parse(quantities[name]).value for name in _COMPUTE_RESOURCES if name in quantities}
    return {name: value for name, value in parsed.items() if value > 0}


def _total(quantities: Iterable[Mapping[str, Fraction]]) -> list[Fraction]:
    return [sum((each.get(name, Fraction()) for each in quantities), Fraction()) for name in _COMPUTE_RESOURCES]
