from pathlib import Path

import pytest

from kubelet_plugin.config.schema import EnabledWhen
from kubelet_plugin.discovery import Roots
from kubelet_plugin.plugins.conditions import unmet


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "sys/module/vhost_net").mkdir(parents=True)
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/card0").touch()
    return tmp_path


@pytest.fixture
def roots(host: Path) -> Roots:
    return Roots(host=str(host), sysfs=str(host / "sys"))


def test_no_condition_holds(roots: Roots) -> None:
    assert unmet(None, roots) == ""


@pytest.mark.parametrize("module", ["vhost_net", "vhost-net", ("kvm", "vhost_net")])
def test_a_module_in_the_kernel_is_enough(module: str | tuple[str, ...], roots: Roots) -> None:
    assert unmet(EnabledWhen(module=module), roots) == ""


@pytest.mark.parametrize(
    ("module", "reason"),
    [("kvm", "no kernel module kvm is loaded"), (("kvm", "tun"), "no kernel module kvm or tun is loaded")],
)
def test_a_module_that_is_not_in_the_kernel_is_named(module: str | tuple[str, ...], reason: str, roots: Roots) -> None:
    assert unmet(EnabledWhen(module=module), roots) == reason


@pytest.mark.parametrize("path", ["/dev/dri", "/dev/dri/card0", "/dev/dri/card*", ("/dev/kvm", "/dev/dri/*")])
def test_a_path_on_the_host_is_enough(path: str | tuple[str, ...], roots: Roots) -> None:
    assert unmet(EnabledWhen(path=path), roots) == ""


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/kvm", "there is no /dev/kvm"),
        ("/dev/kvm*", "there is no /dev/kvm*"),
        (("/dev/a", "/dev/b"), "there is no /dev/a or /dev/b"),
    ],
)
def test_a_path_that_is_not_on_the_host_is_named(path: str | tuple[str, ...], reason: str, roots: Roots) -> None:
    assert unmet(EnabledWhen(path=path), roots) == reason


def test_a_link_leads_from_the_hosts_root_on(host: Path, roots: Roots) -> None:
    (host / "dev/gpu").symlink_to("/dev/dri/card0")
    assert unmet(EnabledWhen(path="/dev/gpu"), roots) == ""


@pytest.mark.parametrize("target", ["/etc/passwd", "/nowhere"])
def test_a_link_to_what_the_host_has_not_is_no_path(target: str, host: Path, roots: Roots) -> None:
    (host / "dev/gpu").symlink_to(target)
    assert unmet(EnabledWhen(path="/dev/gpu"), roots) == "there is no /dev/gpu"


def test_of_module_and_path_both_must_hold(roots: Roots) -> None:
    assert unmet(EnabledWhen(module="vhost_net", path="/dev/dri"), roots) == ""
    assert unmet(EnabledWhen(module="vhost_net", path="/dev/kvm"), roots) == "there is no /dev/kvm"
    assert unmet(EnabledWhen(module="kvm", path="/dev/kvm"), roots) == (
        "no kernel module kvm is loaded; there is no /dev/kvm"
    )
