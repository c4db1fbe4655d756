"""The image, built from this tree, run by the node's own containerd as an unprivileged static pod."""

import contextlib
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.image import oci, wheels
from deploy.image.cache import digest
from tests.e2e.node import CRAND, KVM, NOBODY, Node, Plugins, kubelet_minor

pytestmark = pytest.mark.timeout(900)

PROJECT = Path(__file__).parents[2]
RUN = PROJECT / "src/kubelet_plugin/cli/run.py"
WAY = "both" if kubelet_minor() >= 28 else "cdi-annotation"  # older kubelets drop the names that a response has
WORKS = "api=12 vm=ok"
UNPRIVILEGED = {
    "runAsUser": 0,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
MOUNTS = {  # a path of the node: where the plugin has it, and whether it may write there
    "/var/lib/kubelet/device-plugins": ("/var/lib/kubelet/device-plugins", True),
    "/var/run/cdi": ("/var/run/cdi", True),
    "/dev": ("/host/dev", False),
}
_serial = itertools.count(1)


@dataclass(frozen=True)
class Daemon:
    """A pod of the image that runs."""

    node: Node
    name: str

    @property
    def status(self) -> dict[str, Any]:
        pod = self.node.pods().get(self.name)
        statuses = pod["status"].get("containerStatuses", []) if pod else []
        return statuses[0] if statuses else {}

    @property
    def container(self) -> str:
        """The container's id, once it runs."""
        found: dict[str, Any] = self.node.eventually(
            f"{self.name} to run: {self.status}",
            lambda: self.status if "running" in self.status.get("state", {}) else None,
        )
        return str(found["containerID"]).partition("://")[2]

    @property
    def process(self) -> int:
        """Its process."""
        lines = self.node.ctr("tasks", "ls").stdout.splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(self.container))

    def status_of_process(self, key: str) -> str:
        text = Path(f"/proc/{self.process}/status").read_text()
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(f"{key}:"))

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.node.ctr("tasks", "exec", "--exec-id", f"e-{next(_serial)}", self.container, *command)

    def log(self) -> str:
        files = (self.node.run / "log/pods").glob(f"*{self.name}*/*/*.log")
        return "".join(file.read_text() for file in files)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the project's wheel is built of, as it is now: somebody may be working on it."""
    directory = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "src", directory / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, directory)
    return directory


@pytest.fixture(scope="module")
def wheel(snapshot: Path) -> Path:
    """The project's wheel."""
    file = snapshot / "project.whl"
    file.write_bytes(wheels.build(snapshot))
    return file


def built(output: Path, wheel: Path, *flags: str) -> tuple[Path, str]:
    """Build an image with that wheel; the archive, and the image's name in it."""
    command = [sys.executable, "-m", "deploy.image", "build", "--output", str(output), "--wheel", str(wheel), *flags]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    archive, _, reference = done.stdout.splitlines()[-1].partition(": ")
    return Path(archive), reference.partition("@")[0]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> tuple[Path, str]:
    """The image as it is built, and its name."""
    return built(tmp_path_factory.mktemp("image"), wheel)


@pytest.fixture(scope="module")
def image(node: Node, archive: tuple[Path, str]) -> str:
    """The image's name; it is on the node."""
    return imported(node, *archive)


@pytest.fixture(scope="module")
def debug_image(node: Node, tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> str:
    """The name of the image with a debugger."""
    return imported(node, *built(tmp_path_factory.mktemp("image"), wheel, "--debug"))


def imported(node: Node, archive: Path, name: str) -> str:
    done = node.ctr("images", "import", str(archive))
    assert done.returncode == 0, done.stderr
    return name


@contextlib.contextmanager
def daemon(node: Node, image: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Daemon]:
    """Run the image as a static pod, for the time of the block."""
    name = f"daemon-{next(_serial)}"
    container = {
        "name": "kubelet-plugin",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["run", *arguments, "--host-root", "/host"],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "securityContext": UNPRIVILEGED,
        "volumeMounts": [
            {"name": f"v{index}", "mountPath": inside, "readOnly": not writable}
            for index, (inside, writable) in enumerate(MOUNTS.values())
        ],
    }
    volumes = [{"name": f"v{index}", "hostPath": {"path": path}} for index, path in enumerate(MOUNTS)]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 5, "restartPolicy": "Never"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    file = node.run / "manifests" / f"{name}.json"
    part = file.with_name(f".{file.name}")
    part.write_text(json.dumps(manifest))
    part.rename(file)
    try:
        yield Daemon(node, name)
    finally:
        node.remove_pods()
        node.restore_dev()


@pytest.fixture
def running(node: Node, image: str) -> Iterator[Daemon]:
    """The kvm and crand plugins, in a pod."""
    before, _ = node.checkpoint()
    with daemon(node, image, ["kvm", "crand", "--inject", WAY], {}) as pod:
        node.until_healthy(CRAND, "crand0", "crand1", since=before)
        yield pod


@pytest.mark.usefixtures("kvm")
def test_a_pod_of_the_image_serves_kvm_to_a_pod(node: Node, running: Daemon) -> None:
    node.until_healthy(KVM, "kvm0")

    assert node.start("kvm", {KVM: 1}).running().kvm() == WORKS


@pytest.mark.usefixtures("kvm")
def test_a_pod_of_the_image_serves_kvm_to_a_pod_that_is_not_roots(node: Node, running: Daemon) -> None:
    node.until_healthy(KVM, "kvm0")

    assert node.start("kvm", {KVM: 1}, NOBODY).running().kvm() == WORKS


def test_the_daemon_has_no_capability_one_thread_and_a_seccomp_filter(running: Daemon) -> None:
    assert int(running.status_of_process("CapEff"), 16) == 0
    assert int(running.status_of_process("CapBnd"), 16) == 0
    assert running.status_of_process("NoNewPrivs") == "1"
    assert running.status_of_process("Seccomp") == "2"
    assert running.status_of_process("Threads") == "1"


def test_the_daemon_takes_no_more_memory_than_it_may(running: Daemon) -> None:
    rollup = Path(f"/proc/{running.process}/smaps_rollup").read_text()
    rss = re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert rss
    assert int(rss[1]) <= 26 * 1024, rollup


def test_the_image_has_no_shell(running: Daemon) -> None:
    answer = running.exec("sh", "-c", "true")
    assert answer.returncode != 0
    assert "executable file not found" in answer.stderr


def test_other_verbs_are_there_by_name(running: Daemon) -> None:
    answer = running.exec("kubelet-plugin", "cdi", "devices")
    assert f"{CRAND}=crand0" in answer.stdout, answer.stderr


def test_a_lost_device_is_noticed_through_the_read_only_mount(node: Node, running: Daemon) -> None:
    before, _ = node.checkpoint()

    node.unplug("crand1")

    node.until_healthy(CRAND, "crand0", since=before)


def test_with_a_debugger_it_waits_for_one_and_runs_when_that_goes_on(node: Node, debug_image: str) -> None:
    with daemon(node, debug_image, ["crand"], {"KUBELET_PLUGIN_DEBUG": "wait"}) as pod:
        node.eventually("the daemon to wait", lambda: True if "waiting for a debugger on" in pod.log() else None)
        assert "serving" not in pod.log()

        line = 1 + next(n for n, text in enumerate(RUN.read_text().splitlines()) if "logs.configure(" in text)
        attached = subprocess.run(
            ["nsenter", "-t", str(pod.process), "-n", "--", sys.executable, "-m", "deploy.image.attach"],
            input=f"b cli/run.py:{line}\nc\np 'answer', 6 * 7\nq\n",
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

        assert attached.returncode == 0, attached.stderr
        assert f"breakpoint: {RUN}:{line} command" in attached.stdout
        assert "('answer', 42)" in attached.stdout
        node.eventually("the daemon to serve", lambda: True if "serving" in pod.log() else None)


def test_the_debugging_image_has_a_shell_and_waits_for_nobody_unless_asked(node: Node, debug_image: str) -> None:
    before, _ = node.checkpoint()
    with daemon(node, debug_image, ["crand"], {}) as pod:
        node.until_healthy(CRAND, "crand0", "crand1", since=before)

        assert pod.exec("sh", "-c", "ls /host/dev").stdout.split().count("crand0") == 1


def test_a_plugin_on_the_node_takes_over_from_one_in_a_pod(node: Node, image: str, plugin: Plugins) -> None:
    before, _ = node.checkpoint()
    with daemon(node, image, ["crand"], {}):
        node.until_healthy(CRAND, "crand0", "crand1", since=before)

    plugin("crand").serving(CRAND, "crand0", "crand1")


def test_two_builds_of_the_wheel_are_the_same_byte_for_byte(snapshot: Path, wheel: Path) -> None:
    assert digest(wheels.build(snapshot)) == digest(wheel.read_bytes())


def test_two_builds_are_the_same_byte_for_byte(archive: tuple[Path, str], wheel: Path, tmp_path: Path) -> None:
    again, _ = built(tmp_path, wheel)

    assert {file.name: digest(file.read_bytes()) for file in again.parent.iterdir()} == {
        file.name: digest(file.read_bytes()) for file in archive[0].parent.iterdir()
    }


@pytest.fixture(scope="module")
def contents(archive: tuple[Path, str]) -> dict[str, dict[str, tarfile.TarInfo]]:
    """The files of each platform's image, by path."""
    return {name: files for name, files, _ in opened(archive[0])}


def opened(archive: Path) -> Iterator[tuple[str, dict[str, tarfile.TarInfo], int]]:
    """Each platform's name, its files by path, and the bytes of its layers."""
    image = oci.read(archive)
    for described in image.manifests():
        layers = json.loads(image.blob(described["digest"]))["layers"]
        files: dict[str, tarfile.TarInfo] = {}
        for layer in layers:
            with tarfile.open(fileobj=io.BytesIO(image.blob(layer["digest"]))) as tar:
                files |= {member.name: member for member in tar}
        yield described["platform"]["architecture"], files, sum(layer["size"] for layer in layers)


def test_no_platform_takes_more_than_25_megabytes(archive: tuple[Path, str]) -> None:
    sizes = {name: size for name, _, size in opened(archive[0])}
    assert set(sizes) == {"amd64", "arm64"}
    assert max(sizes.values()) <= 25_000_000, sizes


@pytest.mark.parametrize("platform", ["amd64", "arm64"])
def test_the_image_has_no_shell_no_package_manager_and_no_compiler(
    contents: dict[str, dict[str, tarfile.TarInfo]], platform: str
) -> None:
    programs = {path for path, member in contents[platform].items() if member.mode & 0o111 and not member.isdir()}
    assert {path for path in programs if "/ld-linux-" not in path} == {"usr/bin/kubelet-plugin", "usr/bin/python3.11"}


@pytest.mark.parametrize("platform", ["amd64", "arm64"])
def test_every_python_file_has_byte_code(contents: dict[str, dict[str, tarfile.TarInfo]], platform: str) -> None:
    files = contents[platform]
    sources = [path for path in files if path.endswith(".py")]
    assert len(sources) > 100
    compiled = [re.sub(r"([^/]+)\.py$", r"__pycache__/\1.cpython-311.pyc", path) for path in sources]
    assert [path for path in compiled if path not in files] == []


@pytest.mark.parametrize("platform", ["amd64", "arm64"])
def test_bills_of_materials_are_inside_and_beside(
    archive: tuple[Path, str], contents: dict[str, dict[str, tarfile.TarInfo]], platform: str
) -> None:
    for suffix in ("spdx.json", "cdx.json"):
        beside = archive[0].with_name(f"kubelet-plugin-image.{platform}.{suffix}")
        assert contents[platform][f"usr/share/sbom/kubelet-plugin.{suffix}"].size == beside.stat().st_size > 0
