"""Names that a kubelet accepts (IsExtendedResourceName)."""

import pytest

from kubelet_plugin.api.resource_names import fault


@pytest.mark.parametrize(
    "name", ["github.com.ihcsim/kvm", "a/B_c.d-1", "x-1.y/z", f"{'a' * 60}.{'b' * 60}/{'c' * 63}", "1/1"]
)
def test_an_extended_resource_name_is_accepted(name: str) -> None:
    assert fault(name) == ""


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
    assert repr(name) in fault(name)
