import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner

from kubelet_plugin import cdi
from kubelet_plugin.cli import main
from tests.unit.cli.cdi_command import put, run, spec

WARNING = spec("d", version="1.0.0")
ERROR = '{"cdiVersion": "0.5.0",\n "kind": "vendor.com/class",\n "devices": []}'
FATAL = '{"cdiVersion": "0.5.0",\n "kind": "v/class",\n "devices": [{"name": "d", "containerEdits": {"env": ["A=1"]}}]}'


def test_what_is_well_is_said_to_be(tmp_path: Path) -> None:
    put(tmp_path / "a.json", spec("d"))
    result = run("validate", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "1 file: all is well\n")


def test_a_finding_has_place_severity_rule_whom_it_hurts_and_a_remedy(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", FATAL)
    result = run("validate", path)
    assert result.exit_code == 1
    head, hurts, mend, total = result.stdout.splitlines()
    assert head.startswith(f"{path}:2: fatal: kind: vendor 'v' has one character")
    assert head.endswith("[short-kind]")
    assert hurts == "    hurts: every runtime"
    assert mend.startswith("    mend:  Remove the file at once")
    assert total == "1 file: 1 fatal"


@pytest.mark.parametrize(
    ("content", "options", "code"),
    [(WARNING, (), 0), (WARNING, ("--strict",), 1), (ERROR, (), 1), (FATAL, (), 1), (spec("d"), ("--strict",), 0)],
)
def test_warnings_alone_are_well_unless_strict(
    tmp_path: Path, content: cdi.Spec | str, options: tuple[str, ...], code: int
) -> None:
    put(tmp_path / "a.json", content)
    assert run("validate", tmp_path, *options).exit_code == code


def test_a_runtime_that_cannot_read_the_version_is_an_error_where_it_must(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", spec("d", version="1.0.0"))
    assert run("validate", path, "--for", "containerd-2.1", "--strict").exit_code == 0
    result = run("validate", path, "--for", "containerd-1.7", "--for", "docker-27")
    assert result.exit_code == 1
    assert "version 1.0.0 is not read by containerd-1.7: 0.8.0 is the newest" in result.stdout
    assert result.stdout.endswith("1 file: 2 errors\n")


def test_a_version_that_no_known_runtime_reads_is_a_warning_where_no_runtime_is_named(tmp_path: Path) -> None:
    content = (
        '{"cdiVersion": "1.1.0", "kind": "vendor.com/class", "devices": [{"name": "d", "containerEdits":'
        ' {"netDevices": [{"hostInterfaceName": "eth1", "name": "net0"}]}}]}'
    )
    result = run("validate", put(tmp_path / "a.json", content))
    assert result.exit_code == 0
    assert "version 1.1.0, which netDevices needs, is newer than any known runtime reads" in result.stdout
    assert "containerd-2.1 reads 1.0.0" in result.stdout
    assert result.stdout.endswith("1 file: 1 warning\n")


def test_the_directories_of_the_runtimes_are_looked_at_where_nothing_is_given(tmp_path: Path) -> None:
    put(tmp_path / "a.json", ERROR)
    assert run("validate", "--spec-dir", tmp_path, "--spec-dir", tmp_path / "none").exit_code == 1


def test_host_nodes_are_no_matter_where_the_specs_are_for_others(tmp_path: Path) -> None:
    edits = cdi.ContainerEdits(device_nodes=(cdi.DeviceNode("/dev/none/x", file_mode=0o600),))
    path = put(tmp_path / "a.json", cdi.Spec("vendor.com/class", (cdi.Device("d", edits),)))
    assert (
        "device node /dev/none/x cannot be looked at: No such file or directory [missing-node]"
        in run("validate", path).stdout
    )
    assert run("validate", path, "--no-host", "--strict").exit_code == 0


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_programs_get_the_files_and_the_findings(tmp_path: Path, form: str) -> None:
    path = put(tmp_path / "a.json", ERROR)
    result = run("validate", path, "--output", form)
    assert result.exit_code == 1
    report = yaml.safe_load(result.stdout)
    assert report["files"] == [path]
    (finding,) = report["findings"]
    assert finding == {
        "rule": "invalid",
        "severity": "error",
        "path": path,
        "line": 3,
        "place": "devices",
        "message": "there are no devices: a spec needs one or more",
        "runtimes": [*cdi.RUNTIMES],
        "remedy": "Correct what the message says.",
    }


def test_junit_has_a_test_for_each_finding_and_each_file_without(tmp_path: Path) -> None:
    good, bad = put(tmp_path / "a.json", spec("d")), put(tmp_path / "b.json", ERROR)
    odd = put(tmp_path / "c.json", WARNING)
    suite = ET.fromstring(run("validate", good, bad, odd, "--output", "junit").stdout)
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    cases = {case.get("classname"): case for case in suite}
    assert cases.keys() == {good, bad, odd}
    assert [part.tag for path in (good, bad, odd) for part in cases[path]] == ["failure", "system-out"]
    assert (cases[bad].get("name"), cases[bad].get("line")) == ("invalid devices", "3")


def test_junit_is_xml_whatever_is_in_a_spec(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", '{"\\u0001\\ufffe<": 1}')
    suite = ET.fromstring(run("validate", path, "--output", "junit").stdout)
    assert suite.get("failures") == "1"


def test_what_a_terminal_would_obey_is_an_escape(tmp_path: Path) -> None:
    path = put(tmp_path / "a\x1b[2J.json", '{"\\u001b[2J\\u0085": 1}')
    report = CliRunner().invoke(main, ["cdi", "validate", path, "--output", "table"], color=True).stdout
    assert report.splitlines()[0].startswith(f"{tmp_path}/a\\x1b[2J.json:1: ")
    assert "\\x1b[2J\\x85: this field is not known" in report


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_this_user_may_not_read_is_no_mistake_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = put(tmp_path / "a.json", FATAL)
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    assert "short-kind" in run("validate", path if kind == "file" else tmp_path).stdout


def test_sarif_names_rules_levels_and_places(tmp_path: Path) -> None:
    bad, odd = put(tmp_path / "a b.json", FATAL), put(tmp_path / "c.json", WARNING)
    log = json.loads(run("validate", bad, odd, "--output", "sarif").stdout)
    assert log["version"] == "2.1.0"
    (found,) = log["runs"]
    assert [(each["ruleId"], each["level"]) for each in found["results"]] == [
        ("short-kind", "error"),
        ("newer-than-needed", "warning"),
    ]
    rules = found["tool"]["driver"]["rules"]
    assert all(rules[each["ruleIndex"]]["id"] == each["ruleId"] for each in found["results"])
    assert found["results"][0]["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": f"file://{tmp_path}/a%20b.json"},
        "region": {"startLine": 2},
    }


def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", ERROR)
    coloured = CliRunner().invoke(main, ["cdi", "validate", path], color=True)
    assert "\x1b[31m\x1b[1merror:\x1b[0m" in coloured.stdout
    assert "\x1b" not in CliRunner().invoke(main, ["cdi", "validate", path], color=True, env={"NO_COLOR": "1"}).stdout
    assert "\x1b" not in run("validate", path).stdout
