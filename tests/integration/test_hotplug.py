"""From a device node to the kubelet: nodes that come and go while pods hold them. No root: links stand for nodes."""

import os
from pathlib import Path

import pytest

from kubelet_plugin.kubelet import Phase
from kubelet_plugin.plugins.crand import CrandPlugin
from kubelet_plugin.plugins.kvm import KvmPlugin
from kubelet_plugin.testing import Kubelet, pod

CRAND, KVM = "github.com.ihcsim/crand", "github.com.ihcsim/kvm"


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    return tmp_path / "dev"


def plug(node: Path) -> None:
    node.symlink_to(os.path.relpath("/dev/random", node.parent))


def crand(dev: Path) -> CrandPlugin:
    return CrandPlugin(host_root=str(dev.parent))


def test_a_node_that_is_plugged_in_can_be_had(kubelet: Kubelet, dev: Path) -> None:
    with kubelet.plugin(crand(dev)):
        kubelet.wait_for(CRAND, capacity=0)
        plug(dev / "crand0")
        kubelet.wait_for(CRAND, allocatable=1)


def test_a_node_that_is_unplugged_cannot_be_had_until_it_is_back(kubelet: Kubelet, dev: Path) -> None:
    plug(dev / "crand0")
    with kubelet.plugin(crand(dev)):
        kubelet.wait_for(CRAND, allocatable=1)
        (dev / "crand0").unlink()
        kubelet.wait_for(CRAND, capacity=1, allocatable=0)
        plug(dev / "crand0")
        kubelet.wait_for(CRAND, allocatable=1)


def test_a_pod_whose_device_is_unplugged_runs_on(kubelet: Kubelet, dev: Path) -> None:
    plug(dev / "crand0")
    with kubelet.plugin(crand(dev)):
        kubelet.wait_for(CRAND, allocatable=1)
        kubelet.admit(pod({CRAND: 1}))
        (dev / "crand0").unlink()
        kubelet.wait_for(CRAND, allocatable=0)
        assert kubelet.pod_status("pod").phase is Phase.RUNNING


def test_a_pod_is_not_admitted_while_the_device_is_away(kubelet: Kubelet, dev: Path) -> None:
    with kubelet.plugin(KvmPlugin(host_root=str(dev.parent))):
        kubelet.wait_for(KVM, capacity=1, allocatable=0)
        status = kubelet.admit(pod({KVM: 1}))
    assert status.reason == "UnexpectedAdmissionError"
    assert f"no healthy devices present; cannot allocate unhealthy devices {KVM}" in status.message


def test_a_device_that_a_pod_holds_outlives_its_grace(kubelet: Kubelet, dev: Path) -> None:
    for number in range(2):
        plug(dev / f"crand{number}")
    plugin = crand(dev)
    plugin.grace = 0.05
    with kubelet.plugin(plugin):
        kubelet.wait_for(CRAND, allocatable=2)
        (held,) = kubelet.admit(pod({CRAND: 1})).container().devices[CRAND]
        for number in range(2):
            (dev / f"crand{number}").unlink()
        kubelet.wait_for(CRAND, capacity=1)  # the other one is forgotten
        assert kubelet.devices(CRAND) == {held: "Unhealthy"}
