"""A kubelet for ordinary test functions: what it shows, what it waits for, and what it says when that does not come."""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kubelet_plugin import Device, DevicePlugin, Health, Settings
from kubelet_plugin.errors import ConfigurationError, Error
from kubelet_plugin.kubelet import Phase
from kubelet_plugin.testing import Kubelet, WaitError, pod

RESOURCE = "example.com/thing"


class Things(DevicePlugin):
    resource_name = RESOURCE

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        yield [Device("a"), Device("b", health=Health.UNHEALTHY)]


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Whether serving has failed, as it does while this is asked for, some time after it has begun."""
    failed = threading.Event()

    async def serve(plugin: DevicePlugin, settings: Settings) -> None:
        await asyncio.sleep(0.01)
        failed.set()
        raise ExceptionGroup("of one task", [RuntimeError("no grace")])

    monkeypatch.setattr("kubelet_plugin.testing.serving.serve", serve)
    return failed


# What is there.


def test_a_wait_returns_what_the_node_offers(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        offered = kubelet.wait_for(RESOURCE)
    assert (offered.capacity, offered.allocatable) == (2, 1)


def test_the_devices_of_a_resource_are_shown_as_they_were_listed(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
        assert kubelet.devices(RESOURCE) == {"a": "Healthy", "b": "Unhealthy"}


def test_pods_are_shown_in_the_order_in_which_they_came(kubelet: Kubelet) -> None:
    for name in ("second", "first"):
        kubelet.admit(pod(name=name))
    assert [status.pod.name for status in kubelet.pods()] == ["second", "first"]


def test_a_pod_that_was_removed_is_not_there(kubelet: Kubelet) -> None:
    kubelet.admit(pod())
    kubelet.remove("pod")
    with pytest.raises(LookupError):
        kubelet.pod_status("pod")


def test_a_refused_registration_is_recorded_with_its_words(kubelet: Kubelet) -> None:
    kubelet.faults.fail(RESOURCE, "GetDevicePluginOptions", "not now")
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
    assert [bool(registered.failure) for registered in kubelet.registrations()] == [True, False]


def test_every_socket_that_fits_on_a_node_fits_here(kubelet: Kubelet) -> None:
    assert len(os.fsencode(f"{kubelet.plugin_dir}/")) <= len("/var/lib/kubelet/device-plugins/")


def test_where_temporary_files_lie_deep_the_directory_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Kubelet() as kubelet:
        assert len(str(kubelet.plugin_dir)) < len("/var/lib/kubelet/device-plugins/")


def test_containers_get_device_nodes_from_the_host_that_was_chosen(tmp_path: Path) -> None:
    with Kubelet(host_root=str(tmp_path)) as kubelet:
        assert kubelet.host_root == tmp_path


# What is chosen.


def test_an_unknown_option_is_refused_with_all_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no option 'profil': give one of profile, grace, "):
        Kubelet(profil="1.36")  # type: ignore[call-arg]


def test_an_unknown_version_leaves_no_directory_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tempfile.TemporaryDirectory(dir=tmp_path)
    monkeypatch.setattr("kubelet_plugin.testing.asynchronous.temporary_directory", lambda: directory)
    with pytest.raises(ConfigurationError, match=r"no profile of kubelet '1\.2'"):
        Kubelet(profile="1.2")
    assert os.listdir(tmp_path) == []


@pytest.mark.kubelet(profile="1.20")
def test_the_marker_chooses_the_version(kubelet: Kubelet) -> None:
    assert kubelet.admit(pod({RESOURCE: 1})).phase is Phase.RUNNING  # of a resource that nobody offers
    assert (kubelet.plugin_dir / "DEPRECATION").exists()


@pytest.mark.kubelet(message_limit=100)
def test_the_marker_chooses_how_long_a_message_may_be(kubelet: Kubelet) -> None:
    class Many(Things):
        async def devices(self) -> AsyncIterator[Sequence[Device]]:
            yield [Device(f"device{number}") for number in range(100)]

    with kubelet.plugin(Many()):
        kubelet.wait_for(RESOURCE, capacity=0)


@pytest.mark.kubelet(plugins_registry=True)
def test_plugins_may_announce_themselves_where_that_is_chosen(kubelet: Kubelet) -> None:
    assert kubelet.plugins_registry.is_dir()


# Time.


@pytest.mark.kubelet(manual_clock=True, grace=60)
def test_a_clock_of_ones_own_stands_still_until_it_is_moved(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
    kubelet.wait_for(RESOURCE, allocatable=0)
    kubelet.advance(59)
    assert kubelet.resources()[RESOURCE].capacity == 2
    kubelet.advance(2)
    assert kubelet.resources()[RESOURCE].capacity == 0


@pytest.mark.kubelet(grace=0.05)
def test_what_time_alone_changes_is_waited_for_too(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
    kubelet.wait_for(RESOURCE, capacity=0)


def test_the_machines_clock_cannot_be_moved(kubelet: Kubelet) -> None:
    with pytest.raises(ConfigurationError, match="manual_clock=True"):
        kubelet.advance(1)


@pytest.mark.kubelet(manual_clock=True)
def test_a_call_that_hangs_is_cut_short_by_the_kubelets_time(kubelet: Kubelet) -> None:
    class Preparing(Things):
        def pre_start_container(self, devices: object) -> None:
            pass

    with kubelet.plugin(Preparing()), ThreadPoolExecutor() as threads:
        kubelet.wait_for(RESOURCE)
        kubelet.faults.hang(RESOURCE, "PreStartContainer")
        admitted = threads.submit(kubelet.admit, pod({RESOURCE: 1}))
        while not admitted.done():
            kubelet.advance(31)
        assert "DeadlineExceeded" in admitted.result().container().message


# Faults.


def test_a_call_that_hangs_goes_on_when_it_is_released(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()), ThreadPoolExecutor() as threads:
        kubelet.wait_for(RESOURCE)
        hanging = kubelet.faults.hang(RESOURCE, "Allocate")
        admitted = threads.submit(kubelet.admit, pod({RESOURCE: 1}))
        kubelet.wait_until(kubelet.pods)
        assert not admitted.done()
        hanging.set()
        assert admitted.result(10).phase is Phase.RUNNING


def test_when_a_stream_was_cut_the_kubelet_knows(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things(), stream_deadline=60, retry_first=60):
        kubelet.wait_for(RESOURCE, allocatable=1)
        kubelet.cut(RESOURCE)
        assert kubelet.resources()[RESOURCE].allocatable == 0 or len(kubelet.registrations()) == 2


def test_a_resource_that_nobody_registered_cannot_be_asked(kubelet: Kubelet) -> None:
    with pytest.raises(ConfigurationError, match=f"no plugin of {RESOURCE} has registered"):
        kubelet.allocate(RESOURCE, "a")


# What does not come.


def message_of(kubelet: Kubelet) -> str:
    with pytest.raises(WaitError) as caught:
        kubelet.wait_for(RESOURCE, allocatable=3, timeout=0.01)
    return str(caught.value)


def test_what_does_not_come_fails_the_test(kubelet: Kubelet) -> None:
    with pytest.raises(AssertionError):
        kubelet.wait_for(RESOURCE, timeout=0.01)


def test_the_message_begins_with_what_was_waited_for(kubelet: Kubelet) -> None:
    assert message_of(kubelet).startswith(f"waited 0.01 s for {RESOURCE}: allocatable 3\n")


def test_the_message_says_that_nothing_is_there(kubelet: Kubelet) -> None:
    assert "The node offers:\n  nothing\nRegistrations:\n  none\n" in message_of(kubelet)


def test_the_message_says_how_the_devices_are(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
        assert f"{RESOURCE}: capacity 2, allocatable 1; last listed: a Healthy, b Unhealthy" in message_of(kubelet)


def test_of_many_devices_the_message_names_some(kubelet: Kubelet) -> None:
    class Many(Things):
        async def devices(self) -> AsyncIterator[Sequence[Device]]:
            yield [Device(f"d{number}", health=Health.UNHEALTHY) for number in range(100)]

    with kubelet.plugin(Many()):
        kubelet.wait_for(RESOURCE)
        assert "d9 Unhealthy, and 90 more" in message_of(kubelet)


def test_the_message_says_why_a_registration_failed(kubelet: Kubelet) -> None:
    kubelet.faults.fail(RESOURCE, "GetDevicePluginOptions", "not now", times=1)
    with kubelet.plugin(Things(), retry_first=60):
        kubelet.wait_until(kubelet.registrations)
        assert "failed: failed to get device plugin options: rpc error: code = Unknown desc = not now" in message_of(
            kubelet
        )


def test_the_message_says_why_a_pod_was_refused(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
        kubelet.admit(pod({RESOURCE: 9}))
        assert "pod is Failed; UnexpectedAdmissionError: Pod was rejected: Allocate failed" in message_of(kubelet)


def test_the_message_ends_with_the_kubelets_log(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
        log = message_of(kubelet).partition("The log ends with:\n")[2]
    assert '"State pushed for device plugin" resource="example.com/thing" resourceCapacity=2' in log


def test_the_message_says_what_the_test_calls_it(kubelet: Kubelet) -> None:
    with pytest.raises(WaitError, match="waited 0 s for a miracle"):
        kubelet.wait_until(lambda: False, what="a miracle", timeout=0)


def test_an_allocation_that_never_ends_fails_the_test(kubelet: Kubelet) -> None:
    with kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
        kubelet.faults.hang(RESOURCE, "Allocate")
        with pytest.raises(WaitError, match=r"waited 0\.05 s for a pod to be admitted"):
            kubelet.admit(pod({RESOURCE: 1}), timeout=0.05)


# Plugins that fail.


def test_a_plugin_whose_names_cannot_work_is_refused_at_once(kubelet: Kubelet) -> None:
    class Misnamed(Things):
        resource_name = "thing"

    with pytest.raises(ConfigurationError, match="thing"), kubelet.plugin(Misnamed()):
        pytest.fail("it was served")


@pytest.mark.usefixtures("failed")
def test_a_plugin_whose_serving_fails_fails_the_wait_at_once(kubelet: Kubelet) -> None:
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="no grace") as caught, kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE, allocatable=1)
    assert time.monotonic() - begun < 5
    assert caught.value.__notes__ == [f"The test was waiting for {RESOURCE}: allocatable 1."]


def test_a_plugin_whose_serving_fails_fails_the_test_that_waits_for_nothing(
    kubelet: Kubelet, failed: threading.Event
) -> None:
    with pytest.raises(RuntimeError, match="no grace"), kubelet.plugin(Things()):
        assert failed.wait(10)


def test_the_failure_of_the_test_itself_comes_first(kubelet: Kubelet, failed: threading.Event) -> None:
    with pytest.raises(ZeroDivisionError), kubelet.plugin(Things()):
        1 / (not failed.wait(10))


def test_a_plugin_that_blocks_its_event_loop_does_not_hold_up_the_wait(kubelet: Kubelet) -> None:
    released = threading.Event()

    class Blocking(Things):
        async def devices(self) -> AsyncIterator[Sequence[Device]]:
            released.wait(10)
            yield [Device("a")]

    with kubelet.plugin(Blocking()):
        with pytest.raises(WaitError):
            kubelet.wait_for(RESOURCE, timeout=0.05)
        released.set()
        kubelet.wait_for(RESOURCE, allocatable=1)


def test_a_look_that_would_wait_for_the_kubelet_is_told_that_it_cannot(kubelet: Kubelet) -> None:
    with pytest.raises(Error, match="from within it"):
        kubelet.wait_until(lambda: kubelet.admit(pod()))


# Its end.


def test_a_kubelet_leaves_nothing_behind() -> None:
    threads = threading.active_count()
    with Kubelet() as kubelet, kubelet.plugin(Things()):
        kubelet.wait_for(RESOURCE)
    assert threading.active_count() == threads
    assert not kubelet.plugin_dir.parent.exists()


def test_a_kubelet_that_has_ended_says_so() -> None:
    with Kubelet() as kubelet:
        pass
    with pytest.raises(Error, match="does not run"):
        kubelet.resources()


def test_a_kubelet_that_has_ended_cannot_be_entered_again() -> None:
    with Kubelet() as kubelet:
        pass
    with pytest.raises(ConfigurationError, match="has ended"):
        kubelet.__enter__()
    with pytest.raises(Error, match="does not run"):
        kubelet.resources()


def test_two_kubelets_at_a_time_are_two_nodes(kubelet: Kubelet) -> None:
    with Kubelet(profile="1.31") as other, other.plugin(Things()):
        other.wait_for(RESOURCE)
        assert kubelet.resources() == {}


def test_a_kubelet_may_be_used_from_within_an_event_loop_of_others() -> None:
    async def main() -> None:
        with Kubelet() as kubelet, kubelet.plugin(Things()):
            kubelet.wait_for(RESOURCE)

    asyncio.run(main())
