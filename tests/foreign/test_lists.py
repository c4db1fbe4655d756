"""ListAndWatch: the complete list, at once, on every stream."""

import asyncio
import queue
import time
from dataclasses import replace
from typing import Any

import pytest

from kubelet_plugin.cdi import ContainerEdits
from kubelet_plugin.runtime import Device, Health, Settings
from kubelet_plugin.runtime.retention import GONE
from tests.foreign import ForeignKubelet
from tests.foreign.serving import GivenPlugin, served, told

ONE, TWO = Device("one"), Device("two")
ILL = Health.UNHEALTHY


class Odd(BaseException):
    """Neither an Exception nor one of Python's own."""


def test_a_change_is_sent_as_the_complete_list(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(ONE)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer(ONE, TWO)
        assert stream.next() == {"one": "Healthy", "two": "Healthy"}


def test_a_list_equal_to_the_last_is_not_sent(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(ONE)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer(ONE)
        plugin.offer(Device("one", reason="looked again"))
        plugin.offer(TWO)
        assert stream.next() == {"two": "Healthy"}


def test_two_streams_at_once_get_the_same_lists(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(ONE)
    with served(plugin, settings=settings):
        registered = kubelet.registered()
        streams = [registered.stream, registered.plugin.watch()]
        assert [stream.next() for stream in streams] == [{"one": "Healthy"}] * 2
        plugin.offer(Device("one", health=ILL))
        assert [stream.next() for stream in streams] == [{"one": "Unhealthy"}] * 2


def test_a_second_stream_that_ends_takes_nothing_with_it(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = GivenPlugin(ONE)
    concluded = told(caplog, "registered with the kubelet")
    with served(plugin, settings=settings):
        registered = kubelet.registered()
        assert concluded.wait(10)
        registered.stream.next()
        second = registered.plugin.watch()
        second.next()
        second.cancel()
        assert second.ended.wait(10)
        plugin.offer(TWO)
        assert registered.stream.next() == {"two": "Healthy"}
        with pytest.raises(queue.Empty):
            kubelet.registrations.get(timeout=0.1)


def test_a_reader_that_stalls_holds_up_nobody_and_then_gets_the_last_list(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    plugin = GivenPlugin(ONE)
    many = [Device(f"device-with-a-long-name-{n}") for n in range(5000)]
    with served(plugin, settings=settings):
        registered = kubelet.registered()
        slow = registered.plugin.watch(paused=True)
        for n in range(100):  # far more than the connection's window holds
            plugin.offer(*many, Device(f"round{n}"))
        last = registered.stream.until(lambda devices: "round99" in devices)
        assert len(last) == 5001
        slow.go.set()
        slow.until(lambda devices: "round99" in devices)
        assert slow.lists.empty()


def test_ten_thousand_devices_are_one_list(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(*(Device(f"d{n}") for n in range(10_000))), settings=settings):
        assert len(kubelet.registered().stream.next()) == 10_000


def test_of_a_list_over_4_mib_the_last_good_one_stays(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = GivenPlugin(ONE)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer(*(Device(f"device{n:057}") for n in range(60_000)))
        plugin.offer(TWO)
        assert stream.next() == {"two": "Healthy"}
    (error,) = [record.getMessage() for record in caplog.records if "4194304" in record.getMessage()]
    assert "60000 devices" in error
    assert "shorter ids" in error


def test_a_device_that_is_no_longer_found_stays_listed_for_its_grace(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    plugin = GivenPlugin(ONE, TWO, grace=0.3)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer(ONE)
        assert stream.next() == {"one": "Healthy", "two": "Unhealthy"}
        assert stream.next() == {"one": "Healthy"}


def test_a_device_found_again_within_its_grace_is_healthy_again(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(ONE, TWO, grace=60)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer(ONE)
        stream.next()
        plugin.offer(ONE, TWO)
        assert stream.next() == {"one": "Healthy", "two": "Healthy"}


def test_a_retained_device_is_refused_with_its_reason(kubelet: ForeignKubelet, settings: Settings) -> None:
    import grpc

    plugin = GivenPlugin(ONE, TWO, grace=60)
    with served(plugin, settings=settings):
        registered = kubelet.registered()
        registered.stream.next()
        plugin.offer(ONE)
        registered.stream.next()
        with pytest.raises(grpc.RpcError, match=GONE):
            registered.plugin.allocate(["two"])


NONSENSE = [
    pytest.param([Device("twice"), Device("twice")], "'twice' is on the list twice", id="an id twice"),
    pytest.param(["kvm0"], "yielded a str among its devices", id="a string"),
    pytest.param(None, "yielded a NoneType", id="nothing"),
    pytest.param(7, "yielded a int", id="a number"),
    pytest.param([Device("d", numa_nodes=(-1,))], "is on NUMA nodes (-1,)", id="no NUMA node"),
    pytest.param([Device("d", numa_nodes=3)], "is on NUMA nodes 3", id="a NUMA node that is no tuple"),  # type: ignore[arg-type]
    pytest.param([Device("d", health="Fine")], "is 'Fine', neither Healthy nor", id="a health of its own"),  # type: ignore[arg-type]
    pytest.param(
        [Device("d", ContainerEdits(env=("NAME",)))], "env 'NAME' has not the form", id="edits that cannot be"
    ),
    pytest.param(
        [
            Device("a", ContainerEdits(env=("A=1",)), cdi_device="d"),
            Device("b", ContainerEdits(env=("A=2",)), cdi_device="d"),
        ],
        "two devices are 'd' in CDI, and have different edits",
        id="one device in CDI with two kinds of edits",
    ),
]


@pytest.mark.parametrize(("nonsense", "words"), NONSENSE)
def test_of_a_list_that_is_nonsense_the_last_good_one_stays(
    nonsense: object, words: str, kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = GivenPlugin(ONE)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer_anything(nonsense)
        plugin.offer(TWO)
        assert stream.next() == {"two": "Healthy"}
    assert [r for r in caplog.records if words in r.getMessage() and "example.com/thing" in r.getMessage()]


@pytest.mark.parametrize("name", ["crand_", "not/valid", "", 5])
def test_a_device_whose_id_cannot_be_is_left_out_and_the_others_are_listed(
    name: str, kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = GivenPlugin(ONE, Device(name))
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        assert stream.next() == {"one": "Healthy"}
        plugin.offer(ONE, Device(name), TWO)
        assert stream.next() == {"one": "Healthy", "two": "Healthy"}
    assert len([message for message in caplog.messages if f"{name!r} cannot be a device's id" in message]) == 1


def test_a_health_given_as_text_is_as_good(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(Device("a", health="Healthy"), Device("b", health="Unhealthy"))  # type: ignore[arg-type]
    with served(plugin, settings=settings):
        registered = kubelet.registered()
        assert registered.stream.next() == {"a": "Healthy", "b": "Unhealthy"}
        registered.plugin.allocate(["a"])


@pytest.mark.parametrize("error", [OSError("gone"), SystemExit("gone"), asyncio.CancelledError("gone"), Odd("gone")])
def test_devices_that_raises_is_begun_anew_and_the_last_list_stays(
    error: BaseException, kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = GivenPlugin(ONE)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer_anything(error)
        plugin.offer(TWO)
        assert stream.next() == {"two": "Healthy"}
    assert f"devices() raised {type(error).__name__}: gone" in caplog.text


def test_devices_that_is_a_coroutine_function_is_told_what_it_must_be(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    class NoGenerator(GivenPlugin):
        async def devices(self) -> Any:  # type: ignore[override]
            return [ONE]

    with served(NoGenerator(), settings=replace(settings, first_list_deadline=0.05)):
        assert kubelet.registered().stream.next() == {}
    assert len([message for message in caplog.messages if "write it as an async generator" in message]) == 1


def test_an_iterator_that_cannot_be_closed_serves_as_well(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Lists:
        def __init__(self) -> None:
            self.given = False

        def __aiter__(self) -> "Lists":
            return self

        async def __anext__(self) -> list[Device]:
            if self.given:
                await asyncio.Event().wait()
            self.given = True
            return [ONE]

    class Iterating(GivenPlugin):
        def devices(self) -> Any:
            return Lists()

    with served(Iterating(), settings=settings):  # which asserts that it ends
        assert kubelet.registered().stream.next() == {"one": "Healthy"}


def test_a_generator_that_fails_in_its_end_does_not_keep_serving_from_ending(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    class Failing(GivenPlugin):
        async def devices(self) -> Any:
            try:
                yield [ONE]
                await asyncio.Event().wait()
            finally:
                raise RuntimeError("in its end")

    with served(Failing(), settings=settings):  # which asserts that it ends
        assert kubelet.registered().stream.next() == {"one": "Healthy"}


def test_a_generator_that_awaits_nothing_lets_others_run(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Busy(GivenPlugin):
        async def devices(self) -> Any:
            while True:
                yield [ONE]

    with served(Busy(), settings=settings):
        assert kubelet.registered().stream.next() == {"one": "Healthy"}


def test_a_first_list_that_comes_with_its_deadline_is_not_lost(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Blocking(GivenPlugin):
        async def devices(self) -> Any:
            time.sleep(0.1)  # noqa: ASYNC251 -- blocks the loop, past the deadline
            await asyncio.sleep(0)
            yield [ONE]
            await asyncio.Event().wait()

    with served(Blocking(), settings=replace(settings, first_list_deadline=0.05)):
        kubelet.registered().stream.until(lambda devices: "one" in devices)


def test_a_generator_that_ends_has_said_its_last_word(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Fixed(GivenPlugin):
        async def devices(self):  # type: ignore[no-untyped-def]
            yield [ONE]

    with served(Fixed(), settings=settings):
        stream = kubelet.registered().stream
        assert stream.next() == {"one": "Healthy"}
        assert not stream.ended.wait(0.1)


def test_one_plugin_that_fails_does_not_disturb_another(kubelet: ForeignKubelet, settings: Settings) -> None:
    good = GivenPlugin(ONE)
    bad = GivenPlugin(resource_name="example.com/bad")
    bad.offer_anything(RuntimeError("bad"))
    with served(good, bad, settings=settings):
        both = {r.request.resource_name: r for r in (kubelet.registered(), kubelet.registered())}
        good.offer(TWO)
        both["example.com/thing"].stream.until(lambda devices: "two" in devices)


def test_health_changes_are_logged_with_resource_device_and_reason(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = GivenPlugin(ONE)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer(Device("one", health=ILL, reason="unplugged"))
        stream.next()
    (record,) = [r for r in caplog.records if "unplugged" in r.getMessage()]
    assert (record.resource, record.device, record.levelname) == ("example.com/thing", "one", "WARNING")  # type: ignore[attr-defined]


def test_a_thousand_devices_in_one_state_are_one_line(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with served(GivenPlugin(*(Device(f"d{n}") for n in range(1000))), settings=settings):
        kubelet.registered()
    lines = [record for record in caplog.records if record.getMessage() == "Healthy"]
    assert [line.device for line in lines] == ["d0, d1, d2, d3, d4 and 995 more"]  # type: ignore[attr-defined]
