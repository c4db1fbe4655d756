"""`run`: several plugins in one process that ends when it is told, whatever their code does."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from kubelet_plugin.runtime import Settings
from tests.foreign import ForeignKubelet

PROGRAM = """
import sys, threading, time
from kubelet_plugin import Device, DevicePlugin, Settings, run

class Good(DevicePlugin):
    resource_name = "example.com/good"
    async def devices(self):
        yield [Device("good0")]

class Broken(Good):
    resource_name = "example.com/broken"
    @property
    def grace(self):
        raise RuntimeError("broken")

class HangingThread(Good):
    resource_name = "example.com/thread"
    def allocate(self, devices):
        threading.Event().wait()

class HangingCoroutine(Good):
    resource_name = "example.com/coroutine"
    async def allocate(self, devices):
        import asyncio
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

_, plugin_dir, cdi_dir, *names = sys.argv
plugins = [globals()[name]() for name in names]
settings = Settings(plugin_dir=plugin_dir, cdi_dir=cdi_dir) if plugin_dir else None
raise SystemExit(run(*plugins, settings=settings))
"""


def start(settings: Settings, *names: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, settings.plugin_dir, settings.cdi_dir, *names], stderr=subprocess.DEVNULL
    )


def test_a_plugin_that_cannot_be_served_does_not_keep_others_from_it(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    process = start(settings, "Broken", "Good")
    assert kubelet.registered().request.resource_name == "example.com/good"
    process.terminate()
    assert process.wait(10) == 0


@pytest.mark.parametrize("name", ["HangingThread", "HangingCoroutine"])
def test_sigterm_ends_the_process_within_a_second_though_a_hook_hangs(
    name: str, kubelet: ForeignKubelet, settings: Settings
) -> None:
    process = start(settings, name)
    registered = kubelet.registered()
    registered.stream.next()
    failed = threading.Event()

    def allocate() -> None:
        with pytest.raises(grpc.RpcError):
            registered.plugin.allocate(["good0"])
        failed.set()

    thread = threading.Thread(target=allocate)
    thread.start()
    while Path(f"/proc/{process.pid}/status").read_text().count("Threads:\t1\n") and name == "HangingThread":
        time.sleep(0.001)
    begun = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0
    assert time.monotonic() - begun < 1
    assert failed.wait(10)
    thread.join()


def test_two_plugins_of_one_resource_are_a_configuration_error(settings: Settings) -> None:
    process = start(settings, "Good", "Good")
    assert process.wait(10) == 1


def test_a_program_that_sets_up_no_logging_gets_lines_on_standard_error(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, settings.plugin_dir, settings.cdi_dir, "Good"],
        stderr=subprocess.PIPE,
        text=True,
    )
    kubelet.registered().stream.next()
    process.terminate()
    _, log = process.communicate(timeout=10)
    assert "Healthy resource=example.com/good device=good0" in log


def test_a_program_that_gives_no_settings_serves_where_the_environment_says(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    environment = {"KUBELET_PLUGIN_PLUGIN_DIR": settings.plugin_dir, "KUBELET_PLUGIN_CDI_DIR": settings.cdi_dir}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "", "", "Good"], env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    assert kubelet.registered().request.resource_name == "example.com/good"
    process.terminate()
    assert process.wait(10) == 0


def test_settings_given_in_the_program_win_over_the_environment(kubelet: ForeignKubelet, settings: Settings) -> None:
    environment = {"KUBELET_PLUGIN_PLUGIN_DIR": "/nowhere", "KUBELET_PLUGIN_INJECT": "magic"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, settings.plugin_dir, settings.cdi_dir, "Good"],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    )
    assert kubelet.registered().request.resource_name == "example.com/good"
    process.terminate()
    assert process.wait(10) == 0
