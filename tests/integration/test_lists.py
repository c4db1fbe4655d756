"""The complete list of devices, whenever it has changed."""

import pytest

from kubelet_plugin import Device, Health
from kubelet_plugin.testing import Kubelet
from tests.integration.offering import RESOURCE, Offering, things

ONE, TWO = Device("one"), Device("two")


def test_a_change_is_sent_as_the_complete_list(kubelet: Kubelet) -> None:
    plugin = Offering(ONE)
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE, allocatable=1)
        plugin.offer(ONE, TWO)
        kubelet.wait_for(RESOURCE, allocatable=2)
        assert kubelet.lists(RESOURCE) == [{"one": "Healthy"}, {"one": "Healthy", "two": "Healthy"}]


def test_a_list_equal_to_the_last_is_not_sent(kubelet: Kubelet) -> None:
    plugin = Offering(ONE)
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE, allocatable=1)
        plugin.offer(ONE)
        plugin.offer(ONE, TWO)
        kubelet.wait_for(RESOURCE, allocatable=2)
        assert len(kubelet.lists(RESOURCE)) == 2


def test_an_unhealthy_device_is_there_but_cannot_be_had(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(ONE, Device("two", health=Health.UNHEALTHY, reason="unplugged"))):
        kubelet.wait_for(RESOURCE, capacity=2, allocatable=1)


def test_after_a_new_registration_the_list_is_sent_again(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(ONE)):
        kubelet.wait_for(RESOURCE, allocatable=1)
        kubelet.restart()
        kubelet.wait_for(RESOURCE, allocatable=1)
        assert kubelet.lists(RESOURCE) == [{"one": "Healthy"}] * 2


@pytest.mark.parametrize("count", [1, 1000, 10_000])
def test_any_number_of_devices_is_one_list(count: int, kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(count))):
        kubelet.wait_for(RESOURCE, capacity=count, allocatable=count)
        assert len(kubelet.lists(RESOURCE)) == 1


def test_a_list_larger_than_a_kubelet_takes_is_never_sent(kubelet: Kubelet) -> None:
    plugin = Offering(ONE)
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE, allocatable=1)
        plugin.offer(*(Device(f"device{number:057}") for number in range(60_000)))
        plugin.offer(ONE, TWO)
        kubelet.wait_for(RESOURCE, allocatable=2)
        assert len(kubelet.lists(RESOURCE)) == 2


def test_a_device_that_is_gone_stays_listed_as_unhealthy_for_its_grace(kubelet: Kubelet) -> None:
    plugin = Offering(ONE, TWO, grace=60)
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE, allocatable=2)
        plugin.offer(ONE)
        kubelet.wait_for(RESOURCE, capacity=2, allocatable=1)
        assert kubelet.devices(RESOURCE) == {"one": "Healthy", "two": "Unhealthy"}


def test_devices_that_raises_is_begun_anew(kubelet: Kubelet) -> None:
    class Failing(Offering):
        failed = False

        async def devices(self):  # type: ignore[no-untyped-def]
            if not self.failed:
                self.failed = True
                raise OSError("not yet")
            yield [ONE]

    with kubelet.plugin(Failing()):
        kubelet.wait_for(RESOURCE, allocatable=1)
