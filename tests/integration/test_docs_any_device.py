"""Every file and every command of docs/how-to/offer-any-device.md, on a node that has what it speaks of."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kubelet_plugin.cli import main
from kubelet_plugin.config import load
from kubelet_plugin.testing import Kubelet
from tests.fake_node import FakeNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes, which explain asks for")

PAGE = (Path(__file__).parent.parent.parent / "docs/how-to/offer-any-device.md").read_text()
BLOCKS = re.findall(r"```(sh|yaml)\n(.*?)```", PAGE, re.DOTALL)
FILES = {text.split("\n", 1)[0].removeprefix("# "): text for kind, text in BLOCKS if kind == "yaml"}
CONFIGURATIONS = sorted(name for name, text in FILES.items() if "version: v1" in text)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
ONCE = [line for line in COMMANDS if " run " not in line and "--watch" not in line]
LASTING = [line for line in COMMANDS if " run " in line]


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    """What the page speaks of; its files are beside."""
    node = FakeNode(tmp_path / "host")
    node.usb(serial="A50285BI")
    node.link("serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0", "../../ttyUSB0")
    at = node.usb(port="1-1.3", vendor="046d", product="0825", nodes=[])
    for index in (0, 1):
        video = f"{at}/1-1.3:1.0/video4linux/video{index}"
        node.device(
            video, subsystem="video4linux", attributes={"index": str(index)}, node=f"video{index}", number=index + 60
        )
    (node.sys / "module/acme").mkdir(parents=True)
    for name in ("fuse", "net/tun", "snd/controlC0", "acme0", "acme1"):
        node.char(name)
    for name, text in FILES.items():
        if name.endswith(".yaml"):
            (tmp_path / name).write_text(text)
    return node


def arguments(node: FakeNode, line: str) -> list[str]:
    program, *words = shlex.split(line)
    assert program == "kubelet-plugin"
    return [str(node.place.parent / word) if word in FILES else word for word in words]


def environment(node: FakeNode) -> dict[str, str]:
    return {"KUBELET_PLUGIN_HOST_ROOT": str(node.place)}


def run(node: FakeNode, line: str) -> Result:
    result = CliRunner(env=environment(node)).invoke(main, arguments(node, line))
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_is_valid(node: FakeNode, name: str, tmp_path: Path) -> None:
    path = tmp_path / "configuration.yaml"
    path.write_text(FILES[name])
    assert load([str(path)], domain="a.example")


@pytest.mark.parametrize("line", ONCE)
def test_a_command_that_ends_ends_well(node: FakeNode, line: str) -> None:
    assert run(node, line).stdout


@pytest.mark.parametrize(
    "line", [line for line in ONCE if "--config" in line and line.startswith("kubelet-plugin devices")]
)
def test_all_that_is_configured_would_be_healthy(node: FakeNode, line: str) -> None:
    output = run(node, line.replace("--wide", "").replace("--check", "") + " --output json").stdout
    devices = [device for resource in json.loads(output)["resources"] for device in resource["devices"]]
    assert devices
    assert {device["health"] for device in devices} == {"Healthy"}


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--watch" in line])
def test_a_command_that_stays_shows_what_it_says(node: FakeNode, line: str) -> None:
    command = [sys.executable, "-u", "-m", "kubelet_plugin", *arguments(node, line)]
    env = {**os.environ, **environment(node)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout
        process.stdout.readline()
        assert "Healthy" in process.stdout.readline()
        node.remove("ttyUSB0")
        assert "Healthy -> Unhealthy" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


@pytest.mark.parametrize("line", LASTING)
def test_what_is_served_reaches_the_kubelet(node: FakeNode, kubelet: Kubelet, line: str) -> None:
    output = run(node, line.replace(" run ", " devices ") + " --output json").stdout
    expected = {
        resource["name"]: sum(device["count"] for device in resource["devices"])
        for resource in json.loads(output)["resources"]
    }
    assert expected
    with kubelet.command([sys.executable, "-m", "kubelet_plugin", *arguments(node, line)], env=environment(node)):
        for name, number in expected.items():
            kubelet.wait_for(name, allocatable=number)


def test_the_file_that_explain_writes_is_the_one_that_is_shown(node: FakeNode) -> None:
    text = run(node, "kubelet-plugin explain ttyUSB0 --output config").stdout
    assert text in FILES.values()


def test_the_pod_gets_the_adapter(node: FakeNode, kubelet: Kubelet) -> None:
    command = [sys.executable, "-m", "kubelet_plugin", "run", "--config", str(node.place.parent / "serial.yaml")]
    kubelet.host_root = node.place
    with kubelet.command(command, env=environment(node)):
        kubelet.wait_for("vendor.example/modem", allocatable=1)
        config = kubelet.admit(yaml.safe_load(FILES["pod.yaml"])).container().config
    assert config
    assert [each["path"] for each in config["linux"]["devices"]] == ["/dev/modem"]
    assert "MODEM_ID=0403-6001-A50285BI" in config["process"]["env"]


def test_the_table_of_fields_is_complete(node: FakeNode) -> None:
    table = set(re.findall(r"^\| `([a-z_.\[\]]+)` \|", PAGE, re.MULTILINE)) - {"usb", "pci", "sysfs", "path"}
    output = run(node, "kubelet-plugin devices --config serial.yaml --output json").stdout
    (resource,) = json.loads(output)["resources"]
    (device,) = resource.pop("devices")
    known = {*resource, *(f"devices[].{name}" for name in device)}
    lists = {"devices[].container.nodes", "devices[].container.mounts"}
    assert {field.removesuffix("[]") for field in table} == known | lists
    for value in (*device["nodes"], device["container"], *device["container"]["nodes"]):
        for name in value:
            assert f"`{name}`" in PAGE
