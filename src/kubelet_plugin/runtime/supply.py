"""From what a plugin yields to what the inventory offers: retained, written to the CDI spec, logged."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from kubelet_plugin import cdi
from kubelet_plugin.errors import DeviceListError, ListTooLargeError, PluginError
from kubelet_plugin.runtime.device import Device
from kubelet_plugin.runtime.holders import held_devices
from kubelet_plugin.runtime.inject import check_deliverable
from kubelet_plugin.runtime.inventory import DeviceList, Inventory, shown
from kubelet_plugin.runtime.plugin import DevicePlugin
from kubelet_plugin.runtime.retention import Retention
from kubelet_plugin.runtime.settings import Backoff, Settings
from kubelet_plugin.runtime.specs import SpecFile
from kubelet_plugin.runtime.statelog import ERROR, INFO, WARNING, StateLog

_STEADY = 60.0  # a generator that went on for this long fails for a new reason: it is begun anew quickly


class Supply:
    """Keeps an inventory in line with what a plugin yields.

    Args:
        plugin: The plugin.
        inventory: Where its devices go.
        spec: The CDI spec file; None where CDI is not used.
        settings: How to inject, and the times.
        log: Where the states of devices are reported.
    """

    def __init__(
        self, plugin: DevicePlugin, inventory: Inventory, spec: SpecFile | None, settings: Settings, log: StateLog
    ) -> None:
        self._plugin = plugin
        self._resource_name = plugin.resource_name
        self._inventory = inventory
        self._spec = spec
        self._settings = settings
        self._log = log
        self._retention = Retention(plugin.grace)
        self._spec_backoff = Backoff(settings)
        self._yielded: DeviceList | None = None
        self._devices: tuple[Device, ...] | None = None
        self._spec_fault = ""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._keep())

    async def first(self) -> None:
        """Wait for the first list; where the plugin takes too long over it, offer an empty one."""
        try:
            async with asyncio.timeout(self._settings.first_list_deadline):
                await self._inventory.first()
        except TimeoutError:
            patience = self._settings.first_list_deadline
            self._log.event(WARNING, f"devices() yielded no list in {patience:g} s: offering none until it does")
            self._inventory.replace(DeviceList(self._resource_name, ()))

    async def _follow(self) -> None:
        """Take each list the plugin yields, and begin its generator anew when it fails."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._settings)
        while True:
            begun = loop.time()
            try:
                async with aclosing(self._plugin.devices()) as lists:  # type: ignore[type-var]
                    async for devices in lists:
                        self._take(devices)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the last list stays
                what = f"devices() raised {type(error).__name__}: {error}; the last list stays, trying again"
                self._log.event(ERROR, f"{self._resource_name}: {what}", error=error)
            else:
                return
            if loop.time() - begun >= _STEADY:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    def _take(self, devices: Sequence[Device]) -> None:
        try:
            if not isinstance(devices, Iterable):
                raise DeviceListError(f"{self._resource_name}: devices() yielded a {type(devices).__name__}")
            yielded = DeviceList(self._resource_name, devices)
            check_deliverable(self._settings.inject, yielded.devices)
        except PluginError as error:
            self._log.say("devices", ERROR, f"{error}; the last good list stays")
            return
        self._log.forget("devices")
        self._yielded = yielded
        self._offer()
        self._wake.set()

    async def _keep(self) -> None:
        """Look after what changes with time alone: lost devices, and the spec file."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            pause = self._spec_backoff.next() if self._spec_fault else self._settings.tick
            if (expiry := self._retention.next_expiry()) is not None:
                pause = min(pause, max(0.0, expiry - loop.time()))
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                await self._let_go(loop.time())
                self._offer()

    async def _let_go(self, now: float) -> None:
        if expired := self._retention.expired(now):
            held = await held_devices(self._settings.pod_resources, self._resource_name)
            self._retention.settle(expired, held or (), now)

    def _offer(self) -> None:
        if self._yielded is None:
            return
        devices = self._retention.apply(self._yielded.devices, asyncio.get_running_loop().time())
        fault = self._write_spec(devices)  # before the list: a name is handed out only when its spec is on disk
        if (devices, fault) == (self._devices, self._spec_fault):
            return
        self._spec_fault = fault
        self._log_changes(self._devices or (), devices)
        self._devices = devices
        self._inventory.replace(self._list(devices, fault))

    def _list(self, devices: tuple[Device, ...], fault: str) -> DeviceList:
        assert self._yielded is not None
        if fault and self._settings.inject.by_cdi_alone:
            return DeviceList(self._resource_name, self._yielded.unhealthy(fault))
        if len(devices) == len(self._yielded.devices):
            return self._yielded
        try:
            return DeviceList(self._resource_name, devices)
        except ListTooLargeError:  # with the lost ones alone: those are worth less than the list
            return self._yielded

    def _write_spec(self, devices: tuple[Device, ...]) -> str:
        if self._spec is None:
            return ""
        try:
            if devices == self._devices:
                self._spec.ensure()
            else:
                self._spec.write(devices)
        except cdi.Error as error:
            self._log.say("cdi", ERROR, f"the CDI spec is not on disk: {error}")
            return str(error)
        if self._spec_fault:
            self._spec_backoff.reset()
            self._log.say("cdi", INFO, f"the CDI spec is on disk again: {self._spec.path}")
        return ""

    def _log_changes(self, before: Iterable[Device], after: Iterable[Device]) -> None:
        """Log the devices whose state is new, those in the same state in one line."""
        states = {device.id: (device.health, device.reason) for device in before}
        news: dict[tuple[str, str], list[str]] = {}
        for device in after:
            if states.pop(device.id, None) != (device.health, device.reason):
                news.setdefault((device.health, device.reason), []).append(device.id)
        for (health, reason), ids in news.items():
            text = f"{health}: {reason}" if reason else health
            self._log.event(INFO if health == "Healthy" else WARNING, text, shown(ids))
        if states:
            self._log.event(INFO, "no longer listed", shown(list(states)))
