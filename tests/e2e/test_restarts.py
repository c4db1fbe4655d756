"""Kubelets and plugins come and go; devices stay usable."""

import pytest

from tests.e2e.node import KVM, Node, Plugins

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("kvm")]

WORKS = "api=12 vm=ok"
SHARED = ("kvm0::0", "kvm0::1")


def restart_kubelet(node: Node, stop: str) -> None:
    """Restart the kubelet; wait until the plugin has told the new one of its devices."""
    node.control(stop)
    written, _ = node.checkpoint()
    node.control("kubelet-start")
    node.until_healthy(KVM, *SHARED, since=written)


def test_a_pod_gets_its_device_after_two_kubelet_restarts(node: Node, plugin: Plugins) -> None:
    plugin("kvm", "--count", "2").serving(KVM, *SHARED)
    for stop in ("kubelet-stop", "kubelet-kill9"):
        restart_kubelet(node, stop)

    assert node.start("after", {KVM: 1}).running().kvm() == WORKS


def test_a_running_pod_goes_on_through_a_kubelet_restart(node: Node, plugin: Plugins) -> None:
    plugin("kvm", "--count", "2").serving(KVM, *SHARED)
    pod = node.start("through", {KVM: 1}).running()
    container = pod.container()

    restart_kubelet(node, "kubelet-stop")

    assert (pod.container(), pod.kvm()) == (container, WORKS)


def test_a_pod_goes_on_while_the_plugin_is_killed_and_started_again(node: Node, plugin: Plugins) -> None:
    first = plugin("kvm", "--count", "2").serving(KVM, *SHARED)
    pod = node.start("holder", {KVM: 1}).running()
    container = pod.container()

    first.kill()
    plugin("kvm", "--count", "2").serving(KVM, *SHARED)

    assert (pod.container(), pod.kvm()) == (container, WORKS)


def test_a_plugin_started_again_after_sigkill_serves_the_next_pod(node: Node, plugin: Plugins) -> None:
    first = plugin("kvm", "--count", "2").serving(KVM, *SHARED)
    node.start("holder", {KVM: 1}).running()
    first.kill()
    plugin("kvm", "--count", "2").serving(KVM, *SHARED)

    assert node.start("next", {KVM: 1}).running().kvm() == WORKS


def test_a_plugin_may_be_there_before_the_kubelet(node: Node, plugin: Plugins) -> None:
    node.control("kubelet-stop")
    early = plugin("kvm")
    socket = node.plugins / "github.com.ihcsim.kvm.sock"
    node.eventually("the plugin to serve", lambda: True if socket.exists() else None)

    node.control("kubelet-start")
    early.serving(KVM, "kvm0")

    assert node.start("late", {KVM: 1}).running().kvm() == WORKS


def test_a_pod_goes_on_after_sigterm(node: Node, plugin: Plugins) -> None:
    ending = plugin("kvm").serving(KVM, "kvm0")
    pod = node.start("holder", {KVM: 1}).running()
    container = pod.container()

    ending.terminate()

    assert (pod.container(), pod.kvm()) == (container, WORKS)


def test_sigterm_ends_the_plugin_within_a_second(node: Node, plugin: Plugins) -> None:
    status, seconds = plugin("kvm").serving(KVM, "kvm0").terminate()

    assert (status, seconds < 1) == (0, True)


def test_sigterm_removes_the_socket(node: Node, plugin: Plugins) -> None:
    plugin("kvm").serving(KVM, "kvm0").terminate()

    assert not (node.plugins / "github.com.ihcsim.kvm.sock").exists()
