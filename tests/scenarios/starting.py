"""Containers start, and start again."""

import grpc

from tests.scenarios.calls import PreStart, allocate
from tests.scenarios.observed import Resource
from tests.scenarios.plugin import ScriptedPlugin, healthy
from tests.scenarios.stage import ENDS, Container, Pod, Stage
from tests.scenarios.versions import STARTS_ZERO
from tests.scenarios.wire import Answer, Options, PluginError

PRE_START = Options(pre_start=True)
CONFIG_ERROR = "CreateContainerConfigError"
RETRY = 10.0  # seconds until a kubelet tries again what failed, at the latest but one


def a_plugin_is_told_before_a_container_starts(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"), options=PRE_START)

    stage.ask("started", plugin.resource, 2).running()

    assert plugin.calls[-2:] == [allocate("d0", "d1"), PreStart(("d0", "d1"))]


def a_plugin_that_did_not_ask_for_it_is_not_told(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))

    stage.ask("started", plugin.resource, 1).running()

    assert plugin.count(PreStart) == 0


def a_container_that_asks_for_none_of_a_plugin_that_is_to_be_told(stage: Stage) -> None:
    """Older kubelets cannot start it, since there is nothing to tell."""
    plugin = stage.registered(*healthy("d0"), options=PRE_START)

    pod = stage.ask("none", plugin.resource, 0)

    if stage.by_version(STARTS_ZERO):
        pod.running()
    else:
        assert pod.waiting("c", CONFIG_ERROR).message == (
            f"no devices found allocated in local cache for pod <uid>, container c, resource {plugin.resource}"
        )


def init_containers_are_started_with_their_devices_too(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"), options=PRE_START)
    init = Container("i", {plugin.resource: 1}, command=ENDS)

    stage.admit("initial", Container("c", {plugin.resource: 1}), init=[init]).running()

    assert plugin.calls[-4:] == [allocate("d0"), allocate("d0"), PreStart(("d0",)), PreStart(("d0",))]


def a_start_that_the_plugin_prevents_is_tried_again(stage: Stage) -> None:
    """The pod is not refused: its container waits, and runs when the plugin lets it."""
    plugin = stage.registered(*healthy("d0"), options=PRE_START)

    def fail_once(_: PreStart) -> None:
        plugin.on_pre_start = lambda asked: None
        raise PluginError("not yet", grpc.StatusCode.UNAVAILABLE)

    plugin.on_pre_start = fail_once
    pod = stage.ask("patient", plugin.resource, 1)

    waiting = pod.waiting("c", CONFIG_ERROR)
    assert (waiting.state, waiting.message, waiting.restarts) == (
        "waiting",
        "device plugin PreStartContainer rpc failed with err: rpc error: code = Unavailable desc = not yet",
        0,
    )
    pod.running(takes=RETRY)
    assert plugin.calls[-3:] == [allocate("d0"), PreStart(("d0",)), PreStart(("d0",))]


def a_container_that_starts_again_is_not_allocated_again(stage: Stage) -> None:
    """It gets the answer of before; only the plugin that asked for it is told."""
    plugin = stage.registered(*healthy("d0"), options=PRE_START)
    answers = iter("12")
    plugin.on_allocate = lambda asked: [Answer({"THING": next(answers)})]
    pod = _restarting(stage, plugin)

    _start_again(stage, pod)

    assert pod.delivered().env == {"THING": "1"}
    assert plugin.calls[-3:] == [allocate("d0"), PreStart(("d0",)), PreStart(("d0",))]


def a_container_starts_again_without_its_plugin(stage: Stage) -> None:
    """Where that did not want to be told, within the grace time."""
    plugin = stage.registered(*healthy("d0"))
    plugin.on_allocate = lambda asked: [Answer({"THING": "d0"})]
    pod = _restarting(stage, plugin)
    plugin.die()
    stage.until(plugin.resource, Resource(1, 0))

    _start_again(stage, pod)

    assert pod.delivered().env == {"THING": "d0"}


def a_container_cannot_start_again_while_its_plugin_is_to_be_told_and_gone(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"), options=PRE_START)
    pod = _restarting(stage, plugin)
    plugin.die()
    stage.until(plugin.resource, Resource(1, 0))

    pod.restart()

    waiting = pod.waiting("c", CONFIG_ERROR)
    assert waiting.message == ("device plugin PreStartContainer rpc failed with err: endpoint <dump> has been stopped")


def _restarting(stage: Stage, plugin: ScriptedPlugin) -> Pod:
    return stage.admit("again", Container("c", {plugin.resource: 1}), restart="OnFailure").running()


def _start_again(stage: Stage, pod: Pod) -> None:
    pod.restart()
    pod.running(restarts=1)
