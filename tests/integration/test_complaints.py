"""What users of other plugins complained of and a configuration cures, each named where it is shown cured.

Those that need a real kubelet to be shown are in tests/e2e/test_configuration.py.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.config import load
from kubelet_plugin.discovery import Roots
from kubelet_plugin.plugins.configured import ConfiguredPlugin
from kubelet_plugin.testing import Kubelet, pod
from tests.fake_node import FakeNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")

THING = "example.com/thing"
FTDI = "devices: [{usb: {vendor: 0403, product: 6001}, nodes: [ttyUSB*]}]"


@pytest.fixture
def node(kubelet: Kubelet, tmp_path: Path) -> FakeNode:
    node = FakeNode(tmp_path)
    kubelet.host_root = tmp_path
    return node


@contextmanager
def served(kubelet: Kubelet, node: FakeNode, text: str) -> Iterator[ConfiguredPlugin]:
    """A resource with these fields, served to the kubelet."""
    file = node.place / "resources.yaml"
    lines = "\n".join("    " + line for line in text.strip("\n").splitlines())
    file.write_text(f"version: v1\nresources:\n  - name: thing\n{lines}\n")
    (resource,) = load([str(file)], domain="example.com")
    with kubelet.plugin(ConfiguredPlugin(resource, roots=node.roots)) as plugin:
        yield plugin


def given(kubelet: Kubelet, name: str = "pod", count: int = 1) -> list[dict[str, Any]]:
    """The device nodes that a new pod's container is given."""
    config = kubelet.admit(pod({THING: count}, name=name)).container().config
    assert config
    return [*config["linux"]["devices"]]


def uevent(node: FakeNode) -> None:
    """Let the plugin look, as the kernel's event does, which a directory cannot send."""
    (node.dev / "hint").unlink(missing_ok=True)
    (node.dev / "hint").touch()


def test_a_usb_adapter_gives_its_tty_and_not_the_raw_bus(kubelet: Kubelet, node: FakeNode) -> None:
    """squat#60, squat#65: a USB match gives /dev/bus/usb, while users need /dev/ttyUSB0."""
    node.usb(serial="X", nodes=["ttyUSB3"])
    with served(kubelet, node, FTDI):
        kubelet.wait_for(THING, allocatable=1)
        assert [each["path"] for each in given(kubelet)] == ["/dev/ttyUSB3"]


def test_an_input_device_is_found_by_the_usb_device_it_belongs_to(kubelet: Kubelet, node: FakeNode) -> None:
    """squat#78: /dev/input by the id of the USB parent."""
    node.usb("1-1", vendor="046d", product="c31c", nodes=["input/event4"])
    node.usb("1-2", vendor="1234", product="5678", nodes=["input/event5"])
    text = "devices: [{usb: {vendor: 046d, product: c31c}, nodes: ['input/*'], container_path: /dev/input/}]"
    with served(kubelet, node, text):
        kubelet.wait_for(THING, allocatable=1)
        assert [each["path"] for each in given(kubelet)] == ["/dev/input/event4"]


def test_two_identical_adapters_are_two_devices(kubelet: Kubelet, node: FakeNode) -> None:
    """kubevirt#9382: identical USB devices cannot be had one by one; squat makes one device of them."""
    node.usb("1-1", nodes=["ttyUSB0"])
    node.usb("1-2", nodes=["ttyUSB1"])
    with served(kubelet, node, FTDI):
        kubelet.wait_for(THING, allocatable=2)
        paths = [each["path"] for name in ("one", "two") for each in given(kubelet, name)]
        assert sorted(paths) == ["/dev/ttyUSB0", "/dev/ttyUSB1"]


def test_an_adapter_is_plugged_in_while_it_runs(kubelet: Kubelet, node: FakeNode) -> None:
    """kubevirt#11979, squat#22: no USB hot-plug; a pod waits for ever for an adapter that came late."""
    with served(kubelet, node, "devices: [{path: '/dev/ttyUSB*'}]"):
        kubelet.wait_for(THING, allocatable=0)
        node.char("ttyUSB0")
        kubelet.wait_for(THING, allocatable=1)


def test_an_adapter_that_moves_to_another_port_is_the_same_device(kubelet: Kubelet, node: FakeNode) -> None:
    """akri#734, squat#74: replugged, it is a new device, and the pod's is lost."""
    node.usb("1-1", serial="X", nodes=["ttyUSB0"])
    with served(kubelet, node, FTDI.replace("]}]", "]}, {path: '/dev/hint*'}]")):
        kubelet.wait_for(THING, allocatable=1)
        before = kubelet.devices(THING)
        node.unplug("devices/pci0000:00/0000:00:14.0/usb1/1-1")
        uevent(node)
        kubelet.wait_for(THING, allocatable=0)
        node.usb("1-4", serial="X", nodes=["ttyUSB5"])
        uevent(node)
        kubelet.wait_for(THING, allocatable=1)
        assert kubelet.devices(THING) == before
        assert [each["path"] for each in given(kubelet)] == ["/dev/ttyUSB5"]


def test_a_node_goes_into_a_directory_of_the_container(kubelet: Kubelet, node: FakeNode) -> None:
    """squat PR#134: a mountPath that is a directory."""
    node.char("video0")
    with served(kubelet, node, "container_path: /dev/cameras/\ndevices: [{path: '/dev/video*'}]"):
        kubelet.wait_for(THING, allocatable=1)
        assert [each["path"] for each in given(kubelet)] == ["/dev/cameras/video0"]


def test_a_lost_device_does_not_make_suggestions_fail_for_the_rest(kubelet: Kubelet, node: FakeNode) -> None:
    """NVIDIA#2038, NVIDIA#231: one lost GPU makes GetPreferredAllocation fail for the whole node."""
    for number in range(3):
        node.char(f"gpu{number}")
    with served(kubelet, node, "preferred: packed\ndevices: [{path: '/dev/gpu*'}]"):
        kubelet.wait_for(THING, allocatable=3)
        node.remove("gpu1")
        kubelet.wait_for(THING, capacity=3, allocatable=2)
        assert {*kubelet.get_preferred_allocation(THING, ["gpu0", "gpu2", "never-was"], 2)} == {"gpu0", "gpu2"}
        assert len(given(kubelet, count=2)) == 2


def test_a_device_that_was_lost_is_healthy_again_by_itself(kubelet: Kubelet, node: FakeNode) -> None:
    """NVIDIA#111, #189, #415: Unhealthy until the plugin is restarted."""
    node.char("gpu0")
    with served(kubelet, node, "devices: [{path: /dev/gpu0}]"):
        kubelet.wait_for(THING, allocatable=1)
        node.remove("gpu0")
        kubelet.wait_for(THING, allocatable=0)
        node.char("gpu0")
        kubelet.wait_for(THING, allocatable=1)


def test_one_device_is_never_two_because_two_paths_lead_to_it(kubelet: Kubelet, node: FakeNode) -> None:
    """NVIDIA#536: the same device is given twice."""
    node.char("ttyUSB0")
    node.link("serial/by-id/usb-x", "../../ttyUSB0")
    with served(kubelet, node, "devices: [{path: '/dev/serial/by-id/*'}, {path: '/dev/ttyUSB*'}]"):
        kubelet.wait_for(THING, allocatable=1)
        assert [*kubelet.devices(THING)] == ["usb-x"]


def test_two_devices_for_one_place_of_a_container_are_refused_with_the_reason(kubelet: Kubelet, node: FakeNode) -> None:
    """squat's mountPath for a glob: of two devices in one container one was hidden in silence."""
    for number in range(3):
        node.char(f"ttyUSB{number}")
    with served(kubelet, node, "devices: [{path: '/dev/ttyUSB*', container_path: /dev/modem}]"):
        kubelet.wait_for(THING, allocatable=3)
        refused = kubelet.admit(pod({THING: 2}, name="two"))
        assert "/dev/modem in the container is ttyUSB" in refused.message
        assert [each["path"] for each in given(kubelet, "one")] == ["/dev/modem"]


def test_a_pod_is_given_the_configured_annotations_and_variables(kubelet: Kubelet, node: FakeNode) -> None:
    """akri offers a device's properties as variables; others have none."""
    node.device("devices/virtual/foo/foo0", subsystem="foo", node="foo0", number=9, properties={"ID_SERIAL": "S1"})
    text = 'env: {FOO_SERIAL: "{ID_SERIAL}"}\ndevices: [{sysfs: {subsystem: foo}}]'
    with served(kubelet, node, text):
        kubelet.wait_for(THING, allocatable=1)
        config = kubelet.admit(pod({THING: 1})).container().config
        assert config
        assert "FOO_SERIAL=S1" in config["process"]["env"]


def test_a_pty_is_lost_with_its_other_end_and_found_again_behind_its_link(kubelet: Kubelet, tmp_path: Path) -> None:
    """NVIDIA#189: what is lost comes back only with a restart. The node is a real one, of a driver that is at work."""
    node = FakeNode(tmp_path)
    stable = tmp_path / "modem"

    def plug() -> int:
        master, slave = os.openpty()
        part = tmp_path / ".modem"
        part.symlink_to(os.ttyname(slave))
        part.rename(stable)
        os.close(slave)
        return master

    file = tmp_path / "resources.yaml"
    file.write_text(
        f"version: v1\nresources:\n  - {{name: thing, devices: [{{path: {stable}, id: modem, probe: open}}]}}\n"
    )
    (resource,) = load([str(file)], domain="example.com")
    master = plug()
    with kubelet.plugin(ConfiguredPlugin(resource, roots=Roots(sysfs=str(node.sys)))):
        kubelet.wait_for(THING, allocatable=1)
        os.close(master)
        kubelet.wait_for(THING, capacity=1, allocatable=0)
        master = plug()
        kubelet.wait_for(THING, allocatable=1)
        os.close(master)
