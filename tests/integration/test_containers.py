"""What a container gets that is given devices, and who is given none."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin import ContainerEdits, Device, DeviceNode, Health, Hook, Mount
from kubelet_plugin.errors import EndpointError
from kubelet_plugin.kubelet import ContainerStatus, Phase
from kubelet_plugin.plugins.crand import CrandPlugin
from kubelet_plugin.testing import Kubelet, pod
from tests.integration.offering import RESOURCE, Offering, things

NULL = ContainerEdits(
    device_nodes=(DeviceNode("/dev/thing", host_path="/dev/null", permissions="rw", file_mode=0o640),)
)
THING = Device("thing0", NULL)
ASKS = pod({RESOURCE: 1})


def started(kubelet: Kubelet, plugin: Offering, manifest: dict[str, Any] = ASKS, **settings: Any) -> ContainerStatus:
    """The container of a pod that was admitted."""
    with kubelet.plugin(plugin, **settings):
        kubelet.wait_for(plugin.resource_name)
        status = kubelet.admit(manifest)
        assert status.phase is Phase.RUNNING, status
        return status.container()


def config(container: ContainerStatus) -> Any:
    assert container.config
    return container.config


def the_node(container: ContainerStatus) -> Any:
    (node,) = config(container)["linux"]["devices"]
    return node


def test_a_container_gets_the_device_node(kubelet: Kubelet) -> None:
    node = the_node(started(kubelet, Offering(THING)))
    assert (node["path"], node["type"], node["major"], node["minor"]) == ("/dev/thing", "c", 1, 3)


def test_its_device_cgroup_lets_it_use_the_node(kubelet: Kubelet) -> None:
    rules = config(started(kubelet, Offering(THING)))["linux"]["resources"]["devices"]
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"} in rules


def test_by_cdi_the_node_has_the_mode_of_the_spec(kubelet: Kubelet) -> None:
    assert stat.S_IMODE(the_node(started(kubelet, Offering(THING)))["fileMode"]) == 0o640


def test_by_cdi_the_node_belongs_to_the_containers_own_user(kubelet: Kubelet) -> None:
    manifest = pod({RESOURCE: 1})
    manifest["spec"]["securityContext"] = {"runAsUser": 65534, "runAsGroup": 65533}
    node = the_node(started(kubelet, Offering(THING), manifest))
    assert (node["uid"], node["gid"]) == (65534, 65533)


@pytest.mark.kubelet(cdi=False)
def test_with_cdi_off_the_device_spec_delivers_the_node(kubelet: Kubelet) -> None:
    assert the_node(started(kubelet, Offering(THING)))["path"] == "/dev/thing"


@pytest.mark.kubelet(profile="1.20")
@pytest.mark.parametrize("inject", ["both", "device-spec", "cdi-annotation"])
def test_an_old_kubelet_delivers_the_node_in_each_way_that_it_knows(inject: str, kubelet: Kubelet) -> None:
    from kubelet_plugin import Inject

    assert the_node(started(kubelet, Offering(THING), inject=Inject(inject)))["path"] == "/dev/thing"


def test_shares_of_one_device_are_its_node_once(kubelet: Kubelet) -> None:
    assert the_node(started(kubelet, Offering(*THING.shared(3)), pod({RESOURCE: 2})))["path"] == "/dev/thing"


def test_hooks_of_a_device_are_run_by_way_of_cdi(kubelet: Kubelet) -> None:
    hook = Hook("createRuntime", "/bin/prepare", args=("prepare", "thing"))
    container = started(kubelet, Offering(Device("thing0", ContainerEdits(hooks=(hook,)))))
    assert config(container)["hooks"]["createRuntime"] == [{"path": "/bin/prepare", "args": ["prepare", "thing"]}]


class Adding(Offering):
    """Adds what it was given, to every container."""

    asked = 0

    async def allocate(self, devices: Sequence[Device]) -> ContainerEdits:
        self.asked += 1
        ids = ",".join(device.id for device in devices)
        return ContainerEdits(env=(f"THINGS={ids}",), mounts=(Mount("/usr/share", "/things", options=("ro", "bind")),))


def test_the_environment_of_allocate_is_the_containers(kubelet: Kubelet) -> None:
    assert "THINGS=thing0" in config(started(kubelet, Adding(THING)))["process"]["env"]


def test_the_mounts_of_allocate_are_the_containers(kubelet: Kubelet) -> None:
    (mount,) = [each for each in config(started(kubelet, Adding(THING)))["mounts"] if each["destination"] == "/things"]
    assert mount["source"] == "/usr/share"
    assert "ro" in mount["options"]


def test_each_container_of_a_pod_has_devices_of_its_own(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(3))):
        kubelet.wait_for(RESOURCE, allocatable=3)
        status = kubelet.admit(pod(containers={"a": {RESOURCE: 2}, "b": {RESOURCE: 1}}))
    held = [status.container(name).devices[RESOURCE] for name in ("a", "b")]
    assert sorted([*held[0], *held[1]]) == ["thing0", "thing1", "thing2"]


def test_a_container_may_have_devices_of_two_plugins(kubelet: Kubelet) -> None:
    other = Offering(Device("o1"), resource_name="example.com/other")
    with kubelet.plugin(Offering(THING)), kubelet.plugin(other):
        kubelet.wait_for(RESOURCE)
        kubelet.wait_for("example.com/other")
        status = kubelet.admit(pod({RESOURCE: 1, "example.com/other": 1}))
    assert status.container().devices == {RESOURCE: ("thing0",), "example.com/other": ("o1",)}


def test_a_container_that_is_started_again_gets_the_same_without_a_question(kubelet: Kubelet) -> None:
    plugin = Adding(THING)
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE)
        before = config(kubelet.admit(ASKS).container())
        assert config(kubelet.restart_container("pod").container()) == before
    assert plugin.asked == 1


def test_a_container_from_before_a_kubelets_restart_gets_the_same_again(kubelet: Kubelet) -> None:
    plugin = Adding(THING)
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE)
        before = config(kubelet.admit(ASKS).container())
        kubelet.restart()
        kubelet.wait_for(RESOURCE, allocatable=1)
        assert config(kubelet.restart_container("pod").container()) == before
    assert plugin.asked == 1


def test_the_cdi_spec_outlives_the_plugin_for_containers_to_be_started_again(kubelet: Kubelet) -> None:
    started(kubelet, Offering(THING))
    assert [path.name for path in kubelet.cdi_dir.iterdir()] == ["example.com-thing.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_on_a_host_seen_under_another_root_its_own_node_is_delivered(kubelet: Kubelet, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    os.mknod(tmp_path / "dev/crand0", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    kubelet.host_root = tmp_path
    with kubelet.plugin(CrandPlugin(host_root=str(tmp_path))):
        kubelet.wait_for("github.com.ihcsim/crand", allocatable=1)
        node = the_node(kubelet.admit(pod({"github.com.ihcsim/crand": 1})).container())
    assert (node["path"], node["major"], node["minor"]) == ("/dev/crand0", 1, 5)


# Who gets none.


def test_a_pod_that_asks_for_more_than_there_is_gets_nothing(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(2))):
        kubelet.wait_for(RESOURCE, allocatable=2)
        status = kubelet.admit(pod({RESOURCE: 3}))
    assert status.phase is Phase.FAILED
    assert f"requested number of devices unavailable for {RESOURCE}. Requested: 3, Available: 2" in status.message


def test_the_devices_of_a_pod_that_was_removed_can_be_had_again(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(THING)):
        kubelet.wait_for(RESOURCE)
        for name in ("first", "second"):
            assert kubelet.admit(pod({RESOURCE: 1}, name=name)).phase is Phase.RUNNING
            kubelet.remove(name)


def test_an_unknown_device_is_refused(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(THING)):
        kubelet.wait_for(RESOURCE)
        with pytest.raises(EndpointError, match=r"code = NotFound desc = .*: cannot hand out 'nobody'"):
            kubelet.allocate(RESOURCE, "thing0", "nobody")


def test_an_unhealthy_device_is_refused_with_its_reason(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(Device("thing0", NULL, Health.UNHEALTHY, "unplugged"))):
        kubelet.wait_for(RESOURCE)
        with pytest.raises(EndpointError, match="cannot hand out 'thing0': it is Unhealthy: unplugged"):
            kubelet.allocate(RESOURCE, "thing0")
