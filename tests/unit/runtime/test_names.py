"""Plugins whose names cannot work, or that cannot go together."""

from collections.abc import AsyncIterator, Sequence

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime import Device, DevicePlugin, Inject, Settings, run
from kubelet_plugin.runtime.serving import check


class Plugin(DevicePlugin):
    def __init__(self, resource_name: str, cdi_kind: str = "") -> None:
        self.resource_name = resource_name
        self.cdi_kind = cdi_kind

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        yield []


@pytest.mark.parametrize("name", ["", "kvm", "Example.com/kvm", "kubernetes.io/kvm"])
def test_a_name_that_no_kubelet_accepts_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="the resource name"):
        check([Plugin(name)])


def test_two_plugins_of_one_resource_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="is there twice: serve it once"):
        check([Plugin("example.com/kvm"), Plugin("example.com/kvm")])


def test_two_resources_with_one_socket_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"x\.y/z and x/y\.z would share the file .*/x\.y\.z\.sock"):
        check([Plugin("x.y/z"), Plugin("x/y.z")])


@pytest.mark.parametrize("kind", ["example.com/kvm", "example.com-kvm/kvm"])
def test_two_plugins_with_one_spec_file_are_refused(kind: str) -> None:
    other = "example.com/kvm" if kind == "example.com/kvm" else "example.com/kvm-kvm"
    with pytest.raises(ConfigurationError, match="would share the file /var/run/cdi"):
        check([Plugin("example.com/a", cdi_kind=kind), Plugin("example.com/b", cdi_kind=other)])


def test_without_cdi_their_kinds_do_not_matter() -> None:
    plugins = [Plugin("example.com/a", cdi_kind="example.com/kvm"), Plugin("example.com/b", cdi_kind="example.com/kvm")]
    check(plugins, Settings(inject=Inject.DEVICE_SPEC))


def test_no_plugin_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no plugin"):
        run()


def test_a_cdi_kind_that_would_crash_a_runtime_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="one character"):
        check([Plugin("example.com/kvm", cdi_kind="example.com/x")])


def test_a_resource_name_that_is_no_cdi_kind_gets_one_by_a_prefix() -> None:
    check([Plugin("example.com/x")])


def test_a_class_in_the_place_of_a_plugin_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="give an instance"):
        check([Plugin])  # type: ignore[list-item]


def test_a_plugin_without_a_resource_name_is_refused() -> None:
    class Nameless(Plugin):
        def __init__(self) -> None:
            pass

    with pytest.raises(ConfigurationError, match="the resource name '' is not DOMAIN/NAME"):
        check([Nameless()])
