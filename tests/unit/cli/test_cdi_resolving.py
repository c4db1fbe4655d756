"""The verbs that take names of devices: resolve and inject."""

import json
import os
from pathlib import Path

import pytest
import yaml

from kubelet_plugin import cdi
from tests.unit.cli.cdi_command import NAME, found, put, run, spec

OCI = json.dumps({"ociVersion": "1.1.0", "process": {"args": ["sh"], "env": ["PATH=/bin"]}, "foreign": [1]})


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    put(tmp_path / "etc" / "a.json", spec("d", "e"))
    return tmp_path / "etc"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(OCI)
    return path


def test_what_a_container_gets_is_shown_in_the_order_it_is_applied(tmp_path: Path) -> None:
    top = cdi.ContainerEdits(env=("TOP=1",))
    devices = tuple(cdi.Device(name, cdi.ContainerEdits(env=(f"D={name}",))) for name in "de")
    path = put(tmp_path / "a.json", cdi.Spec("vendor.com/class", devices, container_edits=top))
    assert found("resolve", "vendor.com/class=e", NAME, "--spec-dir", tmp_path) == {
        "devices": [{"name": "vendor.com/class=e", "spec": path}, {"name": NAME, "spec": path}],
        "edits": [{"env": ["TOP=1"]}, {"env": ["D=e"]}, {"env": ["D=d"]}],
    }


def test_what_a_container_gets_is_yaml_unless_asked_otherwise(etc: Path) -> None:
    assert yaml.safe_load(run("resolve", NAME, "--spec-dir", etc).stdout) == found("resolve", NAME, "--spec-dir", etc)
    assert run("resolve", NAME, "--spec-dir", etc, "--output", "table").stdout.split()[3:6] == [NAME, "1", "env"]


REASONS = [
    (
        "kvm0",
        "CDI device 'kvm0' cannot be resolved: CDI device 'kvm0' is not qualified: a name has the form vendor/class=name",
    ),
    ("vendor.com/class=D", "a.json has no device 'D'; there are d, e"),
    ("vendor.com/clas=d", "is of the kind vendor.com/clas; is vendor.com/class meant?"),
    ("other.org/net=d", "is of the kind other.org/net; there are vendor.com/class"),
]


@pytest.mark.parametrize(("name", "reason"), REASONS)
@pytest.mark.parametrize("verb", [("resolve",), ("inject", "-")])
def test_a_name_of_no_device_prints_the_reason_and_nothing_else(
    etc: Path, verb: tuple[str, ...], name: str, reason: str
) -> None:
    result = run(*verb, NAME, name, "--spec-dir", etc, text=OCI)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr


def test_of_a_device_in_conflict_the_reason_is_the_conflict(etc: Path) -> None:
    other = put(etc / "b.json", spec("d"))
    result = run("resolve", NAME, "--spec-dir", etc)
    assert result.exit_code == 1
    assert f"is in {other} and in {etc}/a.json, files of one directory" in result.stderr


def test_files_that_are_not_valid_are_named_where_they_may_be_the_reason(etc: Path) -> None:
    broken = put(etc / "b.json", "{")
    assert f"not taken into account: {broken}" in run("resolve", "other.org/net=d", "--spec-dir", etc).stderr


def test_a_file_that_is_not_valid_is_no_matter_where_all_names_are_found(etc: Path) -> None:
    put(etc / "b.json", "{")
    result = run("resolve", NAME, "--spec-dir", etc)
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_configuration_is_printed_and_nothing_else(etc: Path, config: Path) -> None:
    result = run("inject", config, NAME, "--spec-dir", etc, "--output", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == cdi.Registry([str(etc)]).inject(json.loads(OCI), NAME)
    assert json.loads(result.stdout)["process"]["env"] == ["PATH=/bin", "A=1"]


def test_the_file_of_the_configuration_stays_as_it_is(etc: Path, config: Path) -> None:
    run("inject", config, NAME, "--spec-dir", etc)
    assert config.read_text() == OCI


def test_the_configuration_can_come_from_standard_input_and_leave_as_yaml(etc: Path) -> None:
    result = run("inject", "-", NAME, "--spec-dir", etc, "--output", "yaml", text=OCI)
    assert yaml.safe_load(result.stdout)["process"]["env"] == ["PATH=/bin", "A=1"]


def test_host_nodes_are_looked_up_below_the_host_root(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    edits = cdi.ContainerEdits(device_nodes=(cdi.DeviceNode("/dev/p", host_path="/pipe"),))
    put(tmp_path / "etc" / "a.json", cdi.Spec("vendor.com/class", (cdi.Device("d", edits),)))
    result = run("inject", "-", NAME, "--spec-dir", tmp_path / "etc", "--host-root", tmp_path, text="{}")
    assert json.loads(result.stdout)["linux"]["devices"][0]["type"] == "p"
    result = run("inject", "-", NAME, "--spec-dir", tmp_path / "etc", text="{}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert 'failed to stat CDI host device "/pipe": no such file or directory' in result.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "- is no JSON"),
        ('{"a": NaN}', "NaN is no number"),
        ("[]", "it holds no object"),
        ('{"process": []}', "no OCI runtime configuration: process is no object"),
        ("[" * 100_000, "is no JSON"),
        ("\udcff", "is no JSON"),
    ],
)
def test_what_is_no_configuration_is_refused(etc: Path, tmp_path: Path, text: str, reason: str) -> None:
    config = tmp_path / "config"
    config.write_bytes(text.encode(errors="surrogateescape"))
    result = run("inject", config, NAME, "--spec-dir", etc)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason.replace("- is", f"{config} is") in result.stderr


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_is_no_unicode_in_a_configuration_is_kept(etc: Path, form: str) -> None:
    result = run("inject", "-", NAME, "--spec-dir", etc, "--output", form, text='{"a": "\\ud800", "b": "ü"}')
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["b"] == "ü"
    assert form == "yaml" or json.loads(result.stdout)["a"] == "\ud800"
