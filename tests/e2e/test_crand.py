"""Sample devices are shared out among pods, and come and go at run time."""

import pytest

from tests.e2e.node import CRAND, Node, Plugins

pytestmark = pytest.mark.timeout(180)


def test_two_devices_go_to_two_pods(node: Node, plugin: Plugins) -> None:
    plugin("crand").serving(CRAND, "crand0", "crand1")

    pods = [node.start(name, {CRAND: 1}) for name in ("one", "two")]

    assert sorted(pod.running().devices() for pod in pods) == [["crand0"], ["crand1"]]


def test_a_pod_reads_from_its_device(node: Node, plugin: Plugins) -> None:
    plugin("crand").serving(CRAND, "crand0", "crand1")

    pod = node.start("reader", {CRAND: 1}).running()

    assert pod.exec("sh", "-c", "head -c 16 /dev/crand* | wc -c").text == "16"


def test_a_pod_beyond_the_devices_is_refused_with_the_kubelets_reason(node: Node, plugin: Plugins) -> None:
    plugin("crand").serving(CRAND, "crand0", "crand1")
    for name in ("one", "two"):
        node.start(name, {CRAND: 1}).running()

    refusal = node.start("three", {CRAND: 1}).refusal()

    assert refusal.reason == "UnexpectedAdmissionError"
    assert f"requested number of devices unavailable for {CRAND}. Requested: 1, Available: 0" in refusal.message


def test_a_device_is_unplugged_and_back(node: Node, plugin: Plugins) -> None:
    plugin("crand").serving(CRAND, "crand0", "crand1")

    node.unplug("crand1")
    node.until_healthy(CRAND, "crand0")
    node.plug("crand1")
    node.until_healthy(CRAND, "crand0", "crand1")


def test_a_pod_gets_the_device_that_is_left(node: Node, plugin: Plugins) -> None:
    plugin("crand").serving(CRAND, "crand0", "crand1")
    node.unplug("crand0")
    node.until_healthy(CRAND, "crand1")

    assert node.start("left", {CRAND: 1}).running().devices() == ["crand1"]
