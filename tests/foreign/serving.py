"""Plugins served in a thread of their own, so that a test can play the kubelet in plain steps."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.runtime import Device, DevicePlugin, Settings, serve

RESOURCE = "example.com/thing"
SOCKET = "example.com.thing.sock"


class GivenPlugin(DevicePlugin):
    """Offers the lists that a test gives it."""

    def __init__(self, *devices: Device, resource_name: str = RESOURCE, grace: float = 0.0) -> None:
        self.resource_name = resource_name
        self.grace = grace
        self._given: list[Any] = [devices]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._more = asyncio.Event()

    def offer(self, *devices: Device) -> None:
        self.offer_anything(devices)

    def offer_anything(self, devices: Any) -> None:
        """Let `devices()` yield this, or raise it if it is an exception."""
        self._given.append(devices)
        if self._loop:
            self._loop.call_soon_threadsafe(self._more.set)

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        self._loop = asyncio.get_running_loop()
        while True:
            self._more.clear()
            while self._given:
                devices = self._given.pop(0)
                if isinstance(devices, BaseException):
                    raise devices
                yield devices
            await self._more.wait()


@contextlib.contextmanager
def served(*plugins: DevicePlugin, settings: Settings) -> Iterator[None]:
    """Serve plugins until the block ends; serving must then have ended by cancellation alone."""
    begun: futures.Future[tuple[asyncio.AbstractEventLoop, list[asyncio.Task[None]]]] = futures.Future()

    async def body() -> None:
        tasks = [asyncio.create_task(serve(plugin, settings)) for plugin in plugins]
        begun.set_result((asyncio.get_running_loop(), tasks))
        await asyncio.wait(tasks)

    thread = threading.Thread(target=asyncio.run, args=(body(),))
    thread.start()
    loop, tasks = begun.result(timeout=10)
    try:
        yield
    finally:
        for task in tasks:
            loop.call_soon_threadsafe(task.cancel)
        thread.join(timeout=10)
        assert not thread.is_alive()
    for task in tasks:
        assert task.cancelled(), task.exception()


def settings_for(tmp_path: Path, **changes: Any) -> Settings:
    """Settings with all directories under `tmp_path`, made if need be."""
    plugin_dir = tmp_path / "plugins"
    plugin_dir.mkdir(exist_ok=True)
    return Settings(
        **{
            "plugin_dir": str(plugin_dir),
            "cdi_dir": str(tmp_path / "cdi"),
            "pod_resources": str(tmp_path / "pod-resources.sock"),
            **changes,
        }
    )


def told(caplog: pytest.LogCaptureFixture, words: str) -> threading.Event:
    """An event that is set as soon as these words are logged."""
    event = threading.Event()

    def look(record: logging.LogRecord) -> bool:
        if words in record.getMessage():
            event.set()
        return True

    caplog.set_level("INFO")
    caplog.handler.addFilter(look)
    return event
