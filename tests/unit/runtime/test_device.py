from dataclasses import replace

import pytest

from kubelet_plugin.discovery import Node
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime import Device, Health


def node(*, present: bool = True, mode: int = 0o660, reason: str = "") -> Node:
    return Node("/dev/kvm", present=present, mode=mode, uid=0, gid=107, healthy=not reason, reason=reason)


def test_one_share_is_the_device_itself() -> None:
    assert Device("kvm0").shared(1) == (Device("kvm0"),)


def test_shares_among_none_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="give 1 or more"):
        Device("kvm0").shared(0)


def test_shares_have_ids_of_their_own_and_one_name_in_cdi() -> None:
    shares = Device("kvm0").shared(2)
    assert [(share.id, share.cdi_name) for share in shares] == [("kvm0::0", "kvm0"), ("kvm0::1", "kvm0")]


def test_more_shares_keep_the_ids_of_fewer() -> None:
    assert Device("kvm0").shared(5)[:2] == Device("kvm0").shared(2)


def test_a_node_becomes_a_device_with_the_nodes_mode_and_no_owner() -> None:
    (edit,) = Device.from_node("kvm0", node(mode=0o600)).edits.device_nodes
    assert (edit.path, edit.file_mode, edit.uid, edit.gid, edit.permissions) == ("/dev/kvm", 0o600, None, None, "rw")


def test_an_absent_node_becomes_an_unhealthy_device_with_a_mode_all_the_same() -> None:
    device = Device.from_node("kvm0", node(present=False, mode=0, reason="absent"))
    assert (device.health, device.reason) == (Health.UNHEALTHY, "absent")
    assert device.edits.device_nodes[0].file_mode == 0o660


def test_a_symbolic_link_is_offered_under_its_own_path_and_leads_to_the_node() -> None:
    link = Node("/dev/by-id", True, 0o660, 0, 0, healthy=True, reason="", target="/dev/ttyUSB0")
    (edit,) = Device.from_node("by-id", link).edits.device_nodes
    assert (edit.path, edit.host_path) == ("/dev/by-id", "/dev/ttyUSB0")


def test_a_symbolic_link_is_kept_as_the_stable_way_to_its_node() -> None:
    link = Node("/dev/by-id", True, 0o660, 0, 0, healthy=True, reason="", target="/dev/ttyUSB0")
    assert Device.from_node("by-id", link).links == (("/dev/ttyUSB0", "/dev/by-id"),)
    assert Device.from_node("kvm0", node()).links == ()


def test_shares_are_as_the_device_is() -> None:
    device = Device("a", numa_nodes=(1,), grace=5.0, annotations=(("key", "value"),), links=(("/dev/b", "/dev/a"),))
    for share in device.shared(2):
        assert replace(share, id="a", cdi_device="") == device
