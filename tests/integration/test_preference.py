"""Suggesting which devices go well together, and the kubelet following it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kubelet_plugin import Device
from kubelet_plugin.kubelet import Phase
from kubelet_plugin.plugins.preference import PREFERENCES, Preference, numa, packed, spread
from kubelet_plugin.testing import Kubelet, pod
from tests.integration.offering import RESOURCE, Offering

each = pytest.mark.parametrize("preference", PREFERENCES.values(), ids=PREFERENCES)


class Preferring(Offering):
    """Suggests what a preference says."""

    def __init__(self, preference: Preference, *devices: Device) -> None:
        super().__init__(*devices)
        self.preference = preference
        self.all = devices

    async def preferred_allocation(
        self, available: Sequence[Device], must_include: Sequence[Device], size: int
    ) -> Sequence[Device]:
        return self.preference(self.all, available, must_include, size)


def shares(*names: str, count: int = 4, numa_nodes: tuple[int, ...] = ()) -> list[Device]:
    return [share for name in names for share in Device(name, numa_nodes=numa_nodes).shared(count)]


def admit(kubelet: Kubelet, name: str, count: int) -> tuple[str, ...]:
    """Run a pod; returns the devices it has, without the numbers of their shares."""
    status = kubelet.admit(pod({RESOURCE: count}, name=name))
    assert status.phase is Phase.RUNNING, status
    return wholes(status.container().devices[RESOURCE])


def wholes(ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(device.partition("::")[0] for device in ids))


def test_packed_pods_share_one_device(kubelet: Kubelet) -> None:
    with kubelet.plugin(Preferring(packed, *shares("a", "b"))):
        kubelet.wait_for(RESOURCE, allocatable=8)
        assert {whole for number in range(2) for whole in admit(kubelet, f"pod{number}", 2)} == {"a"}
        assert admit(kubelet, "pod2", 2) == ("b", "b")


def test_packed_pods_fill_what_a_pod_before_has_left(kubelet: Kubelet) -> None:
    with kubelet.plugin(Preferring(packed, *shares("a", "b"))):
        kubelet.wait_for(RESOURCE, allocatable=8)
        admit(kubelet, "pod0", 3)
        assert admit(kubelet, "pod1", 2) == ("b", "b")
        kubelet.remove("pod1")
        assert admit(kubelet, "pod2", 1) == ("a",)


def test_spread_pods_have_shares_of_different_devices(kubelet: Kubelet) -> None:
    with kubelet.plugin(Preferring(spread, *shares("a", "b", "c"))):
        kubelet.wait_for(RESOURCE, allocatable=12)
        assert [admit(kubelet, f"pod{number}", 2) for number in range(3)] == [("a", "b"), ("a", "c"), ("b", "c")]


@pytest.mark.kubelet(numa_nodes=(0, 1))
def test_pods_have_devices_of_one_numa_node(kubelet: Kubelet) -> None:
    devices = [*shares("a", count=3, numa_nodes=(0,)), *shares("b", count=2, numa_nodes=(1,))]
    with kubelet.plugin(Preferring(numa, *devices)):
        kubelet.wait_for(RESOURCE, allocatable=5)
        assert [admit(kubelet, f"pod{number}", 2) for number in range(2)] == [("b", "b"), ("a", "a")]


@pytest.mark.kubelet(numa_nodes=(0, 1), topology_policy="single-numa-node")
def test_pods_have_devices_of_the_numa_node_that_the_kubelet_chose(kubelet: Kubelet) -> None:
    devices = [replace(share, numa_nodes=(1,)) for share in shares("b", "c")]
    with kubelet.plugin(Preferring(numa, *shares("a", count=1, numa_nodes=(0,)), *devices)):
        kubelet.wait_for(RESOURCE, allocatable=9)
        assert admit(kubelet, "pod", 2) == ("b", "c")


@pytest.mark.parametrize(
    ("preference", "expected"), [(packed, ("a", "a", "a")), (spread, ("a", "b", "c")), (numa, ("a", "b", "c"))]
)
def test_what_an_init_container_had_is_among_what_is_suggested(
    preference: Preference, expected: tuple[str, ...], kubelet: Kubelet
) -> None:
    with kubelet.plugin(Preferring(preference, *shares("a", "b", "c"))):
        kubelet.wait_for(RESOURCE, allocatable=12)
        status = kubelet.admit(pod({RESOURCE: 3}, init={"init": {RESOURCE: 1}}))
        (had,) = status.container("init").devices[RESOURCE]
        assert had in status.container().devices[RESOURCE]
        assert wholes(status.container().devices[RESOURCE]) == expected


@each
def test_an_id_that_is_listed_no_more_does_not_fail_the_call(preference: Preference, kubelet: Kubelet) -> None:
    with kubelet.plugin(Preferring(preference, *shares("a", count=3))):
        kubelet.wait_for(RESOURCE)
        available = ["gone::0", "gone::1", "a::1", "a::0"]
        assert kubelet.get_preferred_allocation(RESOURCE, available, 3, must_include=["gone::1", "a::1"]) == [
            "gone::1",
            "a::1",
            "a::0",
        ]


@each
def test_a_device_that_went_meanwhile_is_no_reason_to_refuse_a_pod(preference: Preference, kubelet: Kubelet) -> None:
    plugin = Preferring(preference, *shares("a", "b"))
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE, allocatable=8)
        plugin.offer(*shares("b"))
        kubelet.wait_for(RESOURCE, allocatable=4)
        assert admit(kubelet, "pod", 2) == ("b", "b")
