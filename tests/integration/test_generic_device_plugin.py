"""A file of generic-device-plugin, as it is, from the command line to the pod."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kubelet_plugin.cli import main
from kubelet_plugin.testing import Kubelet, Program, pod
from tests.fake_node import FakeNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")

FILE = """\
devices:
- name: serial
  groups:
  - paths: [{path: "/dev/ttyUSB*", mountPath: /dev/ttyUSB0, permissions: r, limt: 1}]
- name: fuse
  groups:
  - count: 3
    paths: [{path: /dev/fuse}]
- name: capture
  groups:
  - paths:
    - {path: /dev/snd/pcmC0D0c, optional: true}
    - {path: /dev/snd/controlC0, mountPath: /dev/sound/, optional: true}
    - {path: /etc/alsa, type: Mount, readOnly: true}
- name: pairs
  groups:
  - paths: [{path: "/dev/video*"}, {path: "/dev/media*"}]
"""
NOTES = (
    "4:77: devices[0].groups[0].paths[0].limt: `limt` is left out: unknown to generic-device-plugin, too",
    "15:3: devices[3]: resource `squat.ai/pairs` is not offered: pods that ask for it stay Pending",
    (
        "17:5: devices[3].groups[0]: left out: the first matches of all paths make a device there, the second ones the "
        "next, and here a group is one; write a `group` for each device, without wildcards"
    ),
)


@pytest.fixture
def node(kubelet: Kubelet, tmp_path: Path) -> FakeNode:
    node = FakeNode(tmp_path / "host")
    kubelet.host_root = node.place
    for name in ("ttyUSB1", "ttyUSB2", "fuse", "snd/controlC0"):
        node.char(name)
    return node


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(FILE)
    return tmp_path / "config.yaml"


@contextmanager
def serving(kubelet: Kubelet, node: FakeNode, *arguments: str) -> Iterator[Program]:
    command = [sys.executable, "-m", "kubelet_plugin", "run", *arguments, "--domain", "squat.ai"]
    with kubelet.command(command, env={"KUBELET_PLUGIN_HOST_ROOT": str(node.place)}) as program:
        yield program


def given(kubelet: Kubelet, resource: str) -> Mapping[str, Any]:
    config = kubelet.admit(pod({resource: 1}, name=resource.rpartition("/")[2])).container().config
    assert config
    return config


def nodes(config: Mapping[str, Any]) -> list[str]:
    return [each["path"] for each in config["linux"]["devices"]]


def test_checking_the_file_tells_what_is_left_out_with_its_place(file: Path) -> None:
    result = CliRunner().invoke(main, ["config", "check", str(file), "--domain", "squat.ai"])
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [f"warning: {file}:{note}" for note in NOTES]
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [
        "squat.ai/serial",
        "squat.ai/fuse",
        "squat.ai/capture",
    ]


def test_serving_the_file_logs_what_is_left_out_with_its_place(kubelet: Kubelet, node: FakeNode, file: Path) -> None:
    with serving(kubelet, node, "--config", str(file)) as program:
        kubelet.wait_for("squat.ai/serial", allocatable=2)
        for note in NOTES:
            assert f"{file}:{note}\n" in program.output
        assert kubelet.devices("squat.ai/pairs") == {}


def test_a_pod_gets_one_of_what_fits_at_the_mount_path(kubelet: Kubelet, node: FakeNode, file: Path) -> None:
    with serving(kubelet, node, "--config", str(file)):
        kubelet.wait_for("squat.ai/serial", allocatable=2)
        config = given(kubelet, "squat.ai/serial")
        assert nodes(config) == ["/dev/ttyUSB0"]
        assert config["linux"]["resources"]["devices"][-1]["access"] == "r"
        refused = kubelet.admit(pod({"squat.ai/serial": 2}, name="two"))
        assert (refused.phase, refused.reason) == ("Failed", "UnexpectedAdmissionError")


def test_a_count_lets_as_many_pods_have_the_device(kubelet: Kubelet, node: FakeNode, file: Path) -> None:
    with serving(kubelet, node, "--config", str(file)):
        kubelet.wait_for("squat.ai/fuse", allocatable=3)
        assert nodes(given(kubelet, "squat.ai/fuse")) == ["/dev/fuse"]


def test_a_group_has_the_optional_nodes_that_are_there_and_its_mounts(
    kubelet: Kubelet, node: FakeNode, file: Path
) -> None:
    with serving(kubelet, node, "--config", str(file)):
        kubelet.wait_for("squat.ai/capture", allocatable=1)
        config = given(kubelet, "squat.ai/capture")
        assert nodes(config) == ["/dev/sound/controlC0"]
        (mount,) = [each for each in config["mounts"] if each["destination"] == "/etc/alsa"]
        assert "ro" in mount["options"]
        node.remove("snd/controlC0")
        kubelet.wait_for("squat.ai/capture", allocatable=0)


def test_its_option_is_served_and_what_is_left_out_is_logged(kubelet: Kubelet, node: FakeNode) -> None:
    device = '{"name": "fuse", "groups": [{"count": 2, "cnt": 1, "paths": [{"path": "/dev/fuse"}]}]}'
    with serving(kubelet, node, "--device", device) as program:
        kubelet.wait_for("squat.ai/fuse", allocatable=2)
        assert "--device:1:42: groups[0].cnt: `cnt` is left out" in program.output
        assert nodes(given(kubelet, "squat.ai/fuse")) == ["/dev/fuse"]
