"""A real kubelet (node/node.sh) as scenarios need it."""

import base64
import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.e2e.node import PATIENCE, Node, kubelet_minor
from tests.scenarios.observed import Delivered, PodSeen, Resource, pod_seen

HEALTH_SINCE = 31  # where its gate is closed by default, node.sh opens it
METRICS = "http://127.0.0.1:10255/metrics"
KUBELET_DIR = "/var/lib/kubelet"
# What a kubelet logs while it computes the node's status; the second wording is that of 1.31 and later. It mentions
# allocatable only where that differs from capacity.
_CAPACITY = re.compile(
    r'Update capacity for (\S+) to (\d+)|"Updated capacity for device plugin" plugin="(\S+)" capacity=(\d+)'
)
_ALLOCATABLE = re.compile(
    r'Update allocatable for (\S+) to (\d+)|"Updated allocatable" device="(\S+)" allocatable=(\d+)'
)


class RealKubelet:
    """The kubelet of a node that is up."""

    _serial = itertools.count(1)

    def __init__(self, node: Node) -> None:
        self.minor = kubelet_minor()
        self.plugin_dir = node.plugins
        self.registry_dir = node.run / "kubelet/plugins_registry"
        self.cdi_dir = node.run / "cdi"
        self.pod_resources = node.run / "kubelet/pod-resources/kubelet.sock"
        self.reports_health = self.minor >= HEALTH_SINCE
        self.places = {f"{KUBELET_DIR}/device-plugins": "<plugins>", f"{KUBELET_DIR}/plugins_registry": "<registry>"}
        self.patience = PATIENCE
        self._node = node
        self._log = node.run / "kubelet.log"
        self._manifests = node.run / "manifests"

    def advance(self, seconds: float) -> None:
        pass

    def settle(self) -> None:
        time.sleep(0.3)

    def restart(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._node.control("kubelet-stop")
        meanwhile()
        self._node.control("kubelet-start")

    def resources(self) -> Mapping[str, Resource]:
        # A kubelet without an API server computes its node's status whenever it decides about a pod, and then only logs
        # it. So it is given a pod to decide about that fits no node.
        before = self._log.stat().st_size
        name = f"probe-{next(self._serial)}"
        spec = {"nodeSelector": {"fits": "no-node"}, "containers": [{"name": "c", "image": "localhost/busybox:1"}]}
        self.admit({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

        def decided() -> bool | None:
            seen = self.pod(name)
            return True if seen and seen.phase == "Failed" else None

        self._node.eventually("the kubelet to compute its node's status", decided)
        self.remove(name)
        return self._logged_since(before)

    def _logged_since(self, offset: int) -> dict[str, Resource]:
        resources: dict[str, Resource] = {}
        with self._log.open(errors="replace") as log:
            log.seek(offset)
            for line in log:
                if found := _CAPACITY.search(line):
                    resource, count = (group for group in found.groups() if group is not None)
                    resources[resource] = Resource(int(count), int(count))
                elif found := _ALLOCATABLE.search(line):
                    resource, count = (group for group in found.groups() if group is not None)
                    if resource in resources:  # else it belongs to a computation that began before
                        resources[resource] = Resource(resources[resource].capacity, int(count))
        return resources

    def metrics(self) -> str:
        wget = self._node.command(self._node.run / "bin/busybox", "wget", "-q", "-O", "-", METRICS)
        return subprocess.run(wget, stdout=subprocess.PIPE, text=True, check=True).stdout

    def admit(self, manifest: Mapping[str, Any]) -> None:
        self.hand_in(f"{manifest['metadata']['name']}.json", json.dumps(manifest))

    def hand_in(self, name: str, text: str) -> None:
        part = self._manifests / f".{name}"
        part.write_text(text)
        part.rename(self._manifests / name)

    def take_out(self, name: str) -> None:
        (self._manifests / name).unlink()

    def remove(self, pod: str) -> None:
        self.take_out(f"{pod}.json")
        self._node.eventually(f"{pod} to be gone", lambda: None if pod in self._node.pods() else True)

    def pod(self, name: str) -> PodSeen | None:
        document = self._node.pods().get(name)
        return pod_seen(document["status"], self.places) if document else None

    def api_name(self, pod: str) -> str:
        return str(self._node.pods()[pod]["metadata"]["name"])

    def delivered(self, pod: str, container: str) -> Delivered:
        # containerd keeps what it was asked for by the kubelet.
        info = json.loads(self._node.ctr("containers", "info", self._container(pod, container)).stdout)
        (extension,) = info["Extensions"].values()
        config = json.loads(base64.b64decode(extension["value"]))["Metadata"]["Config"]
        return Delivered(
            env={each["key"]: each["value"] for each in config.get("envs", ())},
            mounts={each["container_path"]: each["host_path"] for each in config["mounts"]},
            devices={each["container_path"]: each["host_path"] for each in config.get("devices", ())},
            annotations=config["annotations"],
            cdi_devices=tuple(each["name"] for each in config.get("CDI_devices", ())),
        )

    def restart_container(self, pod: str, container: str) -> None:
        killed = self._node.ctr("tasks", "kill", "--signal", "SIGKILL", self._container(pod, container))
        assert killed.returncode == 0, killed.stderr

    def _container(self, pod: str, container: str) -> str:
        statuses = self._node.pods()[pod]["status"]["containerStatuses"]
        (found,) = (each["containerID"] for each in statuses if each["name"] == container)
        return str(found).partition("://")[2]

    def launch(self, arguments: Sequence[str]) -> Sequence[str]:
        return self._node.command(*arguments)
