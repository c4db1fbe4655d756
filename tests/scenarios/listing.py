"""Lists of devices, and what the node's status makes of them."""

from tests.scenarios.calls import Watch, WatchEnded
from tests.scenarios.observed import Resource
from tests.scenarios.plugin import healthy, unhealthy
from tests.scenarios.stage import Stage
from tests.scenarios.wire import Device

TOO_MANY = [f"{number:0100}" for number in range(45_000)]  # 4.8 MB of ids


def before_the_first_list_there_is_no_resource(stage: Stage) -> None:
    plugin = stage.plugin()
    plugin.hold_back()
    assert plugin.register() == ""
    stage.asked(plugin, Watch)
    stage.kubelet.settle()

    stage.until(plugin.resource, None)


def an_empty_list_makes_a_resource_of_none(stage: Stage) -> None:
    plugin = stage.plugin()

    assert plugin.register() == ""

    stage.until(plugin.resource, Resource(0, 0))


def each_list_replaces_the_one_before(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1", "d2"))

    plugin.offer(*healthy("d2"))
    stage.until(plugin.resource, Resource(1, 1))
    plugin.offer(*healthy("d3", "d4"))
    stage.until(plugin.resource, Resource(2, 2))
    plugin.offer()
    stage.until(plugin.resource, Resource(0, 0))


def unhealthy_devices_count_as_capacity(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0", "d1"))

    plugin.offer(*healthy("d0"), *unhealthy("d1"))
    stage.until(plugin.resource, Resource(2, 1))
    plugin.offer(*unhealthy("d0", "d1"))
    stage.until(plugin.resource, Resource(2, 0))
    plugin.offer(*healthy("d0", "d1"))
    stage.until(plugin.resource, Resource(2, 2))


def only_one_word_is_healthy(stage: Stage) -> None:
    words = ("Healthy", "healthy", "", "HEALTHY", "Sick")
    plugin = stage.plugin(*(Device(f"d{number}", word) for number, word in enumerate(words)))

    assert plugin.register() == ""

    stage.until(plugin.resource, Resource(5, 1))


def an_id_listed_twice_with_unlike_health_counts_twice(stage: Stage) -> None:
    """And it can be had; one listed twice alike counts once."""
    plugin = stage.plugin(*healthy("d0"), *unhealthy("d0", "d1"), *healthy("d1", "d2", "d2"))

    assert plugin.register() == ""
    stage.until(plugin.resource, Resource(5, 3))

    stage.ask("three", plugin.resource, 3).running()


def an_empty_id_is_an_id(stage: Stage) -> None:
    plugin = stage.plugin(*healthy(""))

    assert plugin.register() == ""

    stage.until(plugin.resource, Resource(1, 1))


def a_list_beyond_four_mebibytes_ends_the_stream(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))

    plugin.offer(*healthy(*TOO_MANY))

    stage.asked(plugin, WatchEnded)
    stage.until(plugin.resource, Resource(1, 0))


def ten_thousand_devices(stage: Stage) -> None:
    stage.registered(*healthy(*(f"d{number}" for number in range(10_000))))
