import os
import stat
from pathlib import Path

import pytest

from kubelet_plugin.plugins.crand import CrandPlugin
from kubelet_plugin.plugins.kvm import KvmPlugin
from kubelet_plugin.runtime import Health
from tests.asynchronous import asynchronous

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")


@pytest.fixture
def host_root(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    return tmp_path


def make_node(path: Path, major: int = 1, minor: int = 8) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))


def test_the_resources_are_named_after_their_domain() -> None:
    assert (KvmPlugin().resource_name, CrandPlugin().resource_name) == (
        "github.com.ihcsim/kvm",
        "github.com.ihcsim/crand",
    )
    assert KvmPlugin(domain="example.com").resource_name == "example.com/kvm"


@asynchronous
async def test_kvm_is_one_device_unhealthy_while_absent(host_root: Path) -> None:
    (device,) = await anext(KvmPlugin(host_root=str(host_root)).devices())
    assert (device.id, device.health) == ("kvm0", Health.UNHEALTHY)
    assert "/dev/kvm" in device.reason


@asynchronous
async def test_shares_of_kvm_all_name_kvm0_in_cdi(host_root: Path) -> None:
    devices = await anext(KvmPlugin(count=3, host_root=str(host_root)).devices())
    assert [device.id for device in devices] == ["kvm0::0", "kvm0::1", "kvm0::2"]
    assert {device.cdi_name for device in devices} == {"kvm0"}


@as_root
@asynchronous
async def test_a_node_that_is_not_kvm_does_not_pass_for_it(host_root: Path) -> None:
    make_node(host_root / "dev/kvm")
    (device,) = await anext(KvmPlugin(host_root=str(host_root)).devices())
    assert device.health is Health.UNHEALTHY


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="there is no /dev/kvm that may be opened")
@asynchronous
async def test_a_kvm_that_answers_is_healthy() -> None:
    (device,) = await anext(KvmPlugin().devices())
    assert (device.health, device.reason) == (Health.HEALTHY, "")
    (node,) = device.edits.device_nodes
    assert node.file_mode == stat.S_IMODE(os.stat("/dev/kvm").st_mode)


@asynchronous
async def test_without_any_crand_there_is_an_empty_list(host_root: Path) -> None:
    assert await anext(CrandPlugin(host_root=str(host_root)).devices()) == []


@as_root
@asynchronous
async def test_each_crand_is_a_device_that_comes_and_goes(host_root: Path) -> None:
    make_node(host_root / "dev/crand0")
    lists = CrandPlugin(host_root=str(host_root)).devices()
    assert [device.id for device in await anext(lists)] == ["crand0"]
    make_node(host_root / "dev/crand1")
    devices = await anext(lists)
    assert [(d.id, d.health, d.edits.device_nodes[0].path) for d in devices] == [
        ("crand0", Health.HEALTHY, "/dev/crand0"),
        ("crand1", Health.HEALTHY, "/dev/crand1"),
    ]
    os.unlink(host_root / "dev/crand1")
    assert [device.id for device in await anext(lists)] == ["crand0"]
