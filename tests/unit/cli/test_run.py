from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kubelet_plugin.cli import main
from kubelet_plugin.config.presets import PRESETS


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["run", *arguments], env=environment)


def test_the_help_names_each_preset() -> None:
    assert set(PRESETS) <= set(run("--help").output.split())


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("KUBELET_PLUGIN_PLUGINS", "kvm,gpu", "'gpu' is not one of 'kvm'"),
        ("KUBELET_PLUGIN_INJECT", "magic", "'magic' is not one of"),
        ("KUBELET_PLUGIN_COUNT", "0", "0 is not in the range"),
        ("KUBELET_PLUGIN_SYSFS", "sys", "'sys' is not an absolute path"),
        ("KUBELET_PLUGIN_POD_RESOURCES", "here", "'here' is not an absolute path"),
        ("KUBELET_PLUGIN_CONFIG_FORMAT", "toml", "'toml' is not one of"),
    ],
)
def test_a_mistake_in_a_variable_is_reported_by_its_name(variable: str, value: str, words: str) -> None:
    result = run(**{variable: value})
    assert result.exit_code == 2
    assert f"Invalid value for {variable}: {words}" in result.output


@pytest.mark.parametrize(("option", "value"), [("--sysfs", "sys"), ("--inject", "magic"), ("--config-format", "toml")])
def test_a_mistake_in_an_option_is_reported_by_its_name(option: str, value: str) -> None:
    result = run(option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output


def test_of_files_that_cannot_be_used_each_problem_is_reported(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("version: v1\nresources:\n- name: kvm\n  devices: []\n  cuont: 1\n")
    result = run("--config", str(tmp_path))
    assert result.exit_code == 2
    for name in ("a", "b"):
        assert f"{tmp_path}/{name}.yaml:5:3: resources[0].cuont" in result.output


def test_several_files_may_be_in_one_variable(tmp_path: Path) -> None:
    result = run(KUBELET_PLUGIN_CONFIG=f"{tmp_path}/a.yaml:{tmp_path}/b.yaml {tmp_path}/c.yaml")
    assert result.exit_code == 2
    for name in ("a", "b", "c"):
        assert f"{tmp_path}/{name}.yaml: this file cannot be read" in result.output


def test_a_resource_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: v1\nresources:\n- name: tun\n  devices: [{path: /dev/tun}]\n")
    result = run("tun", "--config", str(tmp_path / "a.yaml"), "--plugin-dir", str(tmp_path))
    assert result.exit_code == 2
    assert "the resource github.com.ihcsim/tun is there twice: serve it once" in result.output
