"""A set of plugins that changes while it is served: who is not concerned notices nothing."""

import asyncio
import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from kubelet_plugin.cdi import ContainerEdits, DeviceNode
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime import Device, DevicePlugin, Fleet, Inject, Settings, run_fleet
from tests.foreign import ForeignKubelet, PluginClient, Registered
from tests.foreign.serving import RESOURCE, SOCKET, GivenPlugin, settings_for

OTHER = "example.com/other"
THING = Device("thing0", ContainerEdits(device_nodes=(DeviceNode("/dev/thing0", file_mode=0o600),)))
SPEC = "example.com-thing.json"


class Driver:
    """A fleet on an event loop in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        begun: futures.Future[tuple[asyncio.AbstractEventLoop, Fleet]] = futures.Future()
        self._over = asyncio.Event()

        async def body() -> None:
            fleet = Fleet(settings)
            begun.set_result((asyncio.get_running_loop(), fleet))
            await self._over.wait()
            await fleet.close()

        self._thread = threading.Thread(target=asyncio.run, args=(body(),))
        self._thread.start()
        self._loop, self._fleet = begun.result(10)

    def apply(self, *plugins: DevicePlugin) -> None:
        async def apply() -> None:
            self._fleet.apply(plugins)

        self._run(apply())

    def close(self) -> None:
        self._run(self._fleet.close())

    def soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(callback)

    def end(self) -> None:
        self.soon(self._over.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Driver]:
    driver = Driver(settings)
    yield driver
    driver.end()


def registered(kubelet: ForeignKubelet, *names: str) -> list[Registered]:
    """The next registrations, of these resources in whatever order, once each has its first list."""
    found = {each.request.resource_name: each for each in (kubelet.registered() for _ in names)}
    return [found[name] for name in names]


def gone(path: str, within: float = 10.0) -> bool:
    """Whether a file goes, which a foreign kubelet has no event for."""
    deadline = time.monotonic() + within
    while os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.005)
    return not os.path.exists(path)


@contextlib.contextmanager
def stalled(path: str) -> Iterator[None]:
    """A client that does not read the list that it is being sent."""
    client = PluginClient(path)
    client.channel = grpc.insecure_channel(
        f"unix:{path}",
        (
            ("grpc.default_authority", "localhost"),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.http2.bdp_probe", 0),  # the window stays as small as it is
        ),
    )
    client.watch(paused=True)._call.initial_metadata()
    yield
    client.close()


def test_a_plugin_that_stays_keeps_its_stream_and_its_socket(
    fleet: Driver, kubelet: ForeignKubelet, settings: Settings
) -> None:
    plugin, other = GivenPlugin(THING), GivenPlugin(resource_name=OTHER)
    fleet.apply(plugin)
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    inode = os.stat(os.path.join(settings.plugin_dir, SOCKET)).st_ino
    fleet.apply(plugin, other)
    registered(kubelet, OTHER)
    fleet.apply(plugin)
    plugin.offer()
    assert thing.stream.next() == {}
    assert os.stat(os.path.join(settings.plugin_dir, SOCKET)).st_ino == inode
    assert kubelet.registrations.empty()


def test_a_plugin_that_is_withdrawn_sends_an_empty_list_then_its_stream_ends_then_its_socket_goes(
    fleet: Driver, kubelet: ForeignKubelet, settings: Settings
) -> None:
    fleet.apply(GivenPlugin(THING))
    (thing,) = registered(kubelet, RESOURCE)
    second = thing.plugin.watch()
    assert thing.stream.next() == second.next() == {"thing0": "Healthy"}
    fleet.apply()
    assert thing.stream.next() == second.next() == {}
    assert thing.stream.ended.wait(10)
    assert thing.stream.error is None
    assert gone(os.path.join(settings.plugin_dir, SOCKET))
    assert os.path.exists(os.path.join(settings.cdi_dir, SPEC))


def test_a_plugin_without_devices_that_is_withdrawn_repeats_no_list(fleet: Driver, kubelet: ForeignKubelet) -> None:
    fleet.apply(GivenPlugin())
    (thing,) = registered(kubelet, RESOURCE)
    assert thing.stream.next() == {}
    fleet.apply()
    assert thing.stream.ended.wait(10)
    assert thing.stream.error is None
    assert thing.stream.lists.empty()


def test_a_plugin_that_is_withdrawn_does_not_register_again(fleet: Driver, kubelet: ForeignKubelet) -> None:
    fleet.apply(GivenPlugin(THING))
    (thing,) = registered(kubelet, RESOURCE)
    fleet.apply()
    assert thing.stream.ended.wait(10)
    with pytest.raises(queue.Empty):
        kubelet.registrations.get(timeout=0.1)


def test_a_kubelet_that_does_not_read_holds_a_withdrawal_up_for_less_than_a_second(
    fleet: Driver, kubelet: ForeignKubelet, settings: Settings
) -> None:
    plugin = GivenPlugin(*(Device(f"device-with-a-long-name-{n}") for n in range(20_000)))
    fleet.apply(plugin)
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    path = os.path.join(settings.plugin_dir, SOCKET)
    with stalled(path):
        begun = time.monotonic()
        fleet.apply()
        assert thing.stream.next() == {}
        assert not gone(path, within=0.1)  # the other one has its time
        assert gone(path)
        assert time.monotonic() - begun < 1


def test_the_end_waits_for_no_kubelet_that_a_withdrawal_waits_for(
    fleet: Driver, kubelet: ForeignKubelet, settings: Settings
) -> None:
    fleet.apply(GivenPlugin(*(Device(f"device-with-a-long-name-{n}") for n in range(20_000))))
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    with stalled(os.path.join(settings.plugin_dir, SOCKET)):
        fleet.apply()
        begun = time.monotonic()
        fleet.close()
        assert time.monotonic() - begun < 0.4
        assert os.listdir(settings.plugin_dir) == ["kubelet.sock"]


class Slow(GivenPlugin):
    """Has nothing to say."""

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        await asyncio.Event().wait()
        yield ()


def test_a_plugin_that_has_not_yet_said_anything_is_withdrawn_at_once(fleet: Driver, settings: Settings) -> None:
    path = os.path.join(settings.plugin_dir, SOCKET)
    fleet.apply(Slow())
    client = PluginClient(path)
    client.options()  # it serves, and waits for its first list
    fleet.apply()
    assert gone(path, within=1.0)
    client.close()


def test_of_a_plugin_that_is_replaced_the_stream_ends_before_the_other_one_registers(
    fleet: Driver, kubelet: ForeignKubelet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.apply(GivenPlugin(THING))
    (before,) = registered(kubelet, RESOURCE)
    before.stream.next()
    fleet.apply(GivenPlugin(Device("thing1")))
    (after,) = registered(kubelet, RESOURCE)
    assert before.stream.ended.is_set()
    assert before.stream.lists.empty()  # it comes back: no goodbye list
    assert after.stream.next() == {"thing1": "Healthy"}
    assert not [record for record in caplog.records if "answers at" in record.getMessage()]  # no fight over the socket


class Clinging(GivenPlugin):
    """Does not end when it is told to, until the test ends."""

    def __init__(self, *devices: Device) -> None:
        super().__init__(*devices)
        self.release = asyncio.Event()

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        try:
            async for devices in super().devices():
                yield devices
        except (asyncio.CancelledError, GeneratorExit):
            await self.release.wait()


def test_a_plugin_that_does_not_end_does_not_keep_another_from_its_name(fleet: Driver, kubelet: ForeignKubelet) -> None:
    clinging = Clinging(THING)
    fleet.apply(clinging)
    registered(kubelet, RESOURCE)
    fleet.apply(GivenPlugin(Device("thing1")))
    (after,) = registered(kubelet, RESOURCE)
    assert after.stream.next() == {"thing1": "Healthy"}
    fleet.soon(clinging.release.set)


def test_a_name_that_goes_and_comes_back_at_once_is_served(fleet: Driver, kubelet: ForeignKubelet) -> None:
    plugin = GivenPlugin(THING)
    fleet.apply(plugin)
    (before,) = registered(kubelet, RESOURCE)
    before.stream.next()
    fleet.apply()
    fleet.apply(GivenPlugin(Device("thing1")))
    fleet.apply()
    fleet.apply(GivenPlugin(Device("thing2")))
    assert before.stream.next() == {}
    (after,) = registered(kubelet, RESOURCE)
    assert after.stream.next() == {"thing2": "Healthy"}
    assert kubelet.registrations.empty()


def test_a_plugin_that_is_withdrawn_may_come_back_itself(fleet: Driver, kubelet: ForeignKubelet) -> None:
    class Steady(GivenPlugin):
        async def devices(self) -> AsyncIterator[Sequence[Device]]:
            yield [THING]

    plugin = Steady()
    for _ in range(3):
        fleet.apply(plugin)
        (thing,) = registered(kubelet, RESOURCE)
        assert thing.stream.next() == {"thing0": "Healthy"}
        fleet.apply()
        assert thing.stream.next() == {}


def test_a_cdi_kind_that_moves_to_another_resource_ends_up_with_its_devices(
    fleet: Driver, kubelet: ForeignKubelet, settings: Settings
) -> None:
    first, second = GivenPlugin(THING), GivenPlugin(Device("other0", THING.edits), resource_name=OTHER)
    second.cdi_kind = RESOURCE
    fleet.apply(first)
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    fleet.apply(second)
    (other,) = registered(kubelet, OTHER)
    assert other.stream.next() == {"other0": "Healthy"}
    assert "other0" in Path(settings.cdi_dir, SPEC).read_text()


def test_a_set_that_cannot_be_served_together_changes_nothing(fleet: Driver, kubelet: ForeignKubelet) -> None:
    plugin = GivenPlugin(THING)
    fleet.apply(plugin)
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    with pytest.raises(ConfigurationError, match="is there twice"):
        fleet.apply(GivenPlugin(resource_name=OTHER), GivenPlugin(resource_name=OTHER))
    plugin.offer()
    assert thing.stream.next() == {}
    assert kubelet.registrations.empty()


def test_at_the_end_there_is_no_goodbye_list(fleet: Driver, kubelet: ForeignKubelet, settings: Settings) -> None:
    fleet.apply(GivenPlugin(THING))
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    fleet.close()
    assert thing.stream.ended.wait(10)
    assert thing.stream.lists.empty()
    assert os.listdir(settings.plugin_dir) == ["kubelet.sock"]


def test_a_plugin_whose_serving_fails_is_begun_anew(fleet: Driver, kubelet: ForeignKubelet) -> None:
    class Failing(GivenPlugin):
        failures = 2

        def overrides(self, hook: str) -> bool:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("not yet")
            return super().overrides(hook)

    fleet.apply(Failing(THING))
    (thing,) = registered(kubelet, RESOURCE)
    assert thing.stream.next() == {"thing0": "Healthy"}


def test_a_plugin_may_have_a_way_to_inject_of_its_own(
    fleet: Driver, kubelet: ForeignKubelet, settings: Settings
) -> None:
    plugin = GivenPlugin(THING)
    plugin.inject = Inject.DEVICE_SPEC
    fleet.apply(plugin)
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    (container,) = thing.plugin.allocate(["thing0"]).container_responses
    assert [spec.host_path for spec in container.devices] == ["/dev/thing0"]
    assert not container.cdi_devices
    assert not os.path.exists(settings.cdi_dir)


def test_a_device_of_a_plugin_that_is_withdrawn_is_not_handed_out(
    fleet: Driver, kubelet: ForeignKubelet, settings: Settings
) -> None:
    fleet.apply(GivenPlugin(*(Device(f"device-with-a-long-name-{n}") for n in range(20_000))))
    (thing,) = registered(kubelet, RESOURCE)
    thing.stream.next()
    with stalled(os.path.join(settings.plugin_dir, SOCKET)):  # for half a second it is waited for
        fleet.apply()
        with pytest.raises(grpc.RpcError, match="there is no such device on the list"):
            thing.plugin.allocate(["device-with-a-long-name-0"])


def test_a_fleet_ends_by_sigterm_with_exit_code_0(tmp_path: Path) -> None:
    ended = []

    async def keep(fleet: Fleet) -> None:
        fleet.apply([GivenPlugin(THING)])
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with contextlib.suppress(KeyboardInterrupt):
        assert run_fleet(keep, settings_for(tmp_path)) == 0
    assert ended


def test_what_keeps_a_fleet_ends_the_program_when_it_raises(tmp_path: Path) -> None:
    async def keep(fleet: Fleet) -> None:
        fleet.apply([GivenPlugin(THING)])
        raise ConfigurationError("nothing of it can be read")

    with pytest.raises(ConfigurationError, match="nothing of it"):
        run_fleet(keep, settings_for(tmp_path))


def test_a_fleet_goes_on_when_who_keeps_it_is_done(kubelet: ForeignKubelet, settings: Settings) -> None:
    async def keep(fleet: Fleet) -> None:
        fleet.apply([GivenPlugin(THING)])

    def end() -> None:
        kubelet.registered().stream.next()
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    assert run_fleet(keep, settings) == 0
    thread.join()
