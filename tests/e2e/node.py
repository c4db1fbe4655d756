"""A real node (node/node.sh), the plugin on it, and pods, as tests see them."""

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

HARNESS = Path(__file__).parents[2] / "node"
PLUGIN = Path(sys.executable).with_name("kubelet-plugin")
PATIENCE = 40.0  # seconds: far more than anything here takes on a slow machine
KVM, CRAND = "github.com.ihcsim/kvm", "github.com.ihcsim/crand"
NOBODY = 65534

T = TypeVar("T")


def fetched(component: str) -> Path:
    """Where node/fetch.sh keeps a component."""
    found = subprocess.run(
        ["sh", str(HARNESS / "fetch.sh"), "path", component], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(found.stdout.strip())


@functools.cache
def kubelet_minor() -> int:
    """The minor version of the kubelet under test."""
    answer = subprocess.run([fetched("kubelet"), "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    version = re.search(r"v1\.(\d+)\.", answer)
    assert version, answer
    return int(version[1])


@dataclass(frozen=True)
class Answer:
    """What a command inside a container printed, and its exit status."""

    text: str
    status: int


@dataclass(frozen=True)
class Refusal:
    """Why the kubelet did not admit a pod."""

    reason: str
    message: str


class Node:
    """A kubelet and containerd in namespaces of their own, with a private /dev; its run directory is `run`."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.plugins = run / "kubelet/device-plugins"
        self._environment = {**os.environ, "R": str(run), "NODE_DEV": "private", "NODE_CDI": "private"}
        self._serial = itertools.count(1)

    def control(self, *verb: str) -> str:
        """A verb of node.sh; what it prints."""
        done = subprocess.run(
            ["bash", str(HARNESS / "node.sh"), *verb],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"node.sh {' '.join(verb)}: {done.stderr}{self.story()}"
        return done.stdout

    @functools.cached_property
    def keeper(self) -> int:
        """The process that keeps the node's namespaces."""
        return int((self.run / "ns.pid").read_text())

    def path(self, inside: str) -> Path:
        """A path of the node, from here."""
        return Path(f"/proc/{self.keeper}/root{inside}")

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line that runs a command on the node, in the process that is started."""
        return ["nsenter", "-t", str(self.keeper), "-m", "-n", "--", *map(str, arguments)]

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """containerd's client."""
        ctr: list[str | Path] = [self.run / "bin/ctr", "-a", self.run / "containerd.sock", "-n", "k8s.io", *arguments]
        environment = {**os.environ, "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS": "1"}
        return subprocess.run(self.command(*ctr), env=environment, capture_output=True, text=True, check=False)

    def pods(self) -> dict[str, dict[str, Any]]:
        """What the kubelet says of its pods, by their manifests' names; empty while it does not answer."""
        wget = self.command(self.run / "bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:10255/pods")
        answer = subprocess.run(wget, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        items = json.loads(answer.stdout)["items"] or [] if answer.returncode == 0 else []
        return {pod["metadata"]["name"].removesuffix("-node1"): pod for pod in items}

    def eventually(self, what: str, look: Callable[[], T | None], patience: float = PATIENCE) -> T:
        """The first thing that `look` finds; the logs' ends where it finds nothing."""
        deadline = time.monotonic() + patience
        while (found := look()) is None:
            assert time.monotonic() < deadline, f"waited {patience:g} s: {what}{self.story()}"
            time.sleep(0.05)
        return found

    def story(self) -> str:
        """The ends of the logs that were written last."""
        logs = sorted(self.run.glob("*.log"), key=lambda log: log.stat().st_mtime)[-3:]
        return "".join(f"\n--- {log}\n{os.linesep.join(tail(log, 15))}" for log in logs)

    # The kubelet's own record of devices.

    def checkpoint(self) -> tuple[int, dict[str, list[str]]]:
        """When the kubelet wrote its checkpoint (file time, ns), and the healthy devices in it, sorted."""
        file = self.plugins / "kubelet_internal_checkpoint"
        try:
            written, text = file.stat().st_mtime_ns, file.read_text()
        except FileNotFoundError:
            return 0, {}
        devices = json.loads(text)["Data"]["RegisteredDevices"] or {}
        return written, {resource: sorted(ids) for resource, ids in devices.items()}

    def until_healthy(self, resource: str, *ids: str, since: int = -1) -> None:
        """Until the kubelet's record, written after `since` (file time), says that exactly these are healthy."""

        def look() -> bool | None:
            written, devices = self.checkpoint()
            return True if written > since and devices.get(resource) == sorted(ids) else None

        self.eventually(f"healthy {resource} to be {list(ids)} in the kubelet's checkpoint", look)

    # Pods.

    def start(self, name: str, limits: Mapping[str, int], user: int = 0) -> "Pod":
        """Hand a static pod to the kubelet: busybox, asleep, not privileged.

        It is never restarted: kubelet 1.20 may restart a pod while removing it, and then panics at the next admission.
        """
        unique = f"{name}-{next(self._serial)}"  # a pod's UID is made from its manifest
        container = {
            "name": "busybox",
            "image": "localhost/busybox:1",
            "command": ["sleep", "infinity"],
            "securityContext": {"runAsUser": user, "runAsGroup": user},
            "resources": {"limits": dict(limits)},
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": unique},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]},
        }
        part = self.run / "manifests" / f".{unique}.json"
        part.write_text(json.dumps(manifest))
        part.rename(part.with_name(f"{unique}.json"))
        return Pod(self, unique)

    def remove_pods(self) -> None:
        """Remove all pods, and wait until nothing of them is left."""
        for manifest in (self.run / "manifests").iterdir():
            manifest.unlink()
        self.eventually("the pods to be gone", lambda: None if self.pods() or self._tasks() else True)

    def _tasks(self) -> list[str]:
        return self.ctr("tasks", "ls", "-q").stdout.split()

    # The private /dev.

    def restore_dev(self) -> None:
        """All device nodes as they were at first."""
        for name in ("crand0", "crand1"):
            self.plug(name)
        if self.path("/dev/kvm").exists():
            self.path("/dev/kvm").chmod(0o600)

    def plug(self, name: str) -> None:
        """Make a crand node, where there is none."""
        node = self.path(f"/dev/{name}")
        if not node.exists():
            part = node.with_name(f".{name}")
            os.mknod(part, 0o020666, os.makedev(1, 8))
            part.chmod(0o666)
            part.rename(node)

    def unplug(self, name: str) -> None:
        """Remove a crand node."""
        self.path(f"/dev/{name}").unlink()


@dataclass(frozen=True)
class Pod:
    """A static pod with one container."""

    node: Node
    name: str

    def _status(self) -> dict[str, Any]:
        pod = self.node.pods().get(self.name)
        return pod["status"] if pod else {}

    def _container(self) -> dict[str, Any] | None:
        status = self._status()
        assert status.get("phase") != "Failed", (
            f"{self.name} is refused: {status.get('reason')}: {status.get('message')}"
        )
        containers = status.get("containerStatuses", [])
        return containers[0] if containers and "running" in containers[0]["state"] else None

    def running(self) -> "Pod":
        """This pod, once its container runs; it must not be refused."""
        self.node.eventually(f"{self.name} to run", self._container)
        return self

    def container(self) -> tuple[str, int]:
        """The container's id and how often it was restarted."""
        status = self.node.eventually(f"{self.name} to run", self._container)
        return status["containerID"].partition("://")[2], status["restartCount"]

    def refusal(self) -> Refusal:
        """Why the kubelet refused it; it must not run."""

        def look() -> Refusal | None:
            status = self._status()
            running = [each for each in status.get("containerStatuses", []) if "running" in each["state"]]
            assert not running, f"{self.name} runs"
            failed = status.get("phase") == "Failed"
            return Refusal(status["reason"], status["message"]) if failed else None

        return self.node.eventually(f"{self.name} to be refused", look)

    def exec(self, *command: str) -> Answer:
        """Run a command inside the container, as the container's user."""
        container, _ = self.container()
        exec_id = f"e-{time.monotonic_ns()}"
        done = self.node.ctr("tasks", "exec", "--exec-id", exec_id, container, *command)
        return Answer((done.stdout + done.stderr).strip(), done.returncode)

    def kvm(self) -> str:
        """What the KVM helper says inside the container."""
        return self.exec("kvm-check").text

    def devices(self, pattern: str = "crand*") -> list[str]:
        """The names in the container's /dev that match."""
        return self.exec("find", "/dev", "-name", pattern, "-exec", "basename", "{}", ";").text.split()


class Plugin:
    """`kubelet-plugin run` as a process on the node; its log is in the node's run directory."""

    _serial = itertools.count(1)

    def __init__(self, node: Node, *arguments: str) -> None:
        self.log = node.run / f"plugin-{next(self._serial)}.log"
        self._node = node
        self._before, _ = node.checkpoint()
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                node.command(PLUGIN, "run", *arguments), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def serving(self, resource: str, *ids: str) -> "Plugin":
        """This plugin, once the kubelet has had a list of exactly these healthy devices from it."""
        self._node.until_healthy(resource, *ids, since=self._before)
        return self

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; its exit status, and how many seconds it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(PATIENCE)
        return status, time.monotonic() - began

    def stop(self) -> None:
        """End it, where it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self.kill()


class Plugins:
    """Starts plugins on a node, and ends those it started."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._started: list[Plugin] = []

    def __call__(self, *arguments: str) -> Plugin:
        plugin = Plugin(self._node, *arguments)
        self._started.append(plugin)
        return plugin

    @contextlib.contextmanager
    def ending(self) -> Iterator["Plugins"]:
        """All plugins end with the block, and so do the pods."""
        try:
            yield self
        finally:
            for plugin in self._started:
                plugin.stop()
            self._node.remove_pods()
            self._node.restore_dev()


def tail(log: Path, lines: int) -> Sequence[str]:
    """The last lines of a file."""
    return log.read_text(errors="replace").splitlines()[-lines:]
