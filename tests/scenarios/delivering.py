"""What arrives in a container."""

import json
from collections.abc import Mapping, Sequence

from tests.scenarios.calls import allocate
from tests.scenarios.observed import Delivered, Resource
from tests.scenarios.plugin import healthy, unhealthy
from tests.scenarios.stage import Container, Pod, Stage
from tests.scenarios.versions import ANNOTATES_CDI, PASSES_CDI
from tests.scenarios.wire import Answer

CDI_SPEC = json.dumps(
    {
        "cdiVersion": "0.3.0",
        "kind": "thing.example.com/cdi",
        "devices": [{"name": "d0", "containerEdits": {"env": ["THING=d0"]}}],
    }
)
FULL, ZERO = "/dev/full", "/dev/zero"


def an_answer_arrives_as_it_is(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))
    plugin.on_allocate = lambda asked: [
        Answer({"THING": "d0"}, {"/thing": "/etc"}, {"/dev/thing": FULL}, {"thing.example.com/id": "d0"})
    ]

    pod = stage.ask("whole", plugin.resource, 1).running()

    assert pod.delivered() == Delivered(
        {"THING": "d0"}, {"/thing": "/etc"}, {"/dev/thing": FULL}, {"thing.example.com/id": "d0"}
    )


def answers_of_two_resources_are_merged(stage: Stage) -> None:
    a, b = (stage.registered(*healthy(f"{name}0"), name=name) for name in ("a", "b"))
    a.on_allocate = lambda asked: [
        Answer({"THING_A": "a"}, {"/thing/a": "/etc"}, {"/dev/thing-a": FULL}, {"thing.example.com/a": "a"})
    ]
    b.on_allocate = lambda asked: [
        Answer({"THING_B": "b"}, {"/thing/b": "/etc"}, {"/dev/thing-b": ZERO}, {"thing.example.com/b": "b"})
    ]

    pod = stage.admit("both", Container("c", {a.resource: 1, b.resource: 1})).running()

    assert pod.delivered() == Delivered(
        {"THING_A": "a", "THING_B": "b"},
        {"/thing/a": "/etc", "/thing/b": "/etc"},
        {"/dev/thing-a": FULL, "/dev/thing-b": ZERO},
        {"thing.example.com/a": "a", "thing.example.com/b": "b"},
    )
    assert (a.calls[-1], b.calls[-1]) == (allocate("a0"), allocate("b0"))


def of_two_answers_that_clash_one_wins_throughout(stage: Stage) -> None:
    """Which, is left to chance; nothing fails."""
    plugins = {name: stage.registered(*healthy("d0"), name=name) for name in ("a", "b")}
    answers = {
        "a": Answer({"THING": "a"}, {"/thing": "/etc"}, {"/dev/thing": FULL}, {"thing.example.com/is": "a"}),
        "b": Answer({"THING": "b"}, {"/thing": "/usr"}, {"/dev/thing": ZERO}, {"thing.example.com/is": "b"}),
    }
    plugins["a"].on_allocate = lambda asked: [answers["a"]]
    plugins["b"].on_allocate = lambda asked: [answers["b"]]

    pod = stage.admit("torn", Container("c", {plugin.resource: 1 for plugin in plugins.values()})).running()

    delivered = pod.delivered(record=False)
    winner = answers[delivered.env["THING"]]
    assert delivered == Delivered(winner.env, winner.mounts, winner.devices, winner.annotations)


def a_pods_own_variable_wins_over_a_plugins(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))
    plugin.on_allocate = lambda asked: [Answer({"THING": "plugin", "THING_TOO": "plugin"})]

    pod = stage.admit("own", Container("c", {plugin.resource: 1}, env={"THING": "pod"})).running()

    assert pod.delivered().env == {"THING": "pod", "THING_TOO": "plugin"}


def each_container_gets_its_own_answer(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))
    answers = iter("12")
    plugin.on_allocate = lambda asked: [Answer({"THING": next(answers)})]

    pod = stage.admit("pair", *(Container(name, {plugin.resource: 1}) for name in ("c1", "c2"))).running()

    assert [pod.delivered(container=name).env["THING"] for name in ("c1", "c2")] == ["1", "2"]


def a_container_that_asks_for_none_gets_nothing(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))
    plugin.on_allocate = lambda asked: [Answer({"THING": "d0"}, {"/thing": "/etc"}, {"/dev/thing": FULL})]

    pod = stage.admit("mixed", Container("c1", {plugin.resource: 1}), Container("c2")).running()

    assert pod.delivered(container="c2") == Delivered()


def cdi_names_are_passed_on(stage: Stage) -> None:
    """To the container runtime, by those that know of them; by one version as an annotation, too."""
    plugin = stage.registered(*healthy("d0"))
    name = "thing.example.com/cdi=d0"
    spec = stage.kubelet.cdi_dir / "thing.json"
    spec.write_text(CDI_SPEC)
    plugin.on_allocate = lambda asked: [Answer(cdi_devices=[name])]

    delivered = stage.ask("named", plugin.resource, 1).running().delivered(naming="cdi")

    assert delivered.cdi_devices == ((name,) if stage.by_version(PASSES_CDI) else ())
    annotation = {"cdi.k8s.io/devicemanager_<uid>-c": name}
    assert delivered.annotations == (annotation if stage.by_version(ANNOTATES_CDI) else {})
    spec.unlink()


def pod_status_tells_how_its_devices_are(stage: Stage) -> None:
    """That of containers, by kubelets that tell at all; a plugin that goes changes nothing there."""
    plugin = stage.registered(*healthy("d0", "d1"))
    pod = stage.ask("holder", plugin.resource, 2).running()

    for devices, listed, health in (
        (healthy("d0", "d1"), Resource(2, 2), ("Healthy", "Healthy")),
        ([*healthy("d0"), *unhealthy("d1")], Resource(2, 1), ("Healthy", "Unhealthy")),
        (healthy("d0"), Resource(1, 1), ("Healthy", "Healthy")),
        (unhealthy("d0", "d1"), Resource(2, 0), ("Unhealthy", "Unhealthy")),
    ):
        plugin.offer(*devices)
        stage.until(plugin.resource, listed)
        shown = {plugin.resource: health} if stage.kubelet.reports_health else {}
        _shows(pod, shown)
    plugin.die()
    stage.kubelet.settle()

    _shows(pod, shown)


def _shows(pod: Pod, health: Mapping[str, Sequence[str]]) -> None:
    pod.until(f"to show {health}", lambda seen: bool(seen.containers) and seen.containers[0].health == health)
