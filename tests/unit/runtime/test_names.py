"""Names that a kubelet accepts (IsExtendedResourceName), and plugins that cannot go together."""

from collections.abc import AsyncIterator, Sequence

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime import Device, DevicePlugin, Inject, Settings
from kubelet_plugin.runtime.names import check_resource_name
from kubelet_plugin.runtime.serving import check


class Plugin(DevicePlugin):
    def __init__(self, resource_name: str, cdi_kind: str = "") -> None:
        self.resource_name = resource_name
        self.cdi_kind = cdi_kind

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        yield []


@pytest.mark.parametrize(
    "name", ["github.com.ihcsim/kvm", "a/B_c.d-1", "x-1.y/z", f"{'a' * 60}.{'b' * 60}/{'c' * 63}", "1/1"]
)
def test_an_extended_resource_name_is_accepted(name: str) -> None:
    check_resource_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "kvm",
        "/kvm",
        "example.com/",
        "Example.com/kvm",
        "example..com/kvm",
        "-x.com/kvm",
        "example.com/kvm/x",
        "example.com/-kvm",
        "example.com/k v",
        "example.com/kvm\n",
        "kubernetes.io/kvm",
        "foo.kubernetes.io/kvm",
        "requests.example.com/kvm",
        f"example.com/{'c' * 64}",
        f"{'.'.join(['a' * 60] * 5)}/c",
    ],
)
def test_any_other_name_is_refused_and_quoted(name: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        check_resource_name(name)
    assert repr(name) in str(error.value)


def test_two_plugins_of_one_resource_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="would share the file"):
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
        check([])


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
