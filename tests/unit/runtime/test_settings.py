from collections.abc import AsyncIterator, Sequence

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime import Device, DevicePlugin, Inject, Settings, run


def test_an_empty_environment_leaves_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "settings"),
    [
        ("KUBELET_PLUGIN_PLUGIN_DIR", "/tmp/plugins", Settings(plugin_dir="/tmp/plugins")),
        ("KUBELET_PLUGIN_CDI_DIR", "/tmp/cdi", Settings(cdi_dir="/tmp/cdi")),
        ("KUBELET_PLUGIN_INJECT", "device-spec", Settings(inject=Inject.DEVICE_SPEC)),
    ],
)
def test_a_variable_stands_for_its_setting(variable: str, value: str, settings: Settings) -> None:
    assert Settings.from_environment({variable: value}) == settings


@pytest.mark.parametrize("variable", ["KUBELET_PLUGIN_PLUGIN_DIR", "KUBELET_PLUGIN_CDI_DIR", "KUBELET_PLUGIN_INJECT"])
def test_an_empty_variable_counts_as_missing(variable: str) -> None:
    assert Settings.from_environment({variable: ""}) == Settings()


def test_a_directory_is_normalised() -> None:
    assert Settings.from_environment({"KUBELET_PLUGIN_PLUGIN_DIR": "//tmp/x/../plugins/"}).plugin_dir == "/tmp/plugins"


@pytest.mark.parametrize("variable", ["KUBELET_PLUGIN_PLUGIN_DIR", "KUBELET_PLUGIN_CDI_DIR"])
def test_a_relative_directory_is_refused_by_the_name_of_its_variable(variable: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: 'here' is not an absolute path"):
        Settings.from_environment({variable: "here"})


def test_an_unknown_way_to_inject_is_refused_with_those_there_are() -> None:
    expected = "^KUBELET_PLUGIN_INJECT: 'CDI' is none of both, cdi, device-spec, cdi-annotation$"
    with pytest.raises(ConfigurationError, match=expected):
        Settings.from_environment({"KUBELET_PLUGIN_INJECT": "CDI"})


class Anything(DevicePlugin):
    resource_name = "example.com/thing"

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        yield ()


def test_run_refuses_a_bad_variable_before_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELET_PLUGIN_INJECT", "magic")
    with pytest.raises(ConfigurationError, match="KUBELET_PLUGIN_INJECT"):
        run(Anything())
