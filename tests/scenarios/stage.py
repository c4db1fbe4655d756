"""Where a scenario plays: a kubelet, its plugins and pods, and a record of what was seen."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests.scenarios.calls import Call
from tests.scenarios.holding import held_by
from tests.scenarios.observed import (
    ContainerSeen,
    Delivered,
    Held,
    Observed,
    PluginSeen,
    PodSeen,
    Resource,
    canonical,
    normalised,
)
from tests.scenarios.plugin import ScriptedPlugin
from tests.scenarios.versions import REJECTED, ByVersion
from tests.scenarios.wire import Device, Options

T = TypeVar("T")

UNEXPECTED = "UnexpectedAdmissionError"
IMAGE = "localhost/busybox:1"
# Ends well at once when it is told to: a container that fails is started again by kubelet 1.20 while its pod is removed.
STAYS = ("sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait")
ENDS = ("true",)


class Kubelet(Protocol):
    """What a scenario needs of a kubelet.

    Attributes:
        minor: Its version is 1.`minor`.
        plugin_dir: Its plugin directory, as a plugin reaches it from here.
        registry_dir: Its plugins_registry, in the same way.
        cdi_dir: A directory where its container runtime looks for CDI specs.
        pod_resources: The socket of its pod-resources API.
        reports_health: Its pod status tells how devices are.
        places: These directories as its own messages name them, and what to call them.
        patience: How many seconds anything may take.
    """

    @property
    def minor(self) -> int: ...
    @property
    def plugin_dir(self) -> Path: ...
    @property
    def registry_dir(self) -> Path: ...
    @property
    def cdi_dir(self) -> Path: ...
    @property
    def pod_resources(self) -> Path: ...
    @property
    def reports_health(self) -> bool: ...
    @property
    def places(self) -> Mapping[str, str]: ...
    @property
    def patience(self) -> float: ...

    def advance(self, seconds: float) -> None:
        """Let time pass, where it does not pass by itself."""

    def settle(self) -> None:
        """Give it the time to notice what has just happened, where nothing will tell."""

    def restart(self, meanwhile: Callable[[], object] = ...) -> None:
        """End it, do something, and start it again; containers go on."""

    def resources(self) -> Mapping[str, Resource]:
        """The node's status, computed now."""

    def metrics(self) -> str:
        """Its metrics, in Prometheus' text format."""

    def admit(self, manifest: Mapping[str, Any]) -> None:
        """Hand it a pod."""

    def hand_in(self, name: str, text: str) -> None:
        """Put a file among the manifests."""

    def take_out(self, name: str) -> None:
        """Remove a file from the manifests."""

    def remove(self, pod: str) -> None:
        """Take a pod away, and wait until the kubelet has forgotten it."""

    def pod(self, name: str) -> PodSeen | None:
        """A pod's status; None while the kubelet knows no such pod."""

    def api_name(self, pod: str) -> str:
        """What it calls a pod, which has more in it than the manifest's name."""

    def delivered(self, pod: str, container: str) -> Delivered:
        """What a running container was started with."""

    def restart_container(self, pod: str, container: str) -> None:
        """Make a container end, which is then started again."""

    def launch(self, arguments: Sequence[str]) -> Sequence[str]:
        """The command line that runs a program where this is the node's kubelet."""


@dataclass(frozen=True)
class Container:
    """A container of a manifest: busybox."""

    name: str
    limits: Mapping[str, int] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = STAYS

    def manifest(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "image": IMAGE,
            "command": list(self.command),
            "env": [{"name": name, "value": value} for name, value in self.env.items()],
            "resources": {"limits": dict(self.limits)},
        }


class Pod:
    """A pod that was handed to the kubelet."""

    def __init__(self, stage: "Stage", name: str, full_name: str) -> None:
        self.name = name
        self.full_name = full_name
        self._stage = stage

    def seen(self) -> PodSeen | None:
        """Its status by now."""
        return self._stage.kubelet.pod(self.full_name)

    def until(self, what: str, look: Callable[[PodSeen], bool], *, takes: float = 0.0) -> PodSeen:
        """Its status, once it is as it should be; that may take so many of the kubelet's seconds."""
        last: list[PodSeen | None] = [None]

        def found() -> PodSeen | None:
            last[0] = seen = self.seen()
            return seen if seen and look(seen) else None

        seen = self._stage.eventually(lambda: f"{self.name} {what}; last seen: {last[0]}", found, takes=takes)
        self._stage.pods[self.name] = seen
        return seen

    def running(self, *, restarts: int = 0, takes: float = 0.0) -> "Pod":
        """This pod, once all its containers run, having been started again so often; it must not be refused."""

        def look(seen: PodSeen) -> bool:
            assert seen.phase != "Failed", f"{self.name} is refused: {seen}"
            return bool(seen.containers) and all(
                (each.state, each.restarts) == ("running", restarts) for each in seen.containers
            )

        self.until("to run", look, takes=takes)
        return self

    def refused(self) -> PodSeen:
        """How the kubelet refused it."""
        return self.until("to be refused", lambda seen: seen.phase == "Failed")

    def waiting(self, container: str, reason: str) -> ContainerSeen:
        """A container of it that waits for that reason."""

        def look(seen: PodSeen) -> bool:
            return any((each.name, each.reason) == (container, reason) for each in seen.containers)

        seen = self.until(f"to wait: {reason}", look)
        return next(each for each in seen.containers if each.name == container)

    def delivered(self, container: str = "c", *, naming: str = "thing", record: bool = True) -> Delivered:
        """What a container of it was started with, of that which carries this word in its name or path.

        It is not to be recorded where it is left to chance.
        """
        delivered = self._stage.kubelet.delivered(self.full_name, container).naming(naming)
        if record:
            self._stage.delivered[f"{self.name}/{container}"] = delivered
        return delivered

    def held(self, container: str = "c") -> tuple[Held, ...]:
        """What the pod-resources API says that a container of it holds."""
        found = held_by(self._stage.kubelet.pod_resources, self._stage.kubelet.api_name(self.full_name))[container]
        self._stage.held[f"{self.name}/{container}"] = found
        return found

    def restart(self, container: str = "c") -> None:
        """Make a container of it end; the kubelet starts it again."""
        self._stage.kubelet.restart_container(self.full_name, container)

    def remove(self) -> None:
        """Take it away."""
        self._stage.kubelet.remove(self.full_name)
        self._stage.forget(self)


def domain_of(story: str) -> str:
    """The domain of a scenario's resources; a DNS label is at most 63 characters long."""
    return f"{story.replace('_', '-')[:63].strip('-')}.example.com"


class Stage:
    """One scenario's share of a kubelet: resources of its own, plugins, pods, and what was seen of them.

    Args:
        kubelet: The kubelet.
        story: The scenario's name; it is the domain of its resources.
    """

    _serial = itertools.count(1)

    def __init__(self, kubelet: Kubelet, story: str) -> None:
        self.kubelet = kubelet
        self.domain = domain_of(story)
        self.pods: dict[str, PodSeen] = {}
        self.delivered: dict[str, Delivered] = {}
        self.held: dict[str, tuple[Held, ...]] = {}
        self._plugins: dict[str, ScriptedPlugin] = {}
        self._handed: list[Pod] = []
        self._files: list[str] = []
        self._resources: list[tuple[str, Resource | None]] = []
        self._metrics: dict[str, str] = {}

    @property
    def minor(self) -> int:
        """The kubelet's minor version."""
        return self.kubelet.minor

    def by_version(self, fact: ByVersion[T]) -> T:
        """What holds for this kubelet."""
        return fact.at(self.minor)

    def refusal(self, error: str) -> PodSeen:
        """The status of a pod whose devices could not be allocated."""
        message = f"{self.by_version(REJECTED)}Allocate failed due to {error}, which is unexpected"
        return PodSeen("Failed", UNEXPECTED, message)

    def no_room(self, resource: str, missing: int) -> PodSeen:
        """The status of a pod that the node has too little left for.

        A static pod is critical, so the kubelet tries to make room for it, and finds nobody to evict.
        """
        error = (
            "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of "
            f"pods to preempt: no set of running pods found to reclaim resources: [(res: {resource}, q: {missing}), ]"
        )
        return PodSeen("Failed", UNEXPECTED, f"{self.by_version(REJECTED)}{error}")

    # Plugins.

    def plugin(self, *devices: Device, name: str = "thing", options: Options | None = None) -> ScriptedPlugin:
        """A plugin of a resource of this scenario's, serving, but not registered yet."""
        plugin = ScriptedPlugin(f"{self.domain}/{name}", self.kubelet.plugin_dir / f"{name}.sock", devices, options)
        return self.add(plugin, name).serve()

    def add(self, plugin: ScriptedPlugin, name: str) -> ScriptedPlugin:
        """Take a plugin into the record; it ends with the scenario."""
        assert name not in self._plugins, name
        self._plugins[name] = plugin
        return plugin

    def registered(self, *devices: Device, name: str = "thing", options: Options | None = None) -> ScriptedPlugin:
        """A plugin whose registration went through and whose first list has arrived."""
        plugin = self.plugin(*devices, name=name, options=options)
        assert plugin.register() == ""
        healthy = sum(device.health == "Healthy" for device in devices)
        self.until(plugin.resource, Resource(len(devices), healthy))
        return plugin

    def asked(self, plugin: ScriptedPlugin, call: type[Call], times: int = 1, *, takes: float = 0.0) -> None:
        """Wait until a plugin was asked something, so often in all."""
        self.eventually(
            lambda: f"{call.__name__}, {times} in all; so far: {plugin.calls}, {plugin.notices}",
            lambda: True if plugin.count(call) >= times else None,
            takes=takes,
        )

    # The node.

    def until(self, resource: str, expected: Resource | None) -> None:
        """Wait until the node's status says this of a resource; None: it says nothing."""
        last: list[Resource | None] = [None]

        def look() -> bool | None:
            last[0] = self.kubelet.resources().get(resource)
            return True if last[0] == expected else None

        self.eventually(lambda: f"{resource} to be {expected}; last seen: {last[0]}", look)
        self._resources.append((resource, expected))

    def metric(self, name: str, resource: str) -> str:
        """The value of a metric for a resource; what the kubelet says of the metric is recorded as well."""
        lines = self.kubelet.metrics().splitlines()
        family = name.removesuffix("_count")
        self._metrics.update((line, "") for line in lines if line.startswith("# ") and f" {family} " in line)
        (value,) = (
            line.rpartition(" ")[2] for line in lines if line.startswith(f'{name}{{resource_name="{resource}"}}')
        )
        self._metrics[f"{name} of {resource}"] = value
        return value

    # Pods.

    def admit(self, name: str, *containers: Container, init: Sequence[Container] = (), restart: str = "Never") -> Pod:
        """Hand the kubelet a pod of these containers."""
        pod = Pod(self, name, f"{name}-{next(self._serial)}")
        self._handed.append(pod)
        self.kubelet.admit(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod.full_name},
                "spec": {
                    "restartPolicy": restart,
                    "terminationGracePeriodSeconds": 0,
                    "initContainers": [each.manifest() for each in init],
                    "containers": [each.manifest() for each in containers],
                },
            }
        )
        return pod

    def hand_in(self, name: str, text: str) -> None:
        """Put a file among the manifests that makes no pod; it goes with the scenario."""
        self._files.append(name)
        self.kubelet.hand_in(name, text)

    def ask(self, name: str, resource: str, count: int) -> Pod:
        """Hand the kubelet a pod of one container that asks for so many devices."""
        return self.admit(name, Container("c", {resource: count}))

    def forget(self, pod: Pod) -> None:
        """Leave a pod alone that is gone."""
        self._handed.remove(pod)

    # Time.

    def eventually(self, what: Callable[[], str], look: Callable[[], T | None], *, takes: float = 0.0) -> T:
        """The first thing that `look` finds; that may take so many of the kubelet's seconds."""
        patience = self.kubelet.patience + takes
        deadline = time.monotonic() + patience
        while (found := look()) is None:
            assert time.monotonic() < deadline, f"waited {patience:g} s: {what()}"
            time.sleep(0.1 if takes else 0.002)
            self.kubelet.advance(takes)
        return found

    # The record.

    def observed(self) -> Observed:
        """What was seen so far."""
        places = self.kubelet.places
        return Observed(
            plugins={
                name: PluginSeen(
                    answers=tuple(normalised(answer, places) for answer in plugin.answers),
                    notices=tuple(plugin.noticed(lambda text: normalised(text, places))),
                    calls=canonical(plugin.calls),
                )
                for name, plugin in self._plugins.items()
            },
            pods=dict(self.pods),
            delivered=dict(self.delivered),
            held=dict(self.held),
            metrics=dict(self._metrics),
            resources=tuple(self._resources),
        )

    @contextlib.contextmanager
    def playing(self) -> Iterator["Stage"]:
        """All plugins and pods end with the block."""
        try:
            yield self
        finally:
            for pod in tuple(self._handed):
                pod.remove()
            for file in self._files:
                self.kubelet.take_out(file)
            for plugin in self._plugins.values():
                plugin.die()
