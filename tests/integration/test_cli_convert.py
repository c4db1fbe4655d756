"""The move from generic-device-plugin: the command, and each example of the page that tells of it."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kubelet_plugin.cli import main
from kubelet_plugin.config.loading import load
from tests.configurations import read

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/move-from-generic-device-plugin.md").read_text()
PAIRS = re.findall(r"```yaml\n(devices:.*?|domain:.*?)```\n.*?```yaml\n(.*?)```", PAGE, re.DOTALL)
OURS = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if text.startswith(("version:", "#"))]

FUSE = '{"name": "fuse", "groups": [{"count": 10, "paths": [{"path": "/dev/fuse"}]}]}'


def convert(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["config", "convert", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_a_file_is_printed_in_our_words(file: Path) -> None:
    file.write_text("devices: [{name: serial, groups: [{paths: [{path: /dev/ttyUSB*}]}]}]")
    result = convert(file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "version: v1\ndomain: squat.ai\nresources:\n- name: serial\n  devices:\n  - path: /dev/ttyUSB*\n"
    )


def test_devices_of_the_command_line_join_those_of_the_file_under_its_domain(file: Path) -> None:
    file.write_text("domain: a.example\ndevices: [{name: serial, groups: [{paths: [{path: /dev/ttyUSB*}]}]}]")
    result = convert(file, "--device", FUSE, "--domain", "b.example")
    configuration = read(result.stdout, "printed")
    assert configuration.domain == "a.example"
    assert [each.name for each in configuration.resources] == ["serial", "fuse"]


def test_a_domain_may_be_given() -> None:
    assert read(convert("--device", FUSE, "--domain", "b.example").stdout, "printed").domain == "b.example"


def test_the_vocabulary_may_be_named() -> None:
    assert convert("--from", "generic-device-plugin", "--device", FUSE).exit_code == 0


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_what_is_left_out_is_told_and_with_strict_a_failure(file: Path, options: list[str], code: int) -> None:
    file.write_text("devices:\n- name: serial\n  groups: [{x: 1, paths: [{path: /dev/a}]}]")
    result = convert(file, *options)
    assert result.exit_code == code
    assert result.stderr == (
        f"warning: {file}:3:13: devices[0].groups[0].x: `x` is left out: unknown to generic-device-plugin, too\n"
    )
    assert f"# {file}:3:13:" in result.stdout
    assert read(result.stdout, "printed").resources


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "this is no YAML"),
        ("version: v1\nresources: []", "there are no `devices` in it"),
        (
            "devices: [{name: a, groups: [{paths: [{path: /a}]}]}, {name: a, groups: [{paths: [{path: /b}]}]}]",
            "devices[1].name: 'a' is there twice; put all its groups into one",
        ),
    ],
)
def test_what_cannot_be_read_is_an_error_and_nothing_is_printed(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    result = convert(file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_file_that_is_not_there_is_an_error(file: Path) -> None:
    result = convert(file)
    assert result.exit_code == 2
    assert "this file cannot be read" in result.stderr


def test_nothing_to_convert_is_a_usage_error() -> None:
    result = convert()
    assert result.exit_code == 2
    assert "Give FILE, or --device, or both." in result.stderr


def test_the_page_shows_examples() -> None:
    assert len(PAIRS) >= 4


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_an_example_of_the_page_is_what_is_printed(theirs: str, ours: str, file: Path) -> None:
    file.write_text(theirs)
    result = convert(file, "--strict")
    assert result.exit_code == 0
    assert read(result.stdout, "printed") == read(ours, "page")
    assert result.stdout == ours


@pytest.mark.parametrize("text", OURS)
def test_an_example_of_ours_on_the_page_is_without_fault(text: str, file: Path) -> None:
    file.write_text(text)
    assert load([str(file)], domain="squat.ai")


def test_the_command_on_the_page_prints_what_the_page_says() -> None:
    ((command, printed),) = re.findall(
        r"```sh\nkubelet-plugin config convert --device '(.*?)'\n```\n.*?```yaml\n(.*?)```", PAGE, re.DOTALL
    )
    assert convert("--device", command).stdout == printed
