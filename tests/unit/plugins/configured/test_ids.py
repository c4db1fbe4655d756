from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet_plugin import cdi
from kubelet_plugin.discovery.sysfs import SysfsDevice
from kubelet_plugin.plugins.configured import ids
from tests.fake_node import FakeNode

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: name not in {".", ".."}
)
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/dev/" + "/".join(parts))


@pytest.mark.parametrize(
    ("path", "device_id"),
    [
        ("/dev/kvm", "kvm"),
        ("/dev/ttyUSB10", "ttyUSB10"),
        ("/dev/net/tun", "net-tun"),
        ("/dev/bus/usb/001/004", "bus-usb-001-004"),
        ("/dev/serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0", "usb-FTDI_FT232R_A50285BI-if00-port0"),
        ("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0", "pci-0000:00:14.0-usb-0:1:1.0-video-index0"),
        ("/dev/disk/by-label/a/b", "a-b"),
        ("/srv/devices/x", "srv-devices-x"),
    ],
)
def test_a_node_is_named_after_its_path_below_dev(path: str, device_id: str) -> None:
    assert ids.of_path(path) == device_id


@given(paths)
def test_every_path_has_an_id_that_is_legal_in_cdi(path: str) -> None:
    cdi.validate_device_name(ids.of_path(path))


@given(paths)
def test_no_id_looks_like_a_share_of_another_device(path: str) -> None:
    assert "::" not in ids.of_path(path)


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_that_are_not_legal_stay_distinct(one: str, other: str) -> None:
    assert (ids.legal(one) == ids.legal(other)) == (one == other)


def test_what_udev_escaped_is_told_apart() -> None:
    assert ids.of_path(r"/dev/disk/by-label/a\x20b") != ids.of_path(r"/dev/disk/by-label/a\x21b")


def test_a_part_is_named_by_the_nearest_thing_whose_name_stays(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    soc = "devices/platform/soc"
    node.device(soc, subsystem="platform")
    node.device(f"{soc}/fe004000.v3d", subsystem="platform")
    node.device(f"{soc}/fe004000.v3d/drm/renderD128", subsystem="drm", node="dri/renderD128", number=91)
    usb = node.usb(serial="X")
    card = node.pci("0000:00:02.0", "1af4", "1050", "030000")
    node.device(f"{card}/virtio3", subsystem="virtio")
    node.device(f"{card}/virtio3/drm/renderD129", subsystem="drm", node="dri/renderD129", number=92)
    node.device("devices/virtual/foo/foo0", subsystem="foo", node="foo0", number=93)
    paths = {
        f"{soc}/fe004000.v3d/drm/renderD128": "fe004000.v3d",
        f"{usb}/1-1.2:1.0/ttyUSB0": "0403-6001-X",
        f"{card}/virtio3/drm/renderD129": "0000:00:02.0",
        "devices/virtual/foo/foo0": "foo0",
    }
    assert [ids.of_parent(SysfsDevice(str(node.sys), path)) for path in paths] == [*paths.values()]
