"""The program as operators run it: one process, its signals, its threads, its wake-ups, its memory, its log."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet_plugin.runtime import Settings
from tests.foreign import ForeignKubelet, PluginClient
from tests.foreign.serving import settings_for

KVM_SOCKET = "github.com.ihcsim.kvm.sock"


class Daemon:
    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._log = log

    def log(self) -> list[str]:
        return self._log.read_text().splitlines()

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def switches(self) -> int:
        """How often the process went to sleep: its wake-ups."""
        return int(self._status("voluntary_ctxt_switches"))

    def rss(self) -> float:
        """Resident memory in MiB."""
        return int(self._status("VmRSS").split()[0]) / 1024

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=10)

    def _status(self, key: str) -> str:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return line.split(":", 1)[1].strip()
        raise KeyError(key)


@contextlib.contextmanager
def daemon(tmp_path: Path, settings: Settings, *arguments: str, **environment: str) -> Iterator[Daemon]:
    log = tmp_path / "daemon.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "kubelet_plugin", "run"),
                *("--plugin-dir", settings.plugin_dir, "--cdi-dir", settings.cdi_dir, *arguments),
            ],
            stderr=stderr,
            text=True,
            env={**os.environ, **environment},
        )
    try:
        yield Daemon(process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def host_root(tmp_path: Path) -> Path:
    """A root file system whose /dev has nothing in it."""
    (tmp_path / "host/dev").mkdir(parents=True)
    return tmp_path / "host"


def test_an_absent_device_is_listed_as_unhealthy_from_the_first_list_on(
    kubelet: ForeignKubelet, settings: Settings, tmp_path: Path, host_root: Path
) -> None:
    with daemon(tmp_path, settings, "kvm", "--host-root", str(host_root)):
        assert kubelet.registered().stream.next() == {"kvm0": "Unhealthy"}


def test_sigterm_ends_streams_and_socket_with_exit_code_0_within_a_second(
    kubelet: ForeignKubelet, settings: Settings, tmp_path: Path, host_root: Path
) -> None:
    with daemon(tmp_path, settings, "kvm", "--host-root", str(host_root)) as process:
        stream = kubelet.registered().stream
        stream.next()
        begun = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - begun < 1
        assert stream.ended.wait(10)
        assert stream.lists.empty()
        assert os.listdir(settings.plugin_dir) == ["kubelet.sock"]


def test_without_a_kubelet_it_waits_and_says_so_once(tmp_path: Path, settings: Settings, host_root: Path) -> None:
    with daemon(tmp_path, settings, "kvm", "--host-root", str(host_root)) as process:
        client = PluginClient(os.path.join(settings.plugin_dir, KVM_SOCKET))
        client.watch().next()  # it serves all the same
        client.close()
        assert process.stop() == 0
        assert len([line for line in process.log() if "waiting for a kubelet" in line]) == 1


def test_after_sigkill_it_comes_back_under_the_same_ids(
    kubelet: ForeignKubelet, settings: Settings, tmp_path: Path, host_root: Path
) -> None:
    lists = []
    for _ in range(2):
        with daemon(tmp_path, settings, "kvm", "--count", "2", "--host-root", str(host_root)) as process:
            lists.append(kubelet.registered().stream.next())
            process.stop(signal.SIGKILL)
            assert KVM_SOCKET in os.listdir(settings.plugin_dir)
    assert lists == [{"kvm0::0": "Unhealthy", "kvm0::1": "Unhealthy"}] * 2


def test_the_idle_process_has_one_thread_and_hardly_wakes(
    kubelet: ForeignKubelet, settings: Settings, tmp_path: Path, host_root: Path
) -> None:
    with daemon(tmp_path, settings, "kvm", "crand", "--host-root", str(host_root)) as process:
        for _ in range(2):
            kubelet.registered().stream.next()
        time.sleep(1)  # idleness has no event
        before = process.switches()
        time.sleep(3)
        assert process.threads() == 1
        assert process.switches() - before <= 1


def test_memory_stays_small(kubelet: ForeignKubelet, settings: Settings, tmp_path: Path, host_root: Path) -> None:
    with daemon(tmp_path, settings, "kvm", "--host-root", str(host_root)) as process:
        kubelet.registered().stream.next()
        assert process.rss() < 27  # with headroom: `make bench` measures it


def test_the_daemon_never_loads_what_it_does_not_need(tmp_path: Path) -> None:
    code = "import sys, kubelet_plugin.cli.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"ssl", "hashlib", "msgspec", "yaml", "google.protobuf", "rich", "importlib.metadata"} & set(loaded)


def test_every_option_is_an_environment_variable_too(
    kubelet: ForeignKubelet, settings: Settings, tmp_path: Path, host_root: Path
) -> None:
    environment = {
        "KUBELET_PLUGIN_PLUGINS": "kvm crand",
        "KUBELET_PLUGIN_DOMAIN": "example.org",
        "KUBELET_PLUGIN_COUNT": "3",
        "KUBELET_PLUGIN_INJECT": "cdi-annotation",
        "KUBELET_PLUGIN_HOST_ROOT": str(host_root),
        "KUBELET_PLUGIN_LOG_FORMAT": "json",
        "KUBELET_PLUGIN_LOG_LEVEL": "debug",
    }
    with daemon(tmp_path, settings, **environment) as process:
        both = {r.request.resource_name: r for r in (kubelet.registered(), kubelet.registered())}
        assert set(both) == {"example.org/kvm", "example.org/crand"}
        assert len(both["example.org/kvm"].stream.next()) == 3
        process.stop()
        assert all(json.loads(line) for line in process.log())


def test_a_json_log_line_is_one_event_with_its_keys(
    kubelet: ForeignKubelet, settings: Settings, tmp_path: Path, host_root: Path
) -> None:
    with daemon(tmp_path, settings, "kvm", "--host-root", str(host_root), "--log-format", "json") as process:
        kubelet.registered().stream.next()
        process.stop()
        events = [json.loads(line) for line in process.log()]
    (absent,) = [event for event in events if event.get("device") == "kvm0"]
    assert absent["resource"] == "github.com.ihcsim/kvm"
    assert "absent" in absent["message"]


def test_a_stuck_plugin_directory_does_not_keep_it_from_ending(tmp_path: Path, host_root: Path) -> None:
    settings = settings_for(tmp_path, plugin_dir=str(tmp_path / "not/there"))
    with daemon(tmp_path, settings, "kvm", "--host-root", str(host_root)) as process:
        while not any("does not exist" in line for line in process.log()):
            assert process.process.poll() is None
            time.sleep(0.01)
        assert process.stop() == 0


def test_a_log_that_nobody_reads_does_not_keep_it_from_serving_or_ending(
    kubelet: ForeignKubelet, settings: Settings, host_root: Path
) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, b"x" * 4096):
            pass
    os.set_blocking(write, True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "kubelet_plugin", "run", "kvm", "--host-root", str(host_root)),
            *("--plugin-dir", settings.plugin_dir, "--cdi-dir", settings.cdi_dir),
        ],
        stderr=write,
    )
    assert kubelet.registered().stream.next() == {"kvm0": "Unhealthy"}
    process.terminate()
    assert process.wait(5) == 0
    os.close(read)
    os.close(write)
