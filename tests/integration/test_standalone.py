"""`kubelet-plugin kubelet`, as a process of its own."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubelet_plugin.kubelet import Runc
from kubelet_plugin.testing import pod

UNAVAILABLE = Runc.unavailable()
COMMAND = [sys.executable, "-m", "kubelet_plugin", "kubelet"]
RESOURCE = "github.com.ihcsim/crand"


class Process:
    """The program, with its log as it comes."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr
        with self._process.stderr as log:
            for line in log:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def said(self, words: str) -> str:
        """The first line with these words, once it is there."""

        def found() -> str | None:
            return next((line for line in self._lines if words in line), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._ended, timeout=20)
            line = found()
        assert line, f"{words!r} is not in:\n{''.join(self._lines)}"
        return line

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        self._reader.join(10)
        return self._process.wait(10)

    def port(self) -> int:
        return int(self.said("ready: http://").rpartition(":")[2].partition("/")[0])

    def get(self, page: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", page)
            answer = connection.getresponse()
            text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else text


class Place:
    """Directories for one."""

    def __init__(self, root: Path) -> None:
        self.plugins, self.manifests, self.cdi, self.host = (root / name for name in ("p", "m", "c", "h"))
        self.manifests.mkdir()
        (self.host / "dev").mkdir(parents=True)
        (self.host / "dev/crand0").symlink_to(os.path.relpath("/dev/random", self.host / "dev"))

    def put(self, name: str, text: str) -> None:
        """Put a manifest in place whole, as a kubelet's own should be."""
        part = self.manifests / f".{name}"
        part.write_text(text)
        part.rename(self.manifests / name)

    def options(self) -> list[str]:
        return [
            *("--plugin-dir", str(self.plugins), "--manifests", str(self.manifests), "--cdi-dir", str(self.cdi)),
            *("--node-name", "n1", "--listen", "127.0.0.1:0", "-v", "4"),
        ]

    @contextlib.contextmanager
    def plugin(self) -> Iterator[None]:
        options = ["--plugin-dir", str(self.plugins), "--cdi-dir", str(self.cdi), "--host-root", str(self.host)]
        command = [sys.executable, "-m", "kubelet_plugin", "run", "crand", *options]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="k-") as root:
        yield Place(Path(root))


@pytest.fixture
def kubelet(place: Place) -> Iterator[Process]:
    process = Process(*place.options())
    process.said("ready: plugins register at")
    try:
        yield process
    finally:
        process.end()


def test_a_pod_from_a_manifest_gets_the_device_of_a_plugin(kubelet: Process, place: Place) -> None:
    with place.plugin():
        kubelet.said('"Processed device updates for resource"')
        place.put("pod.yaml", yaml.safe_dump(pod({RESOURCE: 1})))
        kubelet.said('"Add CDI device"')
        kubelet.said('"SyncLoop ADD"')
        _, pods = kubelet.get("/pods")
        (item,) = pods["items"]
        assert (item["metadata"]["name"], item["status"]["phase"]) == ("pod-n1", "Running")
        (status,) = item["status"]["containerStatuses"]
        assert status["allocatedResourcesStatus"] == [
            {"name": RESOURCE, "resources": [{"resourceID": "crand0", "health": "Healthy"}]}
        ]
        _, node = kubelet.get("/node")
        assert node["status"]["allocatable"][RESOURCE] == "1"
        _, containers = kubelet.get("/containers")
        devices = containers["default/pod-n1"]["main"]["linux"]["devices"]
        assert [device["path"] for device in devices] == ["/dev/crand0"]


def test_the_metrics_are_the_kubelets_own(kubelet: Process, place: Place) -> None:
    with place.plugin():
        kubelet.said('"Processed device updates for resource"')
        status, text = kubelet.get("/metrics")
    assert status == 200
    assert f'kubelet_device_plugin_registration_total{{resource_name="{RESOURCE}"}} 1\n' in text


@pytest.mark.skipif(bool(UNAVAILABLE), reason=UNAVAILABLE)
def test_a_container_that_is_run_sees_the_device_and_what_it_writes_is_served(place: Place) -> None:
    kubelet = Process(*place.options(), "--run")
    try:
        with place.plugin():
            kubelet.said('"Processed device updates for resource"')
            manifest = pod({RESOURCE: 1}, restart_policy="Never")
            manifest["spec"]["containers"][0]["command"] = ["ls", "/dev/crand0"]
            place.put("pod.json", json.dumps(manifest))
            kubelet.said('event="ContainerDied"')
            assert kubelet.get("/logs")[1] == {"default/pod-n1": {"main": "/dev/crand0\n"}}
            assert kubelet.get("/pods")[1]["items"][0]["status"]["phase"] == "Succeeded"
    finally:
        kubelet.end()


def test_a_pod_whose_manifest_goes_is_gone(kubelet: Process, place: Place) -> None:
    place.put("pod.json", json.dumps(pod({})))
    kubelet.said('"SyncLoop ADD"')
    (place.manifests / "pod.json").unlink()
    kubelet.said('"SyncLoop REMOVE"')
    assert kubelet.get("/pods")[1]["items"] is None


def test_a_malformed_manifest_is_told_in_the_kubelets_words_and_the_others_go_on(
    kubelet: Process, place: Place
) -> None:
    place.put("bad.yaml", "not: a pod\n")
    place.put("good.yaml", yaml.safe_dump(pod({})))
    line = kubelet.said("couldn't parse as pod(Object 'Kind' is missing")
    assert str(place.manifests / "bad.yaml") in line
    kubelet.said('"SyncLoop ADD"')


def test_a_resource_that_nobody_offers_is_admitted_as_by_a_kubelet_and_pointed_out(
    kubelet: Process, place: Place
) -> None:
    place.put("pod.yaml", yaml.safe_dump(pod({"example.com/nothing": 1})))
    line = kubelet.said("admitted without what no device plugin has offered yet")
    assert "example.com/nothing" in line
    assert kubelet.get("/pods")[1]["items"][0]["status"]["phase"] == "Running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_and_its_socket_is_gone(place: Place, number: signal.Signals) -> None:
    kubelet = Process(*place.options())
    kubelet.said("ready: plugins register at")
    assert kubelet.end(number) == 0
    assert not (place.plugins / "kubelet.sock").exists()


def test_a_second_one_leaves_the_directory_of_the_first_alone(kubelet: Process, place: Place) -> None:
    done = subprocess.run(
        [*COMMAND, "--plugin-dir", str(place.plugins)], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 1
    assert "another kubelet answers in" in done.stderr
    assert kubelet.get("/healthz") == (200, "ok")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "1.2"], "'1.2' is not one of '1.20', '1.31'"),
        (["--numa-nodes", "a"], "'a' is no list of numbers, such as 0,1"),
        (["--numa-nodes", "64"], "give ids from 0 to 63"),
        (["--topology-policy", "strict"], "'strict' is not one of 'none', 'best-effort'"),
        (["--listen", "nowhere"], "nowhere"),
        (["--plugin-dir", "/proc/nothing"], "the plugin directory /proc/nothing cannot be used"),
        (["--manifests"], "requires an argument"),
        (["--plugin-dir", ""], "it is empty"),
        (["--plugin-dir", __file__], "is a file"),
        (["--manifests", __file__], "is a file"),
        (["--host-root", "/nothing/here"], "does not exist"),
        (["--node-name", "Bad Name"], "'Bad Name' is no name of a node"),
        (["--grace", "-1"], "-1.0 is not in the range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_clear_message(arguments: list[str], words: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_with_somebodys_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    command = [*COMMAND, "--plugin-dir", str(tmp_path), "--profile", "1.20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "holds thesis.txt, which is none of a kubelet's files" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("option", ["--pod-resources", "--checkpoint"])
def test_a_file_in_the_place_of_a_socket_or_checkpoint_is_left_alone(place: Place, option: str) -> None:
    file = place.host / "thesis.txt"
    file.write_text("precious")
    command = [*COMMAND, "--plugin-dir", str(place.plugins), option, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode in (1, 2)
    assert str(file) in done.stderr
    assert file.read_text() == "precious"


def test_a_refused_pod_is_in_the_log_with_the_reason(kubelet: Process, place: Place) -> None:
    with place.plugin():
        kubelet.said('"Processed device updates for resource"')
        place.put("pod.yaml", yaml.safe_dump(pod({RESOURCE: 2})))
        line = kubelet.said('"Event occurred"')
    assert 'object="default/pod-n1"' in line
    assert "Requested: 2, Available: 1" in line


def test_an_address_in_use_is_refused_before_the_directory_is_touched(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [*COMMAND, "--plugin-dir", str(place.plugins), "--listen", address],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr
    assert not place.plugins.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may run containers")
def test_running_containers_without_root_is_refused_with_the_reason() -> None:
    done = subprocess.run([*COMMAND, "--run"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "--run: " in done.stderr
