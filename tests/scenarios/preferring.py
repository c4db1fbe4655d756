"""Plugins say which devices they would rather give."""

from collections.abc import Sequence

from tests.scenarios.calls import Prefer, allocate, prefer
from tests.scenarios.plugin import ScriptedPlugin, healthy, unhealthy
from tests.scenarios.stage import ENDS, Container, Stage
from tests.scenarios.wire import Options, PluginError

PREFERS = Options(prefer=True)


def a_preference_is_followed(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"), *unhealthy("d3"), options=PREFERS)
    plugin.on_prefer = lambda asked: ["d1", "d2"]

    stage.ask("two", plugin.resource, 2).running()

    assert plugin.calls[-2:] == [prefer("d0", "d1", "d2", size=2), allocate("d1", "d2")]


def a_plugin_is_asked_even_where_there_is_no_choice(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"), options=PREFERS)

    stage.ask("two", plugin.resource, 2).running()

    assert plugin.calls[-2:] == [prefer("d0", "d1", size=2), allocate("d0", "d1")]


def ids_that_were_not_offered_are_ignored(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"), options=PREFERS)
    _hold(stage, plugin, "d0")
    plugin.on_prefer = lambda asked: ["d0", "unheard-of", "d2"]

    stage.ask("one", plugin.resource, 1).running()

    assert plugin.calls[-2:] == [prefer("d1", "d2", size=1), allocate("d2")]


def too_few_preferred_are_topped_up(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"), options=PREFERS)
    plugin.on_prefer = lambda asked: ["d1"]

    stage.ask("two", plugin.resource, 2).running()

    assert plugin.calls[-1] == allocate("d0", "d1")


def no_preference_is_none(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"), options=PREFERS)
    plugin.on_prefer = lambda asked: []

    stage.ask("one", plugin.resource, 1).running()

    assert plugin.calls[-2:] == [prefer("d0", size=1), allocate("d0")]


def more_preferred_than_needed_are_not_all_given(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"), options=PREFERS)
    plugin.on_prefer = lambda asked: ["d0", "d2"]

    stage.ask("one", plugin.resource, 1).running()

    assert plugin.calls[-1] in (allocate("d0"), allocate("d2"))


def a_preference_that_fails_refuses_the_pod(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"), options=PREFERS)

    def fail(_: Prefer) -> Sequence[str]:
        raise PluginError("cannot decide")

    plugin.on_prefer = fail

    assert stage.ask("one", plugin.resource, 1).refused() == stage.refusal(
        "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = cannot decide"
    )


def devices_that_are_lent_must_be_included(stage: Stage) -> None:
    """A plugin is not asked where those suffice; else it is asked for the whole, these among it."""
    plugin = stage.registered(*healthy("d0", "d1", "d2", "d3"), options=PREFERS)
    plugin.on_prefer = lambda asked: [*asked.must_include, *reversed(asked.available)]
    init = [Container(name, {plugin.resource: count}, command=ENDS) for name, count in (("i1", 2), ("i2", 2))]

    stage.admit("lent", Container("c", {plugin.resource: 3}), init=init).running()

    assert plugin.calls[-5:-3] == [prefer("d0", "d1", "d2", "d3", size=2), allocate(*plugin.allocated()[0])]
    first, second, _ = plugin.allocated()
    assert first == second
    assert plugin.calls[-2] == prefer("d0", "d1", "d2", "d3", must_include=first, size=3)
    assert set(first) < set(plugin.allocated()[2])


def _hold(stage: Stage, plugin: ScriptedPlugin, device: str) -> None:
    plugin.on_prefer = lambda asked: [device]
    stage.ask("holder", plugin.resource, 1).running()
