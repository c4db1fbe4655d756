import os
from pathlib import Path

import pytest

from kubelet_plugin.cli import matching, subjects
from tests.fake_node import FakeNode

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")


@pytest.mark.parametrize(
    ("name", "others", "pattern"),
    [
        ("ttyUSB0", [], "ttyUSB*"),
        ("ttyUSB10", ["ttyUSB2"], "ttyUSB*"),
        ("bus/usb/001/004", [], "bus/usb/*/*"),
        ("dri/renderD128", ["dri/card0"], "dri/renderD*"),
        ("hpet", [], "hpet"),
        ("nvme0n1", ["nvme0n1p1"], "nvme*n[0-9]"),
        ("nvme0n12", ["nvme0n12p1"], "nvme0n12"),
        ("vda", ["vda1"], "vda"),
        ("odd[0]", [], "odd[[]*]"),
    ],
)
def test_a_glob_of_nodes_fits_those_of_the_same_kind_alone(name: str, others: list[str], pattern: str) -> None:
    assert matching._pattern(name, [name, *others]) == pattern


@as_root
def test_a_device_without_hardware_is_virtual(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.device("devices/virtual/misc/kvm", subsystem="misc", node="kvm", number=1)
    node.device("devices/platform/serial0", subsystem="tty", node="ttyS0", number=2)
    assert subjects.find("kvm", node.roots).is_virtual
    assert not subjects.find("ttyS0", node.roots).is_virtual


def test_a_name_that_many_devices_have_means_one_with_a_node(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.device("devices/a/ttyUSB0", subsystem="usb", node="modem/0", number=1)
    node.device("devices/b/ttyUSB0", subsystem="tty")
    assert subjects.find("ttyUSB0", node.roots).paths == {"/dev/modem/0"}
