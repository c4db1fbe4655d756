"""`kubelet-plugin explain`: what a device is, and configurations that find it again."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kubelet_plugin.cli import main
from kubelet_plugin.config import load
from kubelet_plugin.plugins.configured import ConfiguredPlugin
from tests.fake_node import FakeNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes, which explain asks for")

LINKS = ["serial/by-id/usb-FTDI_A1-if00-port0", "serial/by-path/pci-0000:00:14.0-usb-0:1.2:1.0-port0"]


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path / "host")


def run(node: FakeNode, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["explain", "--host-root", str(node.place), *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def explain(node: FakeNode, *arguments: str | Path) -> Any:
    result = run(node, *arguments, "--output", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def failure(node: FakeNode, *arguments: str | Path) -> str:
    result = run(node, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr


def ways(node: FakeNode, *arguments: str | Path) -> dict[str, Any]:
    return {way["by"]: way for way in explain(node, *arguments)["configurations"]}


def offered(node: FakeNode, text: str) -> dict[str, list[str]]:
    """The devices that a configuration offers, by id, and their nodes."""
    path = node.place / "snippet.yaml"
    path.write_text(text)
    (resource,) = load([str(path)], domain="vendor.example")

    async def look() -> dict[str, list[str]]:
        async for observed in ConfiguredPlugin(resource, roots=node.roots).observe():
            return {each.device.id: [n.target or n.path for n in each.nodes] for each in observed}
        raise AssertionError

    return asyncio.run(look())


def serial(node: FakeNode) -> str:
    """Plug in an adapter that udev knows."""
    at = node.usb(serial="A1")
    for link in LINKS:
        node.link(link, "../../ttyUSB0")
    return at


def camera(node: FakeNode) -> str:
    """Plug in a camera without a serial number, with a node of pictures and one of metadata."""
    at = node.usb(vendor="046d", product="0825", nodes=[])
    for index in (0, 1):
        node.device(
            f"{at}/1-1.2:1.0/video4linux/video{index}",
            subsystem="video4linux",
            attributes={"index": str(index)},
            node=f"video{index}",
            number=50 + index,
        )
    return at


def card(node: FakeNode, address: str = "0000:00:02.0", minor: int = 128) -> None:
    node.pci(address, "8086", "56c0", "030000", 1, {f"dri/card{minor - 128}": "drm", f"dri/renderD{minor}": "drm"})


def virtual(node: FakeNode, name: str = "kvm") -> None:
    node.device(f"devices/virtual/misc/{name}", subsystem="misc", node=name, number=90)


# What it is.


def test_the_node_its_owner_and_its_links_are_shown(node: FakeNode) -> None:
    serial(node)
    (node.place / "etc").mkdir()
    (node.place / "etc/group").write_text("dialout:x:20:\n")
    os.chown(node.dev / "ttyUSB0", 0, 20)
    assert run(node, "/dev/ttyUSB0").stdout.splitlines()[:4] == [
        "/dev/ttyUSB0: char 240:2, mode 0660, owner 0:dialout (0:20)",
        f"  link: /dev/{LINKS[0]}",
        f"  link: /dev/{LINKS[1]}",
        "NUMA node: 0",
    ]


def test_a_link_that_only_udev_knows_is_shown_if_it_leads_to_the_node(node: FakeNode) -> None:
    links = ["modem", "gone"]
    node.device("devices/platform/serial0", subsystem="tty", node="ttyS0", number=64, links=links)
    node.link("modem", "ttyS0")
    assert explain(node, "ttyS0")["nodes"][0]["links"] == ["/dev/modem"]


def test_all_levels_of_sysfs_are_shown_with_their_attributes(node: FakeNode) -> None:
    at = serial(node)
    levels = explain(node, "/dev/ttyUSB0")["sysfs"]
    assert [level["path"] for level in levels] == [
        f"/{at}/1-1.2:1.0/ttyUSB0",
        f"/{at}/1-1.2:1.0",
        f"/{at}",
        f"/{os.path.dirname(at)}",
        "/devices/pci0000:00/0000:00:14.0",
    ]
    assert levels[0]["subsystem"] == "tty"
    assert levels[2]["attributes"]["serial"] == "A1"
    assert "  attribute idVendor: 0403\n" in run(node, "/dev/ttyUSB0").stdout


def test_properties_of_the_kernel_and_of_udev_are_shown(node: FakeNode) -> None:
    properties = {"ID_MODEL": "FT232R"}
    node.device("devices/platform/serial0", subsystem="tty", node="ttyS0", number=64, properties=properties)
    assert explain(node, "ttyS0")["properties"] == {
        "MAJOR": "240",
        "MINOR": "64",
        "DEVNAME": "ttyS0",
        "ID_MODEL": "FT232R",
    }


def test_what_offers_it_is_shown(node: FakeNode) -> None:
    serial(node)
    config = node.place / "modem.yaml"
    config.write_text("version: v1\nresources:\n- {name: a.example/modem, devices: [{path: /dev/ttyUSB0, id: m}]}\n")
    found = explain(node, "ttyUSB0", "--config", config)["offered_by"]
    assert [(each["resource"], each["preset"], each["device"]) for each in found] == [
        ("github.com.ihcsim/serial", "serial", "usb-FTDI_A1-if00-port0"),
        ("a.example/modem", None, "m"),
    ]
    assert "offered by: a.example/modem (configured) as m, Healthy\n" in run(node, "ttyUSB0", "--config", config).stdout


def test_what_nothing_offers_says_so(node: FakeNode) -> None:
    node.usb()
    assert "offered by: no preset, and nothing that is configured\n" in run(node, "ttyUSB0").stdout


@pytest.mark.parametrize("text", ["/dev/ttyUSB0", "ttyUSB0", f"/dev/{LINKS[0]}", LINKS[1]])
def test_a_path_a_name_and_a_link_mean_the_same(node: FakeNode, text: str) -> None:
    serial(node)
    assert [each["path"] for each in explain(node, text)["nodes"]] == ["/dev/ttyUSB0"]


def test_paths_of_sysfs_mean_a_device_or_what_an_attribute_belongs_to(node: FakeNode) -> None:
    at = serial(node)
    for path in (node.sys / at, node.sys / "bus/usb/devices/1-1.2", node.sys / at / "idVendor", f"/sys/{at}"):
        found = explain(node, path)
        assert found["sysfs"][0]["name"] == "1-1.2"
        assert [each["path"] for each in found["nodes"]] == ["/dev/bus/usb/001/001"]


def test_the_kernels_name_of_a_device_is_enough(node: FakeNode) -> None:
    serial(node)
    assert explain(node, "1-1.2:1.0")["nodes"][0]["path"] == "/dev/ttyUSB0"


def test_a_device_without_nodes_cannot_be_offered(node: FakeNode) -> None:
    node.device("devices/virtual/net/lo", subsystem="net", attributes={"mtu": "65536"})
    result = run(node, "lo")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "no device node belongs to it, so there is nothing that a container could be given",
    )
    assert "no device node belongs to it" in failure(node, "lo", "--output", "config")


def test_a_node_that_sysfs_does_not_know_is_named_by_its_path(node: FakeNode) -> None:
    node.char("odd", 1, 3)
    assert "sysfs knows nothing of it\n" in run(node, "odd").stdout
    assert list(ways(node, "odd")) == ["path"]


# How to offer it.


@pytest.mark.parametrize(
    ("make", "name", "by"),
    [
        (serial, "ttyUSB0", ["by-id", "usb", "by-path", "sysfs", "path"]),
        (camera, "video0", ["usb", "sysfs", "path"]),
        (card, "dri/renderD128", ["pci", "sysfs", "path"]),
        (virtual, "kvm", ["preset", "path", "sysfs"]),
        (serial, "1-1.2", ["usb", "sysfs", "path"]),
    ],
)
def test_the_most_stable_way_comes_first_and_each_finds_the_device_under_its_id(
    node: FakeNode, make: Any, name: str, by: list[str]
) -> None:
    make(node)
    node.usb(port="1-1.3", serial="B2", nodes=["ttyUSB1"])
    found = explain(node, name)
    assert [way["by"] for way in found["configurations"]] == by
    for way in found["configurations"]:
        devices = offered(node, way["text"])
        assert found["nodes"][0]["path"] in devices.pop(way["id"])
        assert sorted(devices) == sorted(way["others"])


def test_the_first_configuration_can_go_into_a_file(node: FakeNode) -> None:
    serial(node)
    text = run(node, "ttyUSB0", "--output", "config").stdout
    assert text == (
        "# udev made this link of what the device says of itself: it leads to it in whichever port it is.\n"
        "# id: usb-FTDI_A1-if00-port0\n"
        "version: v1\n"
        "resources:\n"
        "- name: ttyusb\n"
        "  devices:\n"
        f"  - path: /dev/{LINKS[0]}\n"
    )
    assert offered(node, text) == {"usb-FTDI_A1-if00-port0": ["/dev/ttyUSB0"]}


def test_a_usb_device_is_named_by_its_serial_number(node: FakeNode) -> None:
    serial(node)
    node.usb(port="1-1.3", serial="B2", nodes=["ttyUSB1"])
    way = ways(node, "ttyUSB0")["usb"]
    assert (way["id"], way["others"]) == ("0403-6001-A1", [])
    assert '  - usb: {vendor: "0403", product: "6001", serial: A1}\n    nodes: [ttyUSB*]\n' in way["text"]


def test_adapters_without_a_serial_number_are_told_apart_by_their_ports(node: FakeNode) -> None:
    node.usb()
    node.usb(port="1-1.3", nodes=["ttyUSB1"])
    way = ways(node, "ttyUSB0")["usb"]
    assert (way["id"], way["others"]) == ("usb-0000:00:14.0-1.2", ["usb-0000:00:14.0-1.3"])
    assert "they say no serial number, and are told apart by the port" in way["why"]


def test_a_link_made_without_a_serial_number_is_warned_of(node: FakeNode) -> None:
    properties = {"ID_SERIAL": "FTDI"}
    node.device("devices/platform/a", subsystem="tty", node="ttyS0", number=64, properties=properties)
    node.link("serial/by-id/usb-FTDI", "../../ttyS0")
    assert "a second one of the same model would get the same link" in ways(node, "ttyS0")["by-id"]["why"]


def test_nodes_that_go_together_are_named(node: FakeNode) -> None:
    camera(node)
    assert "2 nodes go together: video0, video1" in ways(node, "video0")["usb"]["why"]
    assert offered(node, ways(node, "video0")["sysfs"]["text"]) == {"video0": ["/dev/video0"]}


def test_nodes_of_another_kind_do_not_go_along(node: FakeNode) -> None:
    disk = {"nvme0n1": "block", "nvme0n1p1": "block", "nvme0n1p2": "block"}
    node.pci("0000:01:00.0", "144d", "a808", "010802", nodes=disk)
    assert offered(node, ways(node, "nvme0n1")["pci"]["text"]) == {"0000:01:00.0": ["/dev/nvme0n1"]}
    assert "    nodes: ['nvme*n[0-9]']\n" in ways(node, "nvme0n1")["pci"]["text"]


def test_of_several_cards_others_that_fit_are_named(node: FakeNode) -> None:
    card(node)
    card(node, "0000:00:03.0", 129)
    way = ways(node, "dri/renderD129")["pci"]
    assert (way["id"], way["others"]) == ("0000:00:03.0", ["0000:00:02.0"])
    assert "   fits as well: 0000:00:02.0\n" in run(node, "dri/renderD129").stdout


def test_wildcards_in_what_a_device_says_are_meant_literally(node: FakeNode) -> None:
    node.usb(serial="A[1]*")
    node.usb(port="1-1.3", serial="A1x", nodes=["ttyUSB1"])
    found = ways(node, "ttyUSB0")
    assert found["usb"]["others"] == []
    assert offered(node, found["usb"]["text"]) == {found["usb"]["id"]: ["/dev/ttyUSB0"]}


def test_a_serial_number_that_yaml_would_read_as_a_number_stays_text(node: FakeNode) -> None:
    node.usb(vendor="0000", product="0042", serial="0x10")
    assert list(offered(node, ways(node, "ttyUSB0")["usb"]["text"])) == ["0000-0042-0x10"]


# What it cannot explain.


def test_a_path_that_is_not_there_is_told_with_what_is_like_it(node: FakeNode) -> None:
    serial(node)
    assert failure(node, "/dev/ttyUSB1") == "error: there is no /dev/ttyUSB1; is /dev/ttyUSB0 meant?\n"
    assert failure(node, "ttyUSB1") == "error: neither /dev nor sysfs has `ttyUSB1`; is /dev/ttyUSB0 meant?\n"
    assert failure(node, "/dev/nothing/like/it") == "error: there is no /dev/nothing/like/it\n"


def test_a_link_to_nothing_is_told(node: FakeNode) -> None:
    node.link("modem", "ttyS9")
    assert "/dev/modem is a symbolic link to ttyS9, which is absent" in failure(node, "modem")


def test_what_is_no_device_node_is_told(node: FakeNode) -> None:
    (node.dev / "file").touch()
    (node.dev / "net").mkdir()
    assert "/dev/file is a regular file, no device node" in failure(node, "/dev/file")
    assert "/dev/net is a directory, no device node; name a node in it" in failure(node, "/dev/net")


def test_a_path_of_sysfs_that_is_no_device_is_told(node: FakeNode) -> None:
    assert "is no device of sysfs" in failure(node, node.sys / "class")
    assert f"there is no {node.sys}/class/tty" in failure(node, node.sys / "class/tty")


def test_a_configuration_that_is_wrong_is_told_with_exit_code_2(node: FakeNode) -> None:
    node.char("a")
    config = node.place / "a.yaml"
    config.write_text("version: v1\nresources: [{}]\n")
    result = run(node, "a", "--config", config)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{config}:2:13: resources[0]" in result.stderr


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
def test_what_another_user_may_not_see_is_told(node: FakeNode) -> None:
    serial(node)
    node.place.parent.chmod(0o755)
    (node.sys / "bus/usb/devices/1-1.2/serial").chmod(0o400)
    node.char("closed/a")
    (node.dev / "closed").chmod(0o700)

    def as_another(path: str) -> subprocess.CompletedProcess[str]:
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        command = [sys.executable, "-m", "kubelet_plugin", "explain", "--host-root", str(node.place), path]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([*become, *command], capture_output=True, text=True, check=False, env=environment)

    assert "  closed to uid 65534: serial\n" in as_another("ttyUSB0").stdout
    refused = as_another("/dev/closed/a")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "/dev/closed/a cannot be seen: a directory on the way is closed to uid 65534" in refused.stderr


@pytest.mark.parametrize("name", ["null", "tty"])
def test_it_explains_nodes_of_this_machine(name: str) -> None:
    result = CliRunner().invoke(main, ["explain", name, "--output", "json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["nodes"][0]["path"] == f"/dev/{name}"
    if found["sysfs"]:
        assert [way["id"] for way in found["configurations"]] == [name, name]
