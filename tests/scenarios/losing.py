"""Plugins go and come back."""

from collections.abc import Sequence

import grpc

from tests.scenarios.calls import Allocate, Watch, WatchEnded, allocate
from tests.scenarios.observed import Resource
from tests.scenarios.plugin import healthy, unhealthy
from tests.scenarios.stage import Stage
from tests.scenarios.versions import DISCONNECTS_BY_NAME, NONE_HEALTHY
from tests.scenarios.wire import Answer, PluginError


def a_stream_that_ends_well_makes_all_devices_unhealthy(stage: Stage) -> None:
    """Capacity stays; the kubelet does not open the stream again."""
    plugin = stage.registered(*healthy("d0"), *unhealthy("d1"))

    plugin.end_streams()

    stage.until(plugin.resource, Resource(2, 0))
    assert plugin.count(Watch) == 1


def a_stream_that_fails_makes_all_devices_unhealthy(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))

    plugin.end_streams(PluginError("out of order", grpc.StatusCode.INTERNAL))

    stage.until(plugin.resource, Resource(2, 0))


def a_plugin_that_dies_leaves_its_capacity(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))

    plugin.die()

    stage.until(plugin.resource, Resource(2, 0))


def a_stream_that_ends_before_its_first_list_makes_a_resource_of_none(stage: Stage) -> None:
    plugin = stage.plugin()
    plugin.hold_back()
    assert plugin.register() == ""
    stage.asked(plugin, Watch)

    plugin.end_streams()
    stage.kubelet.settle()

    stage.until(plugin.resource, Resource(0, 0))


def a_plugin_that_registers_again_has_its_devices_back(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))
    plugin.die()
    stage.until(plugin.resource, Resource(2, 0))

    plugin.serve()
    assert plugin.register() == ""

    stage.until(plugin.resource, Resource(2, 2))


def until_its_list_a_plugin_that_registers_again_has_none(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))
    plugin.end_streams()
    plugin.hold_back()

    assert plugin.register() == ""
    stage.asked(plugin, Watch, 2)
    stage.kubelet.settle()

    stage.until(plugin.resource, Resource(2, 0))


def a_plugin_that_comes_back_with_other_devices_offers_those(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))
    plugin.die()

    plugin.offer(*healthy("e0", "e1", "e2"))
    plugin.serve()
    assert plugin.register() == ""

    stage.until(plugin.resource, Resource(3, 3))


def a_pod_is_refused_while_the_plugin_is_gone(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))
    plugin.die()
    stage.until(plugin.resource, Resource(1, 0))

    pod = stage.ask("late", plugin.resource, 1)

    text = stage.by_version(NONE_HEALTHY).format(resource=plugin.resource, asked=1)
    assert pod.refused() == stage.refusal(text)


def a_pod_runs_on_when_its_plugin_dies(stage: Stage) -> None:
    """And it keeps its device when the plugin is back."""
    plugin = stage.registered(*healthy("d0"))
    pod = stage.ask("holder", plugin.resource, 1).running()
    plugin.die()
    stage.until(plugin.resource, Resource(1, 0))

    pod.running()
    plugin.serve()
    assert plugin.register() == ""
    stage.until(plugin.resource, Resource(1, 1))

    assert stage.ask("late", plugin.resource, 1).refused() == stage.refusal(
        f"requested number of devices unavailable for {plugin.resource}. Requested: 1, Available: 0"
    )
    assert plugin.count(Watch) == 2


def a_plugin_that_dies_over_allocate_costs_the_pod(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))

    def die(_: Allocate) -> Sequence[Answer]:
        plugin.drop_connections()
        return []

    plugin.on_allocate = die

    pod = stage.ask("unlucky", plugin.resource, 1)

    assert pod.refused() == stage.refusal("rpc error: code = <lost> desc = <connection>")
    stage.asked(plugin, WatchEnded)
    assert allocate("d0") in plugin.calls


def the_latest_list_of_two_instances_counts(stage: Stage) -> None:
    old = stage.registered(*healthy("d0"))
    new = stage.plugin(*healthy("d0", "d1"), name="new")
    assert new.register(old.resource) == ""
    stage.until(old.resource, Resource(2, 2))

    old.offer(*healthy("d0", "d1", "d2"))
    stage.until(old.resource, Resource(3, 3))
    new.offer(*healthy("d1"))
    stage.until(old.resource, Resource(1, 1))

    stage.ask("asks", old.resource, 1).running()
    assert (old.count(Allocate), new.calls[-1]) == (0, allocate("d1"))


def an_old_instance_that_ends(stage: Stage) -> None:
    """It cuts off the new one, where the kubelet looks plugins up by name alone."""
    old = stage.registered(*healthy("d0"))
    new = stage.plugin(*healthy("d0", "d1"), name="new")
    assert new.register(old.resource) == ""
    stage.until(old.resource, Resource(2, 2))

    old.die()

    if stage.by_version(DISCONNECTS_BY_NAME):
        stage.asked(new, WatchEnded)
        stage.until(old.resource, Resource(2, 0))
    else:
        stage.kubelet.settle()
        stage.until(old.resource, Resource(2, 2))
        assert new.count(WatchEnded) == 0
