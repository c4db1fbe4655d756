"""The hooks of a plugin: when the kubelet has them called, and what becomes of a pod when one fails."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import pytest

from kubelet_plugin import ContainerEdits, Device
from kubelet_plugin.kubelet import Phase, State
from kubelet_plugin.testing import Kubelet, pod
from tests.integration.offering import RESOURCE, Offering, things

ASKS = pod({RESOURCE: 1})


class Preferring(Offering):
    """Prefers the last ones."""

    async def preferred_allocation(
        self, available: Sequence[Device], must_include: Sequence[Device], size: int
    ) -> Sequence[Device]:
        others = [device for device in available if device not in must_include]
        return [*must_include, *sorted(others, key=lambda device: device.id, reverse=True)][:size]


class Preparing(Offering):
    """Remembers what it has prepared, and fails while it is told to."""

    fails = False

    def __init__(self, *devices: Device) -> None:
        super().__init__(*devices)
        self.prepared: list[list[str]] = []

    def pre_start_container(self, devices: Sequence[Device]) -> None:
        self.prepared.append([device.id for device in devices])
        if self.fails:
            raise OSError("busy")


def test_a_pod_gets_the_devices_that_the_plugin_prefers(kubelet: Kubelet) -> None:
    with kubelet.plugin(Preferring(*things(4))):
        kubelet.wait_for(RESOURCE)
        assert kubelet.admit(pod({RESOURCE: 2})).container().devices[RESOURCE] == ("thing2", "thing3")


def test_what_an_init_container_had_must_be_in_the_preference(kubelet: Kubelet) -> None:
    with kubelet.plugin(Preferring(*things(4))):
        kubelet.wait_for(RESOURCE)
        status = kubelet.admit(pod({RESOURCE: 3}, init={"init": {RESOURCE: 1}}))
        assert status.container().devices[RESOURCE] == ("thing1", "thing2", "thing3")


def test_a_preference_may_be_asked_for_without_any_pod(kubelet: Kubelet) -> None:
    with kubelet.plugin(Preferring(*things(4))):
        kubelet.wait_for(RESOURCE)
        chosen = kubelet.get_preferred_allocation(RESOURCE, ["thing0", "thing1", "thing2"], 2, must_include=["thing0"])
        assert chosen == ["thing0", "thing2"]


def test_devices_are_prepared_before_a_container_starts(kubelet: Kubelet) -> None:
    plugin = Preparing(*things(1))
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE)
        kubelet.admit(ASKS)
    assert plugin.prepared == [["thing0"]]


def test_devices_are_prepared_before_each_further_start(kubelet: Kubelet) -> None:
    plugin = Preparing(*things(1))
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE)
        kubelet.admit(ASKS)
        kubelet.restart_container("pod")
    assert len(plugin.prepared) == 2


def test_a_container_whose_devices_cannot_be_prepared_waits(kubelet: Kubelet) -> None:
    plugin = Preparing(*things(1))
    plugin.fails = True
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE)
        container = kubelet.admit(ASKS).container()
    assert (container.state, container.reason) == (State.WAITING, "CreateContainerConfigError")
    assert "pre_start_container(thing0) failed: it raised OSError: busy" in container.message


@pytest.mark.kubelet(manual_clock=True)
def test_a_container_that_waits_is_started_once_its_devices_can_be_prepared(kubelet: Kubelet) -> None:
    plugin = Preparing(*things(1))
    plugin.fails = True
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE)
        kubelet.admit(ASKS)
        plugin.fails = False
        kubelet.advance(60)
        kubelet.wait_until(lambda: kubelet.pod_status("pod").phase is Phase.RUNNING)


def test_an_allocation_that_raises_fails_the_pod_with_its_words(kubelet: Kubelet) -> None:
    class Failing(Offering):
        async def allocate(self, devices: Sequence[Device]) -> NoReturn:
            raise ValueError("no firmware")

    with kubelet.plugin(Failing(*things(1))):
        kubelet.wait_for(RESOURCE)
        status = kubelet.admit(ASKS)
    assert status.message == (
        "Pod was rejected: Allocate failed due to rpc error: code = Internal desc = example.com/thing: "
        "allocate(thing0) failed: it raised ValueError: no firmware, which is unexpected"
    )


def test_an_allocation_that_hangs_fails_the_pod_after_its_deadline(kubelet: Kubelet) -> None:
    class Hanging(Offering):
        async def allocate(self, devices: Sequence[Device]) -> ContainerEdits:
            await asyncio.Event().wait()
            return ContainerEdits()

    with kubelet.plugin(Hanging(*things(1)), hook_deadline=0.05):
        kubelet.wait_for(RESOURCE)
        assert "it was not done after 0.05 s" in kubelet.admit(ASKS).message


def test_after_a_hook_has_failed_lists_go_on(kubelet: Kubelet) -> None:
    plugin = Preparing(*things(1))
    plugin.fails = True
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE)
        kubelet.admit(ASKS)
        plugin.offer(*things(2))
        kubelet.wait_for(RESOURCE, allocatable=2)
