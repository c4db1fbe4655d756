"""From a device node to the kubelet and the CDI spec: nodes that come, go and change at run time."""

import json
import os
import stat
import time
from pathlib import Path

import pytest

from kubelet_plugin.plugins.crand import CrandPlugin
from kubelet_plugin.runtime import Settings
from tests.foreign import ForeignKubelet
from tests.foreign.serving import served

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    (tmp_path / "host/dev").mkdir(parents=True)
    return tmp_path / "host/dev"


def plug(node: Path, mode: int = 0o600) -> None:
    os.mknod(node, mode | stat.S_IFCHR, os.makedev(1, 8))


def plugin(dev: Path) -> CrandPlugin:
    return CrandPlugin(host_root=str(dev.parent))


def file_mode(settings: Settings, device: int = 0) -> int:
    spec = json.loads(Path(settings.cdi_dir, "github.com.ihcsim-crand.json").read_text())
    return int(spec["devices"][device]["containerEdits"]["deviceNodes"][0]["fileMode"])


def test_a_node_that_is_plugged_in_is_listed(kubelet: ForeignKubelet, settings: Settings, dev: Path) -> None:
    with served(plugin(dev), settings=settings):
        stream = kubelet.registered().stream
        assert stream.next() == {}
        plug(dev / "crand0")
        assert stream.next() == {"crand0": "Healthy"}


def test_a_node_that_is_unplugged_is_unhealthy_and_back_it_is_healthy(
    kubelet: ForeignKubelet, settings: Settings, dev: Path
) -> None:
    plug(dev / "crand0")
    with served(plugin(dev), settings=settings):
        stream = kubelet.registered().stream
        assert stream.next() == {"crand0": "Healthy"}
        (dev / "crand0").unlink()
        assert stream.next() == {"crand0": "Unhealthy"}
        plug(dev / "crand0")
        assert stream.next() == {"crand0": "Healthy"}


def test_a_late_change_of_mode_is_in_the_spec_soon(kubelet: ForeignKubelet, settings: Settings, dev: Path) -> None:
    plug(dev / "crand0", 0o600)
    with served(plugin(dev), settings=settings):
        kubelet.registered().stream.next()
        assert file_mode(settings) == 0o600
        (dev / "crand0").chmod(0o666)
        deadline = time.monotonic() + 10
        while file_mode(settings) != 0o666:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_a_burst_of_nodes_gives_few_lists(kubelet: ForeignKubelet, settings: Settings, dev: Path) -> None:
    with served(plugin(dev), settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        begun = time.monotonic()
        for number in range(200):
            plug(dev / f"crand{number}")
        elapsed = time.monotonic() - begun
        lists = 1
        while len(stream.next()) < 200:
            lists += 1
        assert lists <= elapsed / 0.010 + 2
