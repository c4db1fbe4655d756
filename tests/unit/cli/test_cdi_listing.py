"""The verbs that list what there is: devices, vendors, classes, specs and dirs."""

import errno
import os
import sys
from pathlib import Path

import click
import pytest
import yaml

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import output
from tests.unit.cli.cdi_command import NAME, found, put, run, spec

VERBS = ("classes", "devices", "dirs", "specs", "vendors")


@pytest.fixture
def both(tmp_path: Path) -> tuple[str, ...]:
    """The options of two directories, both with the device `d`."""
    put(tmp_path / "etc" / "a.json", spec("d", "e", env="FROM=etc"))
    put(tmp_path / "run" / "b.json", spec("d", env="FROM=run"))
    put(tmp_path / "run" / "c.json", spec("f", kind="other.org/net"))
    return "--spec-dir", str(tmp_path / "etc"), "--spec-dir", str(tmp_path / "run")


def test_devices_are_listed_with_what_they_give_and_their_file(tmp_path: Path) -> None:
    edits = cdi.ContainerEdits(
        device_nodes=(cdi.DeviceNode("/dev/x"), cdi.DeviceNode("/dev/y")),
        env=("A=1",),
        mounts=(cdi.Mount("/a", "/b"),),
        additional_gids=(5, 6),
    )
    path = put(tmp_path / "a.json", cdi.Spec("vendor.com/class", (cdi.Device("d", edits),)))
    result = run("devices", "--spec-dir", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["DEVICE", "GIVES", "SPEC"]
    assert result.stdout.splitlines()[1].split("  ") == [NAME, "/dev/x, /dev/y, 1 env, 1 mount, 2 gids", path]


def test_the_columns_of_a_table_stand_below_each_other(both: tuple[str, ...]) -> None:
    head, *rows = run("devices", *both).stdout.splitlines()
    assert {row.index(" 1 env") + 1 for row in rows} == {head.index("GIVES")}


def test_of_a_device_in_two_directories_the_later_is_listed(both: tuple[str, ...], tmp_path: Path) -> None:
    devices = {each["name"]: each for each in found("devices", *both)}
    assert [*devices] == ["other.org/net=f", NAME, "vendor.com/class=e"]
    assert devices[NAME] == {
        "name": NAME,
        "spec": str(tmp_path / "run" / "b.json"),
        "containerEdits": {"env": ["FROM=run"]},
    }


def test_vendors_are_listed_with_their_files(both: tuple[str, ...], tmp_path: Path) -> None:
    assert found("vendors", *both) == [
        {"vendor": "other.org", "specs": [str(tmp_path / "run" / "c.json")]},
        {"vendor": "vendor.com", "specs": [str(tmp_path / "etc" / "a.json"), str(tmp_path / "run" / "b.json")]},
    ]


def test_classes_are_listed_with_their_vendors(both: tuple[str, ...]) -> None:
    assert found("classes", *both) == [
        {"class": "class", "vendors": ["vendor.com"]},
        {"class": "net", "vendors": ["other.org"]},
    ]


def test_specs_are_listed_with_the_lowest_version_that_would_do(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", spec("d", version="1.0.0"))
    assert run("specs", "--spec-dir", tmp_path).stdout.splitlines()[1].split() == [
        path,
        "vendor.com/class",
        "1.0.0",
        "0.3.0",
        "1",
    ]


def test_specs_of_some_vendors_alone_can_be_listed(both: tuple[str, ...]) -> None:
    (file,) = found("specs", "other.org", *both)
    assert file["spec"]["kind"] == "other.org/net"


def test_directories_are_listed_with_the_number_of_their_valid_specs(both: tuple[str, ...], tmp_path: Path) -> None:
    rows = run("dirs", *both, "--spec-dir", tmp_path / "none").stdout.splitlines()[1:]
    assert [row.split(maxsplit=2) for row in rows] == [
        ["0", str(tmp_path / "etc"), "1"],
        ["1", str(tmp_path / "run"), "2"],
        ["2", str(tmp_path / "none"), "does not exist"],
    ]


def test_the_directories_are_those_of_the_runtimes_unless_others_are_given() -> None:
    assert [each["path"] for each in found("dirs")] == ["/etc/cdi", "/var/run/cdi"]


@pytest.mark.parametrize("verb", VERBS)
def test_yaml_says_the_same_as_json(verb: str, both: tuple[str, ...]) -> None:
    assert yaml.safe_load(run(verb, *both, "--output", "yaml").stdout) == found(verb, *both)


@pytest.mark.parametrize("verb", VERBS)
def test_an_error_in_a_file_hides_no_other_and_makes_the_exit_code_1(verb: str, both: tuple[str, ...]) -> None:
    well = run(verb, *both)
    broken = put(Path(both[1]) / "z.json", "{")
    result = run(verb, *both)
    assert (result.exit_code, result.stdout) == (1, well.stdout)
    assert result.stderr.startswith(f"error: {broken}:1: no JSON")


def test_a_conflict_is_told_once_and_the_other_devices_are_listed(tmp_path: Path) -> None:
    put(tmp_path / "a.json", spec("d", "e"))
    put(tmp_path / "b.json", spec("d"))
    result = run("devices", "--spec-dir", tmp_path)
    assert result.exit_code == 1
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["DEVICE", "vendor.com/class=e"]
    assert result.stderr.count(f"device {NAME} is in") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_a_spec_that_makes_runtimes_crash_is_told_of(verb: str, tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", spec("d", kind="v/class"))
    result = run(verb, "--spec-dir", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"fatal: {path}: vendor 'v' has one character: container runtimes crash on it")


def test_a_directory_that_this_user_may_not_read_hides_no_other(
    tmp_path: Path, both: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setattr("os.access", lambda path, *_, **__: path != str(closed))
    assert NAME in run("devices", "--spec-dir", closed, *both).stdout


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
def test_a_warning_makes_the_exit_code_1_only_where_that_is_asked_for(
    tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    path = put(tmp_path / "a.yaml", cdi.dumps_yaml(spec("12:34")).replace('"12:34"', "12:34"))
    result = run("devices", "--spec-dir", tmp_path, *options)
    assert result.exit_code == code
    assert result.stderr.startswith(f"warning: {path}:4: '12:34' is text")


def test_a_file_name_that_is_no_utf_8_is_printed_as_it_is(tmp_path: Path) -> None:
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json")), spec("d"))
    assert b"/\xff.json\n" in run("devices", "--spec-dir", tmp_path).stdout_bytes


def test_a_file_name_that_is_no_utf_8_is_an_escape_in_json(tmp_path: Path) -> None:
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json")), spec("d"))
    (device,) = found("devices", "--spec-dir", tmp_path)
    assert os.fsencode(device["spec"]).endswith(b"/\xff.json")


def test_what_a_terminal_would_obey_is_an_escape(tmp_path: Path) -> None:
    edits = cdi.ContainerEdits(device_nodes=(cdi.DeviceNode("/dev/x\x1b[2J"),))
    put(tmp_path / "a.json", cdi.Spec("vendor.com/class", (cdi.Device("d", edits),)))
    assert "  /dev/x\\x1b[2J  " in run("devices", "--spec-dir", tmp_path).stdout


def test_what_cannot_be_printed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("click.echo", full)
    with pytest.raises(click.ClickException, match="cannot print: No space left on device"):
        output.say("text")


def pretend_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_a_terminal_gets_colours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_a_terminal(monkeypatch)
    output.show("table", None, ("DEVICE",), lambda: [(NAME,)])
    assert f"\x1b[36m{NAME}" in capsys.readouterr().out


def test_a_file_name_that_is_no_utf_8_is_printed_to_a_terminal_as_it_is(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_a_terminal(monkeypatch)
    output.show("table", None, ("SPEC",), lambda: [("\udcff.json",)])
    assert capfdbinary.readouterr().out == b"SPEC\n\xff.json\n"


def test_a_terminal_that_wants_no_colours_gets_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    output.show("table", None, ("DEVICE",), lambda: [(NAME,)])
    assert capsys.readouterr().out == f"DEVICE\n{NAME}\n"


def test_without_the_extra_a_table_is_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_a_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    output.show("table", None, ("DEVICE", "SPEC"), lambda: [(NAME, "a")])
    assert capsys.readouterr().out == f"DEVICE              SPEC\n{NAME}  a\n"


@pytest.mark.parametrize("verb", [*VERBS, "validate"])
def test_a_directory_that_is_asked_for_and_not_there_is_pointed_out(verb: str, tmp_path: Path) -> None:
    result = run(verb, "--spec-dir", tmp_path / "typo")
    assert result.stderr == f"warning: {tmp_path}/typo: there is no such directory\n"
    assert result.exit_code == 0
