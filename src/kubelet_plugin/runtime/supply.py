"""From what a plugin yields to what the inventory offers: retained, written to the CDI spec, logged."""

import asyncio
import contextlib
import inspect
from collections.abc import Iterable
from dataclasses import replace

from kubelet_plugin import cdi
from kubelet_plugin.errors import DeviceListError, ListTooLargeError, PluginError, TransientError
from kubelet_plugin.runtime.device import Device, Health
from kubelet_plugin.runtime.holders import held_devices
from kubelet_plugin.runtime.hooks import is_cancelled
from kubelet_plugin.runtime.inject import check_deliverable, needs_cdi
from kubelet_plugin.runtime.inventory import DeviceList, Inventory, id_fault, shown
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
        self,
        plugin: DevicePlugin,
        inventory: Inventory,
        spec: SpecFile | None,
        settings: Settings,
        log: StateLog,
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.first_list_deadline):
                await self._inventory.first()
        if self._inventory.latest is None:
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
                await self._take_all()
            except BaseException as error:
                if is_cancelled():  # by us: what the generator raises meanwhile is no news
                    raise asyncio.CancelledError from error
                what = f"devices() raised {type(error).__name__}: {error}; the last list stays, trying again"
                self._log.say("devices", ERROR, f"{self._resource_name}: {what}", error=error)
            else:
                return
            if loop.time() - begun >= _STEADY:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _take_all(self) -> None:
        lists = self._plugin.devices()
        if inspect.iscoroutine(lists):
            lists.close()
            raise TypeError("it is a coroutine function; write it as an async generator, with `yield`")
        if not hasattr(lists, "__aiter__"):
            raise TypeError(f"it returned a {type(lists).__name__}; write it as an async generator")
        try:
            async for devices in lists:
                self._take(devices)
                await asyncio.sleep(0)  # a generator that awaits nothing must not keep others from running
        finally:
            if aclose := getattr(lists, "aclose", None):
                await aclose()

    def _take(self, devices: object) -> None:
        try:
            if not isinstance(devices, Iterable):
                raise DeviceListError(f"{self._resource_name}: devices() yielded a {type(devices).__name__}")
            named = self._named(tuple(devices))
            if self._yielded is None or named != self._yielded.devices:
                yielded = DeviceList(self._resource_name, named)
                check_deliverable(self._settings.inject, yielded.devices)
                self._yielded = yielded
        except PluginError as error:
            self._log.say("devices", ERROR, f"{error}; the last good list stays")
            return
        self._log.forget("devices")
        self.offer()
        self._wake.set()

    def _named(self, devices: tuple[Device, ...]) -> tuple[Device, ...]:
        """Leave out devices whose names cannot be: one odd file in /dev must not cost all others."""
        known = self._yielded.by_id if self._yielded else {}
        new = [n for n, device in enumerate(devices) if getattr(device, "id", None) not in known]
        faults = {n: fault for n in new if (fault := id_fault(devices[n]))}
        if not faults:
            self._log.forget("ids")
            return devices
        self._log.say("ids", ERROR, f"{self._resource_name}: {'; '.join(faults.values())}: left out of the list")
        return tuple(device for n, device in enumerate(devices) if n not in faults)

    async def _keep(self) -> None:
        """Look after what changes with time alone: lost devices, and a spec file that could not be written."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            until = loop.time() + self._spec_backoff.next() if self._spec_fault else None
            if (expiry := self._retention.next_expiry()) is not None:
                until = expiry if until is None else min(until, expiry)
            try:
                async with asyncio.timeout_at(until):
                    await self._wake.wait()
            except TimeoutError:
                await self._let_go(loop.time())
                self.offer()

    async def _let_go(self, now: float) -> None:
        if expired := self._retention.expired(now):
            held = await held_devices(self._settings.pod_resources, self._resource_name)
            self._retention.settle(expired, held or (), now)

    def offer(self) -> None:
        """Bring the spec file, then the inventory, in line with what was yielded last."""
        if self._yielded is None:
            return
        devices = self._retention.apply(self._yielded.devices, asyncio.get_running_loop().time())
        fault = self._write_spec(devices)  # before the list: a name is handed out only when its spec is on disk
        if (devices, fault) == (self._devices, self._spec_fault):
            return
        if fault and not self._spec_fault:
            self._wake.set()  # it is to be tried again soon
        self._devices, self._spec_fault = devices, fault
        before = self._inventory.latest.devices if self._inventory.latest else ()
        latest = self._list(tuple(self._judged(device) for device in devices) if fault else devices)
        self._log_changes(before, latest.devices)
        self._inventory.replace(latest)

    def _judged(self, device: Device) -> Device:
        """Hold back a device that cannot be had without the spec, while that is not on disk."""
        if needs_cdi(device, self._settings.inject) and device.health == Health.HEALTHY:
            return replace(device, health=Health.UNHEALTHY, reason=self._spec_fault)
        return device

    def _list(self, devices: tuple[Device, ...]) -> DeviceList:
        assert self._yielded is not None
        if devices == self._yielded.devices:
            return self._yielded
        try:
            return DeviceList(self._resource_name, devices)
        except ListTooLargeError as error:
            self._log.say("list", ERROR, f"{error}; listing what was found alone")
            return self._yielded

    def _write_spec(self, devices: tuple[Device, ...]) -> str:
        if self._spec is None:
            return ""
        try:
            self._spec.write(devices)
        except TransientError as error:
            self._log.say("cdi", INFO, str(error))
            return str(error)
        except cdi.Error as error:
            self._log.say("cdi", ERROR, f"the CDI spec is not on disk: {error}")
            return str(error)
        if self._spec_fault:
            self._spec_backoff.reset()
            self._log.say("cdi", INFO, f"the CDI spec is on disk: {self._spec.path}")
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
