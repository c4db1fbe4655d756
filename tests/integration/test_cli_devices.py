"""`kubelet-plugin devices`: what a node would offer, on a node made of files and on this one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from kubelet_plugin.cli import main
from tests.fake_node import FakeNode

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes and becomes another user")

MODEM = """\
version: v1
domain: vendor.example
resources:
- name: modem
  count: 2
  devices:
  - usb: {vendor: 0403, product: 6001}
    nodes: [ttyUSB*]
    container_path: /dev/modem
    file_mode: 0660
    gid: 20
    env: {SERIAL: "{id}"}
    annotations: {vendor.example/modem: "{id}"}
    additional_gids: [44]
    mounts:
    - {host_path: /etc/modem}
    - {host_path: /run/modem, container_path: /run/line, read_only: false}
"""


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path / "host")


def config(node: FakeNode, text: str = MODEM) -> Path:
    path = node.place / "devices.yaml"
    path.write_text(text)
    return path


def arguments(node: FakeNode, *more: str | Path) -> list[str]:
    return ["devices", "--host-root", str(node.place), *map(str, more)]


def run(node: FakeNode, *more: str | Path) -> Result:
    result = CliRunner().invoke(main, arguments(node, *more))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def document(node: FakeNode, *more: str | Path) -> Any:
    result = run(node, *more, "--output", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


@contextmanager
def watching(node: FakeNode, *more: str | Path) -> Iterator["tuple[subprocess.Popen[str], IO[str]]"]:
    command = [sys.executable, "-u", "-m", "kubelet_plugin", *arguments(node, *more, "--watch")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout
        finally:
            process.terminate()


@as_root
def test_a_device_is_a_line_of_a_table(node: FakeNode) -> None:
    (node.place / "etc").mkdir()
    (node.place / "etc/group").write_text("root:x:0:\ndialout:x:20:\n")
    node.usb(serial="A1")
    os.chown(node.dev / "ttyUSB0", 0, 20)
    assert run(node, "--config", config(node)).stdout == (
        "RESOURCE              DEVICE        SHARES  HEALTH   NODES         OWNER      MODE  NUMA\n"
        "vendor.example/modem  0403-6001-A1  2       Healthy  /dev/ttyUSB0  0:dialout  0660  0\n"
    )


def test_a_reason_is_shown_and_so_is_where_a_link_leads(node: FakeNode) -> None:
    node.link("serial/by-id/usb-a", "../../ttyUSB7")
    text = "version: v1\nresources:\n- {name: a.example/a, devices: [{path: /dev/serial/by-id/usb-a}]}\n"
    output = run(node, "--config", config(node, text)).stdout
    assert "usb-a   1       Unhealthy  /dev/serial/by-id/usb-a" in output
    assert "is a symbolic link to ../../ttyUSB7, which is absent; load its driver, or plug the device in" in output
    node.char("ttyUSB7")
    assert "/dev/serial/by-id/usb-a -> /dev/ttyUSB7" in run(node, "--config", config(node, text)).stdout


def test_without_a_name_all_presets_are_looked_at(node: FakeNode) -> None:
    node.char("fuse")
    result = run(node)
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:2]] == [["github.com.ihcsim/fuse", "fuse"]]
    assert "nothing here: dri, input, kvm, loop, rdma, rtc, serial, sound, tpm, tun, " in result.stdout


def test_what_was_asked_for_is_shown_though_it_is_absent(node: FakeNode) -> None:
    result = run(node, "fuse", "serial", "--domain", "a.example")
    assert "a.example/fuse  fuse    110     Unhealthy  /dev/fuse" in result.stdout
    assert "a.example/serial: devices[0]: nothing here fits /dev/serial/by-id/*\n" in result.stdout


def test_a_resource_that_is_not_offered_says_why(node: FakeNode) -> None:
    text = MODEM.replace("  count: 2\n", "  enabled_when: {module: ftdi_sio}\n")
    node.usb()
    assert run(node, "--config", config(node, text)).stdout == (
        "vendor.example/modem is not offered: no kernel module ftdi_sio is loaded\n"
    )
    (resource,) = document(node, "--config", config(node, text))["resources"]
    assert (resource["offered"], resource["reason"]) == (False, "no kernel module ftdi_sio is loaded")


def test_an_entry_that_is_left_out_says_why(node: FakeNode) -> None:
    text = "version: v1\nresources:\n- name: a.example/a\n  devices:\n  - path: /dev/a\n    enabled_when: {path: /x}\n"
    assert run(node, "--config", config(node, text)).stdout == ("a.example/a: devices[0] is left out: there is no /x\n")


def test_what_a_container_would_get_is_shown_in_words(node: FakeNode) -> None:
    node.usb(serial="A1")
    output = run(node, "--config", config(node), "--wide").stdout
    assert output.partition("\n\n")[2] == (
        "vendor.example/modem, 0403-6001-A1: what a container gets, as CDI device vendor.example/modem=0403-6001-A1\n"
        "  node        /dev/modem from /dev/ttyUSB0, rw, mode 0660, gid 20\n"
        "  env         SERIAL=0403-6001-A1\n"
        "  mount       /etc/modem, read-only\n"
        "  mount       /run/line from /run/modem, writable\n"
        "  groups      44\n"
        "  annotation  vendor.example/modem=0403-6001-A1\n"
    )


@as_root
def test_programs_are_told_everything(node: FakeNode) -> None:
    node.usb(serial="A1")
    (resource,) = document(node, "--config", config(node))["resources"]
    (device,) = resource.pop("devices")
    assert resource == {
        "name": "vendor.example/modem",
        "offered": True,
        "reason": "",
        "cdi_kind": "vendor.example/modem",
        "notes": [],
    }
    (found,) = device.pop("nodes")
    container = device.pop("container")
    assert device == {
        "id": "0403-6001-A1",
        "count": 2,
        "health": "Healthy",
        "reason": "",
        "numa_nodes": [0],
        "cdi_name": "vendor.example/modem=0403-6001-A1",
    }
    assert found == {
        "path": "/dev/ttyUSB0",
        "target": "",
        "present": True,
        "type": "char",
        "major": 240,
        "minor": 2,
        "mode": "0660",
        "uid": 0,
        "gid": 0,
        "owner": "0",
        "group": "0",
        "healthy": True,
        "reason": "",
    }
    assert container["nodes"] == [
        {
            "path": "/dev/modem",
            "host_path": "/dev/ttyUSB0",
            "host_link": "",
            "permissions": "rw",
            "file_mode": "0660",
            "uid": None,
            "gid": 20,
        }
    ]
    assert (container["env"], container["additional_gids"]) == ({"SERIAL": "0403-6001-A1"}, [44])
    assert container["mounts"][1] == {"host_path": "/run/modem", "container_path": "/run/line", "read_only": False}


def test_of_an_absent_node_nothing_is_made_up(node: FakeNode) -> None:
    (resource,) = document(node, "kvm")["resources"]
    (found,) = resource["devices"][0]["nodes"]
    assert (found["present"], found["mode"], found["owner"], found["major"]) == (False, None, None, None)


def test_yaml_says_what_json_says(node: FakeNode) -> None:
    node.usb()
    as_yaml = run(node, "--config", config(node), "--output", "yaml").stdout
    assert yaml.safe_load(as_yaml) == document(node, "--config", config(node))


def test_a_resource_by_device_specs_alone_has_no_cdi_name(node: FakeNode) -> None:
    text = "version: v1\nresources:\n- {name: a.example/a, inject: device-spec, devices: [{path: /dev/a}]}\n"
    (resource,) = document(node, "--config", config(node, text))["resources"]
    assert (resource["cdi_kind"], resource["devices"][0]["cdi_name"]) == ("", "")
    assert "by device specs alone" in run(node, "--config", config(node, text), "--wide").stdout


def test_what_generic_device_plugin_takes_is_taken(node: FakeNode) -> None:
    node.char("null")
    text = '{"name": "n", "groups": [{"count": 3, "paths": [{"path": "/dev/null", "limit": 2}]}]}'
    (resource,) = document(node, "--device", text, "--domain", "a.example")["resources"]
    assert (resource["name"], resource["devices"][0]["id"]) == ("a.example/n", "null")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["fuse"], 0),
        (["fuse", "--check"], 0),
        (["fuse", "tun", "--check"], 1),
        (["fuse", "serial", "--check"], 1),
        (["tun"], 0),
    ],
)
def test_check_asks_for_a_healthy_device_of_each_resource(node: FakeNode, more: list[str], code: int) -> None:
    node.char("fuse")
    assert run(node, *more).exit_code == code


def test_a_resource_that_is_not_offered_fails_no_check(node: FakeNode) -> None:
    text = MODEM.replace("  count: 2\n", "  enabled_when: {module: ftdi_sio}\n")
    assert run(node, "--config", config(node, text), "--check").exit_code == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["gpu"], "there is no preset 'gpu'; there are dri, fuse"),
        (["--check"], "--check needs to know what is to be there"),
        (["kvm", "--check", "--watch"], "--check looks once, and --watch stays"),
        (["--watch", "--output", "yaml"], "give --output json"),
        (["--device", "{"], "--device:2:1: this is no YAML"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml: this file cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_told_with_exit_code_2(node: FakeNode, more: list[str], words: str) -> None:
    result = run(node, *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in " ".join(result.stderr.split())


def test_all_that_is_wrong_with_a_configuration_is_told(node: FakeNode) -> None:
    path = config(node, "version: v1\nresources:\n- name: a\n  nmua: 1\n- name: b\n  devices: [{}]\n")
    result = run(node, "--config", path)
    assert result.exit_code == 2
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [f"{path}:4:3", f"{path}:6:13"]


def test_a_name_that_is_there_twice_is_told(node: FakeNode) -> None:
    path = config(node, "version: v1\nresources:\n- preset: kvm\n")
    result = run(node, "kvm", "--config", path)
    assert result.exit_code == 2
    assert "the resource github.com.ihcsim/kvm is given twice" in result.stderr


def test_sysfs_that_is_not_there_is_told(node: FakeNode) -> None:
    result = run(node, "fuse", "--sysfs", node.place / "nowhere")
    assert result.exit_code == 0
    assert "sysfs is not here, so neither USB nor PCI devices nor NUMA nodes are known" in result.stderr


def test_the_environment_of_the_daemon_is_enough(node: FakeNode) -> None:
    node.char("fuse")
    path = config(node, "version: v1\nresources:\n- preset: fuse\n")
    environment = {"KUBELET_PLUGIN_HOST_ROOT": str(node.place), "KUBELET_PLUGIN_CONFIG": f"{path}"}
    result = CliRunner(env=environment).invoke(main, ["devices"])
    assert "github.com.ihcsim/fuse  fuse" in result.stdout
    assert "nothing here" not in result.stdout


def test_nothing_is_written(node: FakeNode) -> None:
    node.usb(serial="A1")
    path = config(node)
    before = sorted(node.place.rglob("*"))
    run(node, "--config", path)
    assert sorted(node.place.rglob("*")) == before


def test_changes_are_lines_after_the_table(node: FakeNode) -> None:
    node.char("fuse")
    with watching(node, "fuse") as (_, lines):
        lines.readline()
        assert lines.readline().split()[1:4] == ["fuse", "110", "Healthy"]
        node.remove("fuse")
        words = lines.readline().split("  ")
        assert words[1:4] == ["github.com.ihcsim/fuse", "fuse", "Healthy -> Unhealthy"]
        assert words[4].endswith("dev/fuse is absent; load its driver, or plug the device in\n")
        node.char("fuse")
        assert lines.readline().split("  ")[3] == "Unhealthy -> Healthy\n"


@as_root
def test_what_else_changed_is_named(node: FakeNode) -> None:
    node.char("fuse", mode=0o600)
    with watching(node, "fuse", "--output", "json") as (_, lines):
        lines.readline()
        (node.dev / "fuse").chmod(0o660)
        change = json.loads(lines.readline())
        assert (change["from"], change["to"], change["reason"]) == ("Healthy", "Healthy", "changed: nodes, container")


def test_for_programs_each_change_is_an_object_from_the_first_list_on(node: FakeNode) -> None:
    text = "version: v1\nresources:\n- {name: a.example/a, devices: [{path: '/dev/a*'}]}\n"
    node.char("a0")
    with watching(node, "--config", config(node, text), "--output", "json") as (_, lines):
        first = json.loads(lines.readline())
        assert first.pop("time")
        assert first == {"resource": "a.example/a", "device": "a0", "from": None, "to": "Healthy", "reason": ""}
        node.char("a1")
        assert json.loads(lines.readline())["device"] == "a1"
        node.remove("a0")
        gone = json.loads(lines.readline())
        assert (gone["device"], gone["from"], gone["to"]) == ("a0", "Healthy", None)


CONDITION = """\
version: v1
resources:
- {name: a.example/a, enabled_when: {path: /etc/on}, devices: [{path: /dev/a}]}
- {name: a.example/b, devices: [{path: /dev/b}]}
"""


def test_a_condition_that_comes_true_is_a_change_and_so_is_one_that_no_longer_holds(node: FakeNode) -> None:
    (node.place / "etc").mkdir()
    node.char("a")
    with watching(node, "--config", config(node, CONDITION), "--output", "json") as (_, lines):
        first = [json.loads(lines.readline()) for _ in range(2)]
        assert {(each["resource"], each["device"], each["to"]) for each in first} == {
            ("a.example/a", None, "not offered"),
            ("a.example/b", "b", "Unhealthy"),
        }
        (node.place / "etc/on").touch()
        offered, device = json.loads(lines.readline()), json.loads(lines.readline())
        assert (offered["from"], offered["to"]) == ("not offered", "offered")
        assert (device["device"], device["to"]) == ("a", "Healthy")
        (node.place / "etc/on").unlink()
        withdrawn, gone = json.loads(lines.readline()), json.loads(lines.readline())
        assert (withdrawn["to"], withdrawn["reason"]) == ("not offered", "there is no /etc/on")
        assert (gone["device"], gone["to"]) == ("a", None)


def test_what_is_not_offered_has_no_changes(node: FakeNode) -> None:
    (node.place / "etc").mkdir()
    (node.place / "etc/on").touch()
    node.char("a")
    with watching(node, "--config", config(node, CONDITION), "--output", "json") as (_, lines):
        for _ in range(2):
            lines.readline()
        (node.place / "etc/on").unlink()
        for _ in range(2):
            lines.readline()
        node.remove("a")
        node.char("b")
        change = json.loads(lines.readline())
        assert (change["resource"], change["to"]) == ("a.example/b", "Healthy")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_ends_well_when_it_is_asked_to(node: FakeNode, number: signal.Signals) -> None:
    node.char("fuse")
    with watching(node, "fuse") as (process, lines):
        lines.readline()
        process.send_signal(number)
        assert process.wait() == 0


def test_watching_ends_without_a_traceback_when_nobody_reads_any_more(node: FakeNode) -> None:
    command = [sys.executable, "-u", "-m", "kubelet_plugin", *arguments(node, "fuse", "--watch", "--output", "json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        node.char("fuse")
        assert process.wait() != 0
        assert process.stderr.read() == ""


def test_it_looks_at_this_machine() -> None:
    result = CliRunner().invoke(main, ["devices", "--output", "json"])
    assert result.exit_code == 0
    names = {resource["name"].rpartition("/")[2] for resource in json.loads(result.stdout)["resources"]}
    assert {"kvm", "fuse", "serial"} <= names


@as_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
def test_another_user_is_told_that_it_sees_as_that_user(node: FakeNode) -> None:
    node.char("kvm", 1, 3, mode=0o600)
    node.place.parent.chmod(0o755)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [*become, sys.executable, "-m", "kubelet_plugin", *arguments(node, "kvm")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning: looked at as uid 65534" in done.stderr
    assert "may not be opened by uid 65534" in done.stdout
