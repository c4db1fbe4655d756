"""Pods ask for devices; plugins are asked, and pods admitted or refused."""

from collections.abc import Sequence

import grpc

from tests.scenarios.calls import Allocate, allocate
from tests.scenarios.observed import Held, Resource
from tests.scenarios.plugin import healthy, unhealthy
from tests.scenarios.stage import ENDS, Container, Stage
from tests.scenarios.versions import CHECKS_ZERO, LISTS_EACH_DEVICE, NO_RESPONSE, NONE_HEALTHY, REFUSES_ZERO
from tests.scenarios.wire import Answer, Device, PluginError


def one_device_then_two_and_none_is_left(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"))

    stage.ask("one", plugin.resource, 1).running()
    stage.ask("two", plugin.resource, 2).running()
    refused = stage.ask("three", plugin.resource, 1).refused()

    assert refused == stage.refusal(_too_few(plugin.resource, 1, 0))
    asked = [call.requests[0] for call in plugin.calls if isinstance(call, Allocate)]
    assert [len(ids) for ids in asked] == [1, 2]
    assert sorted(id_ for ids in asked for id_ in ids) == ["d0", "d1", "d2"]
    stage.until(plugin.resource, Resource(3, 3))


def all_devices_in_one_call(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"))

    stage.ask("all", plugin.resource, 3).running()

    assert plugin.calls[-1] == allocate("d0", "d1", "d2")


def a_pod_that_asks_for_too_many_is_refused(stage: Stage) -> None:
    """The plugin hears nothing of it, and all devices stay free."""
    plugin = stage.registered(*healthy("d0", "d1"))

    assert stage.ask("three", plugin.resource, 3).refused() == stage.refusal(_too_few(plugin.resource, 3, 2))
    assert plugin.count(Allocate) == 0

    stage.ask("two", plugin.resource, 2).running()


def an_unhealthy_device_is_not_given(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"), *unhealthy("d1"))

    assert stage.ask("two", plugin.resource, 2).refused() == stage.refusal(_too_few(plugin.resource, 2, 1))
    stage.ask("one", plugin.resource, 1).running()

    assert plugin.calls[-1] == allocate("d0")


def nothing_is_given_while_all_are_unhealthy(stage: Stage) -> None:
    plugin = stage.registered(*unhealthy("d0", "d1"))

    refused = stage.ask("one", plugin.resource, 1).refused()

    text = stage.by_version(NONE_HEALTHY).format(resource=plugin.resource, asked=1)
    assert refused == stage.refusal(text)


def a_pod_runs_on_when_its_device_becomes_unhealthy(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))
    plugin.on_prefer = lambda asked: asked.available
    pod = stage.ask("both", plugin.resource, 2).running()

    plugin.offer(*healthy("d0"), *unhealthy("d1"))
    stage.until(plugin.resource, Resource(2, 1))

    pod.running()


def a_request_of_none_asks_nobody(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))

    stage.ask("none", plugin.resource, 0).running()

    assert plugin.count(Allocate) == 0


def a_request_of_none_while_none_is_healthy(stage: Stage) -> None:
    """It is refused all the same by kubelets that check first."""
    plugin = stage.registered(*unhealthy("d0"))

    pod = stage.ask("none", plugin.resource, 0)

    if stage.by_version(CHECKS_ZERO):
        text = stage.by_version(NONE_HEALTHY).format(resource=plugin.resource, asked=0)
        assert pod.refused() == stage.refusal(text)
    else:
        pod.running()


def a_resource_that_nobody_offers_is_let_pass(stage: Stage) -> None:
    """It may be a resource of the cluster, of which a node knows nothing."""
    stage.ask("hopeful", f"{stage.domain}/nowhere", 1).running()


def what_the_plugin_says_against_it_is_the_pods_message(stage: Stage) -> None:
    """The device is free again at once."""
    plugin = stage.registered(*healthy("d0"))

    def fail(_: Allocate) -> Sequence[Answer]:
        raise PluginError("it is being cleaned", grpc.StatusCode.FAILED_PRECONDITION)

    plugin.on_allocate = fail
    refused = stage.ask("refused", plugin.resource, 1).refused()
    plugin.on_allocate = lambda asked: [Answer()]
    stage.ask("next", plugin.resource, 1).running()

    assert refused == stage.refusal("rpc error: code = FailedPrecondition desc = it is being cleaned")
    assert plugin.calls[-2:] == [allocate("d0"), allocate("d0")]


def an_answer_without_containers_refuses_the_pod(stage: Stage) -> None:
    """And its device stays in use, although nobody has it."""
    plugin = stage.registered(*healthy("d0", "d1"))
    plugin.on_allocate = lambda asked: []

    refused = stage.ask("refused", plugin.resource, 1).refused()
    plugin.on_allocate = lambda asked: [Answer()]
    next_ = stage.ask("next", plugin.resource, 2).refused()

    text = f"no containers return in allocation response{stage.by_version(NO_RESPONSE)}"
    assert refused == stage.refusal(text)
    assert next_ == stage.refusal(_too_few(plugin.resource, 2, 1))


def of_several_answers_the_first_counts(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))
    plugin.on_allocate = lambda asked: [Answer(env={"THING_1": "first"}), Answer(env={"THING_2": "second"})]

    pod = stage.ask("lucky", plugin.resource, 1).running()

    assert pod.delivered().env == {"THING_1": "first"}


def two_containers_are_asked_for_one_after_the_other(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"))
    containers = [Container(name, {plugin.resource: count}) for name, count in (("first", 1), ("second", 2))]

    stage.admit("pair", *containers).running()

    assert [len(call.requests[0]) for call in plugin.calls if isinstance(call, Allocate)] == [1, 2]


def what_the_first_container_got_stays_taken_until_the_next_pod(stage: Stage) -> None:
    """Nothing is given back when the second container gets none; a pod that has ended loses all at the next admission."""
    plugin = stage.registered(*healthy("d0", "d1", "d2"))
    containers = [Container(name, {plugin.resource: 2}) for name in ("first", "second")]

    refused = stage.admit("pair", *containers).refused()
    stage.ask("next", plugin.resource, 3).running()

    assert refused == stage.refusal(_too_few(plugin.resource, 2, 1))
    assert [len(call.requests[0]) for call in plugin.calls if isinstance(call, Allocate)] == [2, 3]


def a_pod_that_is_removed_frees_its_device(stage: Stage) -> None:
    """At the next admission; no plugin is told."""
    plugin = stage.registered(*healthy("d0"))
    stage.ask("first", plugin.resource, 1).running().remove()
    before = list(plugin.calls)

    stage.ask("next", plugin.resource, 1).running()

    assert plugin.calls == [*before, allocate("d0")]


def init_containers_lend_their_devices(stage: Stage) -> None:
    """To later ones and to containers of the same pod, each with a call of its own; containers keep theirs."""
    plugin = stage.registered(*healthy("d0", "d1", "d2"))
    init = [Container(name, {plugin.resource: count}, command=ENDS) for name, count in (("i1", 2), ("i2", 2))]

    stage.admit("initial", *(Container(name, {plugin.resource: 1}) for name in ("c1", "c2")), init=init).running()

    first, second, third, fourth = (set(call.requests[0]) for call in plugin.calls if isinstance(call, Allocate))
    assert len(first) == 2
    assert second == first
    assert third | fourth == first
    assert third != fourth


def containers_add_to_what_init_containers_lend(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"))
    init = Container("i", {plugin.resource: 1}, command=ENDS)

    stage.admit("initial", Container("c", {plugin.resource: 3}), init=[init]).running()

    lent, taken = (set(call.requests[0]) for call in plugin.calls if isinstance(call, Allocate))
    assert (len(lent), taken) == (1, {"d0", "d1", "d2"})


def a_manifest_that_is_none_makes_no_pod(stage: Stage) -> None:
    """And the next one is admitted."""
    plugin = stage.registered(*healthy("d0"))

    for name, text in (("cut", '{"apiVersion": "v1", "kind": "Pod", "metadata": {'), ("other", "not: a pod\n")):
        stage.hand_in(f"{name}.json", text)
    stage.ask("proper", plugin.resource, 1).running()

    assert plugin.calls[-1] == allocate("d0")


def a_pod_that_was_let_pass_counts_when_the_plugin_comes(stage: Stage) -> None:
    """It has no device, but the node's count of what is asked for includes it: the next pod gets one and is refused."""
    resource = f"{stage.domain}/thing"
    stage.ask("early", resource, 1).running()
    plugin = stage.registered(*healthy("d0"))

    assert stage.ask("late", resource, 1).refused() == stage.no_room(resource, 1)

    assert plugin.calls[-1] == allocate("d0")


def a_request_of_none_where_others_have_more_than_there_is(stage: Stage) -> None:
    """By their own count, older kubelets have too little left even for that."""
    plugin = stage.registered(*healthy("d0", "d1"))
    stage.ask("holder", plugin.resource, 2).running()
    plugin.offer(*healthy("d0"))
    stage.until(plugin.resource, Resource(1, 1))

    pod = stage.ask("none", plugin.resource, 0)

    if stage.by_version(REFUSES_ZERO):
        assert pod.refused() == stage.no_room(plugin.resource, 1)
    else:
        pod.running()


def each_allocation_is_measured(stage: Stage) -> None:
    """One that failed, too; what was refused without a call is none."""
    plugin = stage.registered(*healthy("d0"))

    def fail(_: Allocate) -> Sequence[Answer]:
        raise PluginError("no")

    plugin.on_allocate = fail
    stage.ask("failed", plugin.resource, 1).refused()
    plugin.on_allocate = lambda asked: [Answer()]
    stage.ask("allocated", plugin.resource, 1).running()
    stage.ask("refused", plugin.resource, 1).refused()

    assert stage.metric("kubelet_device_plugin_alloc_duration_seconds_count", plugin.resource) == "2"


def the_pod_resources_api_tells_what_a_container_holds(stage: Stage) -> None:
    """With the NUMA nodes of its devices; older kubelets say node 0 of a device without one."""
    devices = (Device("d0"), Device("d1", numa=(1,)), Device("d2", numa=(0, 1)))
    plugin = stage.registered(*devices)

    held = stage.ask("holder", plugin.resource, 3).running().held()

    if stage.by_version(LISTS_EACH_DEVICE):
        assert held == (
            Held(plugin.resource, ("d0",), ()),
            Held(plugin.resource, ("d1",), (1,)),
            Held(plugin.resource, ("d2",), (0,)),
            Held(plugin.resource, ("d2",), (1,)),
        )
    else:
        assert held == (Held(plugin.resource, ("d0", "d2"), (0,)), Held(plugin.resource, ("d1", "d2"), (1,)))


def _too_few(resource: str, asked: int, available: int) -> str:
    return f"requested number of devices unavailable for {resource}. Requested: {asked}, Available: {available}"
