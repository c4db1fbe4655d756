import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from kubelet_plugin.cli import main

RIGHT = """\
version: v1
resources:
- name: serial
  devices:
  - path: /dev/serial/by-id/*
- name: other.example/camera
  count: 4
  grace: 1m
  file_mode: 0660
  devices:
  - usb: {vendor: 046d, product: 0825, serial: "A*"}
    nodes: [video*]
  - group: [{path: /dev/a}, {sysfs: {subsystem: tty}}, {pci: {vendor: 8086}}]
    id: both
"""
WRONG = "version: v1\nresources:\n- name: a\n  nmua: 1\n  devices:\n  - path: /dev/a\n- name: b\n  devices: [{}]\n"


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["config", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def right(tmp_path: Path) -> Path:
    path = tmp_path / "right.yaml"
    path.write_text(RIGHT)
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    return path


def test_what_right_files_offer_is_shown(right: Path) -> None:
    result = run("check", right, "--domain", "vendor.example")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "RESOURCE               COUNT  DEVICES\n"
        "vendor.example/serial  1      /dev/serial/by-id/*\n"
        "other.example/camera   4      usb 046d:0825 A* (video*), (/dev/a + tty * + pci 8086:*)\n"
    )


def test_a_directory_is_checked(right: Path) -> None:
    assert run("check", right.parent).stdout == run("check", right).stdout


def test_each_problem_is_a_line_with_its_place(wrong: Path) -> None:
    result = run("check", wrong)
    assert result.exit_code == 1
    assert result.stdout == (
        f"{wrong}:4:3: resources[0].nmua: unknown field `nmua`; did you mean `numa`?\n"
        f"{wrong}:8:13: resources[1].devices[0]: nothing says which device is meant; "
        "write `path`, `usb`, `pci`, `sysfs` or `group`\n"
        "2 problems\n"
    )


def test_problems_are_data_for_programs(wrong: Path) -> None:
    result = run("check", wrong, "--output", "json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["valid"] is False
    assert document["resources"] == []
    assert document["problems"][0] == {
        "file": str(wrong),
        "line": 4,
        "column": 3,
        "field": "resources[0].nmua",
        "message": "unknown field `nmua`; did you mean `numa`?",
    }


def test_resources_are_data_for_programs(right: Path) -> None:
    result = run("check", right, "--output", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["valid"] is True
    assert document["problems"] == []
    camera = document["resources"][1]
    assert (camera["name"], camera["grace"], camera["file_mode"]) == ("other.example/camera", 60, "0660")
    assert camera["devices"][0]["usb"] == {"vendor": "046d", "product": "0825", "serial": "A*"}


def test_the_resources_for_programs_are_a_file_again(right: Path, tmp_path: Path) -> None:
    resources = json.loads(run("check", right, "--output", "json").stdout)["resources"]
    again = tmp_path / "again.json"
    again.write_text(json.dumps({"version": "v1", "resources": resources}))
    assert run("check", again).stdout == run("check", right).stdout


def test_what_cannot_be_carried_over_from_another_vocabulary_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("devices:\n- name: a\n  groups:\n  - paths:\n    - path: /dev/a\n      zzz: 1\n")
    result = run("check", path, "--domain", "vendor.example")
    assert (result.exit_code, result.stdout) == (
        0,
        "RESOURCE          COUNT  DEVICES\nvendor.example/a  1      /dev/a\n",
    )
    assert result.stderr.startswith(f"warning: {path}:6:7: devices[0].groups[0].paths[0].zzz: ")
    (note,) = json.loads(run("check", path, "--output", "json").stdout)["notes"]
    assert note["line"] == 6


def test_converting_is_one_of_the_verbs() -> None:
    result = run("--help")
    assert [line.split()[0] for line in result.stdout.partition("Commands:\n")[2].splitlines()] == [
        "check",
        "convert",
        "schema",
    ]
    assert run("convert", "--help").exit_code == 0


def test_a_file_without_resources_is_said_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: v1\n")
    result = run("check", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "all is well, but no resource is in it\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "this file cannot be read: No such file or directory"),
        (b"", "nothing is in this file"),
        (os.urandom(1000) + b"\xff", "this is no UTF-8"),
        (b"\x7fELF\x02\x01\x01\0\0", "this is no YAML: "),
        ("versión: v1".encode("latin-1"), "this is no UTF-8"),
        ("version: v1".encode("utf-16"), "this is no UTF-8"),
        (b"#" * 10_000_000, "this file is larger than 1048576 bytes"),
        (b"[" * 1_000_000, "nested more than 32 levels deep"),
        (b"{a: " * 100_000, "nested more than 32 levels deep"),
    ],
    ids=["absent", "empty", "junk", "binary", "latin-1", "utf-16", "large", "deep-list", "deep-mapping"],
)
def test_no_file_makes_a_traceback(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    result = run("check", path)
    assert result.exit_code == 1
    assert result.stdout.startswith(str(path))
    assert words in result.stdout
    assert result.stdout.endswith("1 problem\n")


def test_an_empty_directory_is_a_problem(tmp_path: Path) -> None:
    result = run("check", tmp_path)
    assert (result.exit_code, "no file in this directory" in result.stdout) == (1, True)


@pytest.mark.parametrize(
    "arguments", [("check",), ("check", "a", "--output", "xml"), ("check", "a", "--config-format", "x")]
)
def test_a_wrong_command_line_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_terminal_is_told_nothing_that_it_would_obey(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text('version: v1\nresources: [{"\\e[31mred": 1}]\n')
    result = run("check", tmp_path)
    assert "\\x1b[31mred" in result.stdout
    assert "\x1b" not in result.stdout


def test_the_schema_is_printed() -> None:
    result = run("schema")
    assert result.exit_code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(result.stdout))


@pytest.mark.parametrize("arguments", [(), ("check",), ("schema",)])
def test_the_help_teaches_by_examples(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--help")
    assert result.exit_code == 0
    assert "kubelet-plugin config " in result.stdout.partition("\n")[2]


def test_the_program_checks_a_file(wrong: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kubelet_plugin", "config", "check", str(wrong)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("2 problems\n")
