"""Devices that are close to some NUMA nodes."""

import pytest

from kubelet_plugin import Device
from kubelet_plugin.kubelet import Phase
from kubelet_plugin.testing import Kubelet, pod
from tests.integration.offering import RESOURCE, Offering

APART = [Device("a", numa_nodes=(0,)), Device("b", numa_nodes=(1,)), Device("c", numa_nodes=(1,))]
pytestmark = pytest.mark.kubelet(numa_nodes=(0, 1), topology_policy="single-numa-node")


def test_a_container_gets_devices_of_one_numa_node(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*APART)):
        kubelet.wait_for(RESOURCE)
        assert kubelet.admit(pod({RESOURCE: 2})).container().devices[RESOURCE] == ("b", "c")


def test_a_pod_that_no_numa_node_can_serve_is_refused(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*APART)):
        kubelet.wait_for(RESOURCE)
        assert kubelet.admit(pod({RESOURCE: 3})).reason == "TopologyAffinityError"


@pytest.mark.kubelet(topology_policy="none")
def test_without_a_policy_it_is_admitted(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*APART)):
        kubelet.wait_for(RESOURCE)
        assert kubelet.admit(pod({RESOURCE: 3})).phase is Phase.RUNNING
