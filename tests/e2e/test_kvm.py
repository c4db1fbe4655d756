"""A pod that asks for a kvm device gets a /dev/kvm that works, without being privileged."""

import pytest

from tests.e2e.node import KVM, NOBODY, Node, Plugins, kubelet_minor

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("kvm")]

WORKS = "api=12 vm=ok"
REFUSED = "open: Permission denied"
# v1beta1 has cdi_devices from 1.28 on; older kubelets drop the field.
CDI_WAYS = ["cdi-annotation"] + (["cdi"] if kubelet_minor() >= 28 else [])


def test_a_pod_that_asks_for_kvm_can_create_a_virtual_machine(node: Node, plugin: Plugins) -> None:
    plugin("kvm").serving(KVM, "kvm0")

    assert node.start("kvm", {KVM: 1}).running().kvm() == WORKS


def test_a_pod_that_asks_for_nothing_has_no_kvm(node: Node, plugin: Plugins) -> None:
    plugin("kvm").serving(KVM, "kvm0")

    assert node.start("bare", {}).running().devices("kvm") == []


@pytest.mark.parametrize("way", CDI_WAYS)
@pytest.mark.parametrize("user", [0, NOBODY])
def test_kvm_works_by_cdi(node: Node, plugin: Plugins, way: str, user: int) -> None:
    plugin("kvm", "--inject", way).serving(KVM, "kvm0")

    assert node.start("cdi", {KVM: 1}, user).running().kvm() == WORKS


@pytest.mark.parametrize("way", CDI_WAYS)
def test_by_cdi_the_node_belongs_to_the_containers_user(node: Node, plugin: Plugins, way: str) -> None:
    plugin("kvm", "--inject", way).serving(KVM, "kvm0")

    pod = node.start("owner", {KVM: 1}, NOBODY).running()

    assert pod.exec("stat", "-c", "%u:%g %a", "/dev/kvm").text == f"{NOBODY}:{NOBODY} 600"


def test_kvm_works_by_device_spec_for_root(node: Node, plugin: Plugins) -> None:
    plugin("kvm", "--inject", "device-spec").serving(KVM, "kvm0")

    assert node.start("spec", {KVM: 1}).running().kvm() == WORKS


@pytest.mark.parametrize(("mode", "outcome"), [(0o600, REFUSED), (0o666, WORKS)], ids=["0600", "0666"])
def test_by_device_spec_the_hosts_mode_decides_for_others(node: Node, plugin: Plugins, mode: int, outcome: str) -> None:
    node.path("/dev/kvm").chmod(mode)
    plugin("kvm", "--inject", "device-spec").serving(KVM, "kvm0")

    assert node.start("spec", {KVM: 1}, NOBODY).running().kvm() == outcome
