"""`kubelet-plugin run` beside a kubelet, as on a node."""

import os
import sys
from pathlib import Path

import pytest

from kubelet_plugin.testing import Kubelet, pod
from tests.integration.ages import with_each_age
from tests.mounts import needs_mounts

RUN = [sys.executable, "-m", "kubelet_plugin", "run"]
CRAND, KVM = "github.com.ihcsim/crand", "github.com.ihcsim/kvm"


@pytest.fixture
def host(tmp_path: Path) -> dict[str, str]:
    """The environment of a program on a host with one device."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/crand0").symlink_to(os.path.relpath("/dev/random", tmp_path / "dev"))
    return {"KUBELET_PLUGIN_HOST_ROOT": str(tmp_path)}


@with_each_age
def test_its_plugins_offer_what_the_host_has(kubelet: Kubelet, host: dict[str, str]) -> None:
    with kubelet.command([*RUN, "kvm", "crand"], env=host):
        kubelet.wait_for(CRAND, allocatable=1)
        kubelet.wait_for(KVM, capacity=1, allocatable=0)


@with_each_age
def test_it_comes_back_to_a_kubelet_that_restarts(kubelet: Kubelet, host: dict[str, str]) -> None:
    with kubelet.command([*RUN, "crand"], env=host):
        kubelet.wait_for(CRAND, allocatable=1)
        kubelet.restart()
        kubelet.wait_for(CRAND, allocatable=1)


def test_a_container_gets_the_device_of_the_host(kubelet: Kubelet, host: dict[str, str]) -> None:
    with kubelet.command([*RUN, "crand"], env=host):
        kubelet.wait_for(CRAND, allocatable=1)
        config = kubelet.admit(pod({CRAND: 1})).container().config
    assert config
    assert [(node["path"], node["major"], node["minor"]) for node in config["linux"]["devices"]] == [
        ("/dev/crand0", 1, 8)
    ]


def test_sigterm_ends_it_well(kubelet: Kubelet, host: dict[str, str]) -> None:
    with kubelet.command([*RUN, "crand"], env=host) as program:
        kubelet.wait_for(CRAND, allocatable=1)
        program.terminate()
        assert program.wait(1) == 0
        kubelet.wait_for(CRAND, capacity=1, allocatable=0)
        assert len(kubelet.lists(CRAND)) == 1  # no goodbye list


def test_after_sigkill_it_comes_back_under_the_same_ids(kubelet: Kubelet, host: dict[str, str]) -> None:
    for _ in range(2):
        with kubelet.command([*RUN, "crand"], env=host) as program:
            kubelet.wait_for(CRAND, allocatable=1)
            program.kill()
            kubelet.wait_for(CRAND, allocatable=0)
    assert kubelet.lists(CRAND) == [{"crand0": "Healthy"}] * 2


@needs_mounts
def test_it_finds_the_directories_of_a_node_without_being_told(kubelet: Kubelet, host: dict[str, str]) -> None:
    nothing = {"KUBELET_PLUGIN_PLUGIN_DIR": "", "KUBELET_PLUGIN_CDI_DIR": ""}
    with kubelet.command([*RUN, "crand"], env=host | nothing, mounted=True):
        kubelet.wait_for(CRAND, allocatable=1)
        assert [path.name for path in kubelet.cdi_dir.iterdir()] == ["github.com.ihcsim-crand.json"]
