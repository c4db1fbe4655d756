"""Devices from a configuration file reach pods of a real kubelet, and what becomes of them is seen there.

Each complaint of other plugins' users that a file can cure is named where it is shown cured.
"""

import contextlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node import NOBODY, Node, Plugins, Pod

pytestmark = pytest.mark.timeout(180)

DOMAIN = "e2e.example.com"
RANDOM = (1, 8)
ZERO = (1, 5)
ANNOTATED = ("--inject", "cdi-annotation")  # kubelets of 1.20's age know CDI names by annotation alone


def reads(pod: Pod, path: str) -> bool:
    """Whether a pod's container can read from a device."""
    return pod.exec("sh", "-c", f"head -c 4 {path} | wc -c").text == "4"


class Dev:
    """The node's private /dev, to be put in order again."""

    def __init__(self, node: Node) -> None:
        self._root = node.path("/dev")
        self._made: list[Path] = []

    def char(self, name: str, numbers: tuple[int, int] = RANDOM, mode: int = 0o666, gid: int = 0) -> None:
        path = self._path(name)
        part = path.with_name(f".{path.name}")
        os.mknod(part, stat.S_IFCHR, os.makedev(*numbers))
        part.chmod(mode)
        os.chown(part, 0, gid)
        part.rename(path)

    def link(self, name: str, target: str) -> None:
        path = self._path(name)
        part = path.with_name(f".{path.name}")
        part.symlink_to(target)
        part.rename(path)

    def remove(self, name: str) -> None:
        (self._root / name).unlink()

    def clear(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._made.append(path)
        return path


@pytest.fixture
def dev(node: Node) -> Iterator[Dev]:
    dev = Dev(node)
    yield dev
    dev.clear()


@pytest.fixture
def config(tmp_path: Path) -> "ConfigMap":
    return ConfigMap(tmp_path / "config")


class ConfigMap:
    """A directory as the kubelet fills it from a ConfigMap: its files change all at once, by a link."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._serial = 0
        place.mkdir()

    def write(self, resources: str) -> None:
        self._serial += 1
        version = self.place / f"..{self._serial}"
        version.mkdir()
        (version / "devices.yaml").write_text(f"version: v1\ndomain: {DOMAIN}\nresources:\n{resources}")
        part = self.place / "..data_tmp"
        part.symlink_to(version.name)
        part.rename(self.place / "..data")
        file = self.place / "devices.yaml"
        if not file.is_symlink():
            file.symlink_to("..data/devices.yaml")

    @property
    def option(self) -> tuple[str, str]:
        return ("--config", str(self.place))


BY_ID = "  - {name: serial, devices: [{path: '/dev/serial/by-id/*'}]}\n"
SERIAL = f"{DOMAIN}/serial"


def test_an_adapter_is_known_by_its_stable_link_and_given_as_it_is_now(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """akri#734, squat PR#10, k8s-at-home/charts#490: replugged under another name, pods get the old node or none."""
    config.write(BY_ID)
    dev.char("ttyUSB0")
    dev.link("serial/by-id/usb-x", "../../ttyUSB0")
    plugin(*config.option, *ANNOTATED).serving(SERIAL, "usb-x")

    dev.remove("ttyUSB0")
    node.until_healthy(SERIAL)
    dev.char("ttyUSB7", ZERO)
    dev.link("serial/by-id/usb-x", "../../ttyUSB7")
    node.until_healthy(SERIAL, "usb-x")

    pod = node.start("replugged", {SERIAL: 1}).running()
    assert pod.exec("stat", "-L", "-c", "%t:%T", "/dev/serial/by-id/usb-x").text == "1:5"


def test_with_device_specs_the_link_itself_is_the_way_to_the_node(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """intel PR#2178: links cannot pass through the API; the runtime follows them at each start."""
    config.write(BY_ID)
    dev.char("ttyUSB0")
    dev.link("serial/by-id/usb-x", "../../ttyUSB0")
    plugin(*config.option, "--inject", "device-spec").serving(SERIAL, "usb-x")

    pod = node.start("linked", {SERIAL: 1}).running()
    assert reads(pod, "/dev/serial/by-id/usb-x")


def test_a_device_that_is_missing_at_first_is_offered_once_it_comes(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """intel#230, NVIDIA#9, squat#36: a crash loop, or an error, where the device is absent."""
    config.write("  - {name: late, devices: [{path: /dev/late0}]}\n")
    plugin(*config.option).serving(f"{DOMAIN}/late")
    dev.char("late0")
    node.until_healthy(f"{DOMAIN}/late", "late0")
    assert node.start("late", {f"{DOMAIN}/late": 1}).running().devices("late*") == ["late0"]


def test_a_pod_that_is_not_root_is_in_the_group_of_its_device(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """ROCm#39, kubernetes#92211: pods that do not run as root cannot open the device."""
    config.write("  - {name: render, additional_gids: auto, uid: 0, gid: 109, devices: [{path: /dev/renderD128}]}\n")
    dev.char("renderD128", mode=0o660, gid=109)
    plugin(*config.option, *ANNOTATED).serving(f"{DOMAIN}/render", "renderD128")

    pod = node.start("nobody", {f"{DOMAIN}/render": 1}, user=NOBODY).running()
    assert pod.exec("stat", "-c", "%u:%g %a", "/dev/renderD128").text == "0:109 660"
    assert reads(pod, "/dev/renderD128")


def test_one_device_is_shared_and_its_properties_are_variables(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """squat#80, kubevirt's fuse PR#59: /dev/fuse for many pods, without privileges."""
    config.write(
        "  - name: shared\n    count: 2\n    env: {SHARED_PATH: '{container_path}', SHARED_ID: '{id}'}\n"
        "    devices: [{path: /dev/shared0, container_path: /dev/own}]\n"
    )
    dev.char("shared0")
    shared = f"{DOMAIN}/shared"
    plugin(*config.option, *ANNOTATED).serving(shared, "shared0::0", "shared0::1")

    pods = [node.start(name, {shared: 1}).running() for name in ("one", "two")]
    for pod in pods:
        variables = pod.exec("cat", "/proc/1/environ").text.split("\0")
        assert {"SHARED_PATH=/dev/own", "SHARED_ID=shared0"} <= set(variables)
        assert reads(pod, "/dev/own")


def test_several_nodes_are_one_device_with_what_is_optional_left_out(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """squat#36, squat#69: nodes that belong together, of which some need not be there."""
    group = "[{path: '/dev/verbs*'}, {path: /dev/verbs_cm}, {path: /dev/verbs_extra, optional: true}]"
    config.write(f"  - {{name: rdma, devices: [{{group: {group}}}]}}\n")
    dev.char("verbs0")
    dev.char("verbs_cm")
    plugin(*config.option).serving(f"{DOMAIN}/rdma", "rdma")
    pod = node.start("rdma", {f"{DOMAIN}/rdma": 1}).running()
    assert sorted(pod.devices("verbs*")) == ["verbs0", "verbs_cm"]


def test_a_changed_configmap_reaches_the_kubelet_and_leaves_the_rest_alone(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """kubevirt#7084: lists are not refreshed without a restart."""
    kept, changed, added = (f"{DOMAIN}/{name}" for name in ("kept", "changed", "added"))
    for name in ("kept0", "changed0", "changed1", "added0"):
        dev.char(name)
    keep = "  - {name: kept, devices: [{path: /dev/kept0}]}\n"
    config.write(keep + "  - {name: changed, devices: [{path: /dev/changed0}]}\n")
    running = plugin(*config.option, "--log-level", "info").serving(kept, "kept0")
    node.until_healthy(changed, "changed0")
    holder = node.start("holder", {kept: 1}).running()

    config.write(
        keep
        + "  - {name: changed, devices: [{path: /dev/changed0}, {path: /dev/changed1}]}\n"
        + "  - {name: added, devices: [{path: /dev/added0}]}\n"
    )
    node.until_healthy(changed, "changed0", "changed1")
    node.until_healthy(added, "added0")
    assert (
        running.log.read_text().count(f"registered with the kubelet at {node.plugins}/kubelet.sock resource={kept}")
        <= 1
    )
    assert holder.running().devices("kept*") == ["kept0"]

    config.write(keep)
    node.until_healthy(added)
    node.until_healthy(changed)


def test_a_broken_file_changes_nothing_and_is_reported_with_its_line(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    dev.char("kept0")
    kept = f"{DOMAIN}/kept"
    config.write("  - {name: kept, devices: [{path: /dev/kept0}]}\n")
    running = plugin(*config.option).serving(kept, "kept0")
    config.write("  - {name: kept, devices: [{path: /dev/kept0, permision: r}]}\n")
    node.eventually("the fault", lambda: True if "devices.yaml:4" in running.log.read_text() else None)
    assert "unknown field" in running.log.read_text()
    assert node.start("kept", {kept: 1}).running().devices("kept*") == ["kept0"]


@contextlib.contextmanager
def loop_device(node: Node, content: bytes, place: Path) -> Iterator[str]:
    """A loop device over a file; its name."""
    file = place / "disk"
    file.write_bytes(content.ljust(512, b"\0"))
    made = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device can be had here: {made.stderr.strip()}")
    name = made.stdout.strip()
    status = os.stat(name)
    inside = node.path(f"/dev/{Path(name).name}-e2e")
    os.mknod(inside, stat.S_IFBLK | 0o660, status.st_rdev)
    try:
        yield inside.name
    finally:
        inside.unlink()
        subprocess.run(["losetup", "--detach", name], check=False)


def test_a_loop_device_is_read_by_its_pod(node: Node, plugin: Plugins, config: ConfigMap, tmp_path: Path) -> None:
    with loop_device(node, b"hello from the loop", tmp_path) as name:
        config.write(f"  - {{name: disk, permissions: r, devices: [{{path: /dev/{name}, probe: open}}]}}\n")
        plugin(*config.option).serving(f"{DOMAIN}/disk", name)
        pod = node.start("disk", {f"{DOMAIN}/disk": 1}).running()
        assert pod.exec("head", "-c", "19", f"/dev/{name}").text == "hello from the loop"
        assert pod.exec("sh", "-c", f"echo x > /dev/{name}").status != 0


def test_tun_is_opened_by_a_pod_that_is_not_root(node: Node, plugin: Plugins) -> None:
    """kubevirt#2098: tun must be there for pods, without a file and without privileges."""
    if not node.path("/dev/net/tun").exists():
        pytest.skip("this machine has no /dev/net/tun")
    tun = "github.com.ihcsim/tun"
    running = plugin("tun", *ANNOTATED)
    node.eventually("tun to be offered", lambda: node.checkpoint()[1].get(tun) or None)
    pod = node.start("tun", {tun: 1}, user=NOBODY).running()
    assert pod.exec("sh", "-c", ": <> /dev/net/tun").status == 0, running.log.read_text()


def test_what_a_link_leads_to_is_lost_and_found_without_a_restart(
    node: Node, plugin: Plugins, dev: Dev, config: ConfigMap
) -> None:
    """NVIDIA#111, #189: what was lost stays lost until the plugin is restarted."""
    config.write("  - {name: modem, devices: [{path: /dev/modem, probe: open}]}\n")
    dev.link("modem", "/dev/gone")
    running = plugin(*config.option).serving(f"{DOMAIN}/modem")
    dev.char("ttyP0")
    dev.link("modem", "/dev/ttyP0")
    node.until_healthy(f"{DOMAIN}/modem", "modem")
    dev.remove("ttyP0")
    node.until_healthy(f"{DOMAIN}/modem")
    assert "is a symbolic link to" in running.log.read_text()
