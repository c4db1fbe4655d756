import re
from pathlib import Path

import pytest

from kubelet_plugin.config import checking
from kubelet_plugin.config.loading import load
from kubelet_plugin.config.presets import PRESETS, preset
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.plugins.configured import ConfiguredPlugin
from kubelet_plugin.runtime import Device, Health
from tests.asynchronous import asynchronous
from tests.fake_node import FakeNode

PAGE = (Path(__file__).parents[3] / "docs/reference/presets.md").read_text()
ROWS = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGE, re.MULTILINE))
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


async def offered(name: str, node: FakeNode) -> dict[str, Device]:
    lists = ConfiguredPlugin(preset(name, "vendor.example"), roots=node.roots).observe()
    try:
        return {each.device.id: each.device for each in await anext(lists)}
    finally:
        await lists.aclose()


def given(device: Device) -> dict[str, str]:
    return {each.path: each.permissions for each in device.edits.device_nodes}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_without_fault(name: str) -> None:
    assert [*checking.faults(preset(name, "vendor.example"))] == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lets_no_container_make_nodes(name: str) -> None:
    resource = PRESETS[name]
    assert {resource.permissions, *(device.permissions for device in resource.devices)} <= {None, "r", "rw"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_its_row_in_the_reference(name: str) -> None:
    resource_name, _, count, _ = ROWS[name].split(" | ", maxsplit=3)
    assert resource_name == f"`DOMAIN/{name}`"
    assert count == str(PRESETS[name].count or 1)


def test_the_reference_has_no_row_too_many() -> None:
    assert set(ROWS) == set(PRESETS)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_of_the_reference_is_without_fault(text: str, tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(text)
    assert load([str(file)], domain="vendor.example")


def test_a_preset_gets_its_domain() -> None:
    assert preset("vhost-net", "vendor.example").name == "vendor.example/vhost-net"


def test_an_unknown_preset_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="no preset 'kmv'; there are dri, fuse"):
        preset("kmv", "vendor.example")


@asynchronous
@pytest.mark.parametrize(
    ("name", "device_id", "path"),
    [
        ("kvm", "kvm0", "/dev/kvm"),
        ("fuse", "fuse", "/dev/fuse"),
        ("tun", "tun", "/dev/net/tun"),
        ("vhost-net", "vhost-net", "/dev/vhost-net"),
        ("vhost-vsock", "vhost-vsock", "/dev/vhost-vsock"),
        ("tpm", "tpmrm0", "/dev/tpmrm0"),
    ],
)
async def test_a_single_node_is_listed_even_while_it_is_absent(
    name: str, device_id: str, path: str, node: FakeNode
) -> None:
    (device,) = (await offered(name, node)).values()
    assert (device.id, given(device)) == (device_id, {path: "rw"})


def test_kvm_is_offered_only_while_it_answers() -> None:
    assert PRESETS["kvm"].probe == "kvm"


@asynchronous
async def test_a_serial_adapter_is_known_by_the_name_that_stays(node: FakeNode) -> None:
    node.char("ttyUSB3")
    node.link("serial/by-id/usb-FTDI_FT232R_A1-if00-port0", "../../ttyUSB3")
    assert [*await offered("serial", node)] == ["usb-FTDI_FT232R_A1-if00-port0"]


@asynchronous
async def test_a_camera_is_one_device_whatever_nodes_it_has(node: FakeNode) -> None:
    for index in (0, 1):
        node.char(f"video{index}")
        node.link(f"v4l/by-id/usb-cam-video-index{index}", f"../../video{index}")
    assert [*await offered("video", node)] == ["usb-cam-video-index0"]


@asynchronous
async def test_sound_is_all_nodes_of_all_cards_and_the_timer(node: FakeNode) -> None:
    for name in ("controlC0", "pcmC1D0p", "timer"):
        node.char(f"snd/{name}")
    for directory in ("by-id", "by-path"):
        node.link(f"snd/{directory}/card", "../controlC0")
    (device,) = (await offered("sound", node)).values()
    assert (device.id, device.health) == ("sound", Health.HEALTHY)
    assert [*given(device)] == ["/dev/snd/controlC0", "/dev/snd/pcmC1D0p", "/dev/snd/timer"]


@asynchronous
async def test_an_input_device_is_its_events_and_cannot_be_written(node: FakeNode) -> None:
    for target, name in (("event3", "usb-pad-event-joystick"), ("js0", "usb-pad-joystick")):
        node.char(f"input/{target}")
        node.link(f"input/by-id/{name}", f"../{target}")
    (device,) = (await offered("input", node)).values()
    assert given(device) == {"/dev/input/by-id/usb-pad-event-joystick": "r"}


@asynchronous
async def test_a_clock_is_known_by_its_number(node: FakeNode) -> None:
    node.char("rtc0")
    node.link("rtc", "rtc0")
    assert [*await offered("rtc", node)] == ["rtc0"]


@asynchronous
async def test_a_loop_device_is_one_and_its_partition_is_none_of_its_own(node: FakeNode) -> None:
    whole = "devices/virtual/block/loop0"
    node.device(whole, subsystem="block", attributes={"ext_range": "256"}, node="loop0", number=1)
    node.device(f"{whole}/loop0p1", subsystem="block", attributes={"partition": "1"}, node="loop0p1", number=2)
    node.device("devices/virtual/block/ram0", subsystem="block", attributes={"ext_range": "1"}, node="ram0", number=3)
    node.char("loop-control")
    (device,) = (await offered("loop", node)).values()
    assert (device.id, [*given(device)]) == ("loop0", ["/dev/loop0", "/dev/loop0p1"])


@asynchronous
async def test_a_gpu_renders_and_sets_no_modes(node: FakeNode) -> None:
    node.pci("0000:00:02.0", "8086", "56a0", "030000", nodes={"dri/card0": "drm", "dri/renderD128": "drm"})
    (device,) = (await offered("dri", node)).values()
    assert (device.id, [*given(device)]) == ("0000:00:02.0", ["/dev/dri/renderD128"])


@asynchronous
async def test_rdma_is_every_adapter_and_nothing_that_manages_the_fabric(node: FakeNode) -> None:
    for name in ("uverbs0", "uverbs1", "rdma_cm", "umad0", "issm0"):
        node.char(f"infiniband/{name}")
    (device,) = (await offered("rdma", node)).values()
    assert [*given(device)] == [f"/dev/infiniband/{name}" for name in ("uverbs0", "uverbs1", "rdma_cm")]


@asynchronous
async def test_rdma_works_without_the_connection_manager(node: FakeNode) -> None:
    node.char("infiniband/uverbs0")
    (device,) = (await offered("rdma", node)).values()
    assert device.health == Health.HEALTHY


@pytest.mark.parametrize("name", ["video", "dri"])
def test_programs_that_drop_root_may_open_cameras_and_gpus(name: str) -> None:
    assert PRESETS[name].additional_gids == "auto"
