"""A kubelet for coroutine tests, on the event loop of the test."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from kubelet_plugin import Device, DevicePlugin, Settings
from kubelet_plugin.errors import ConfigurationError, Error
from kubelet_plugin.kubelet import Phase
from kubelet_plugin.testing import AsyncKubelet, WaitError, pod
from tests.asynchronous import asynchronous

RESOURCE = "example.com/thing"


class Things(DevicePlugin):
    resource_name = RESOURCE

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        yield [Device("a"), Device("b")]


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Whether serving has failed, as it does while this is asked for, some time after it has begun."""
    failed = asyncio.Event()

    async def serve(plugin: DevicePlugin, settings: Settings) -> None:
        await asyncio.sleep(0.01)
        failed.set()
        raise ExceptionGroup("of one task", [RuntimeError("no grace")])

    monkeypatch.setattr("kubelet_plugin.testing.serving.serve", serve)
    return failed


@pytest_asyncio.fixture
async def registered(kubelet: AsyncKubelet) -> AsyncIterator[AsyncKubelet]:
    """A kubelet with a plugin, from a fixture that is a coroutine itself."""
    async with kubelet.plugin(Things()):
        await kubelet.wait_for(RESOURCE, allocatable=2)
        yield kubelet


@pytest.mark.asyncio
async def test_a_pod_is_admitted(kubelet: AsyncKubelet) -> None:
    async with kubelet.plugin(Things()):
        await kubelet.wait_for(RESOURCE, allocatable=2)
        assert (await kubelet.admit(pod({RESOURCE: 1}))).phase is Phase.RUNNING


@pytest.mark.asyncio
async def test_an_asynchronous_fixture_may_use_it_before_the_test(registered: AsyncKubelet) -> None:
    assert registered.resources()[RESOURCE].allocatable == 2


@pytest.mark.asyncio
async def test_it_has_started_when_the_test_begins(kubelet: AsyncKubelet) -> None:
    assert kubelet.socket.is_socket()


@pytest.mark.asyncio
async def test_it_needs_no_thread(kubelet: AsyncKubelet) -> None:
    before = threading.active_count()  # what other tests have left is not its own
    async with kubelet.plugin(Things()):
        await kubelet.wait_for(RESOURCE)
        assert threading.active_count() <= before


@pytest.mark.asyncio
@pytest.mark.kubelet(profile="1.20", manual_clock=True)
async def test_the_marker_chooses_how_it_behaves(registered: AsyncKubelet) -> None:
    await registered.cut(RESOURCE)
    await registered.wait_for(RESOURCE, allocatable=2)
    await registered.advance(1)
    assert (registered.plugin_dir / "DEPRECATION").exists()


@pytest.mark.asyncio
async def test_it_restarts(registered: AsyncKubelet) -> None:
    await registered.restart()
    await registered.wait_for(RESOURCE, allocatable=2)
    assert registered.lists(RESOURCE) == [{"a": "Healthy", "b": "Healthy"}] * 2


@pytest.mark.asyncio
async def test_a_plugin_may_be_there_before_the_kubelet(kubelet: AsyncKubelet) -> None:
    await kubelet.stop()
    async with kubelet.plugin(Things()):
        await kubelet.start()
        await kubelet.wait_for(RESOURCE, allocatable=2)


@pytest.mark.asyncio
async def test_a_container_is_started_again(registered: AsyncKubelet) -> None:
    await registered.admit(pod({RESOURCE: 1}))
    assert (await registered.restart_container("pod")).container().restarts == 1


@pytest.mark.asyncio
async def test_a_plugin_is_called_directly(registered: AsyncKubelet) -> None:
    response = await registered.allocate(RESOURCE, "a")
    assert [device.name for device in response.container_responses[0].cdi_devices] == []


@pytest.mark.asyncio
async def test_a_call_that_hangs_goes_on_when_it_is_released(registered: AsyncKubelet) -> None:
    hanging = registered.faults.hang(RESOURCE, "Allocate")
    admitting = asyncio.ensure_future(registered.admit(pod({RESOURCE: 1})))
    await registered.wait_until(registered.pods)
    hanging.set()
    assert (await admitting).phase is Phase.RUNNING


@pytest.mark.asyncio
async def test_several_may_wait_at_a_time(kubelet: AsyncKubelet) -> None:
    async with kubelet.plugin(Things()):
        await asyncio.gather(*(kubelet.wait_for(RESOURCE, allocatable=2) for _ in range(3)))


@pytest.mark.asyncio
async def test_what_does_not_come_fails_the_test(kubelet: AsyncKubelet) -> None:
    with pytest.raises(WaitError, match=rf"^waited 0\.01 s for {RESOURCE}: a first list\n"):
        await kubelet.wait_for(RESOURCE, timeout=0.01)


@pytest.mark.asyncio
@pytest.mark.usefixtures("failed")
async def test_a_plugin_whose_serving_fails_fails_the_wait(kubelet: AsyncKubelet) -> None:
    with pytest.raises(RuntimeError, match="no grace"):
        async with kubelet.plugin(Things()):
            await kubelet.wait_for(RESOURCE)


@pytest.mark.asyncio
async def test_a_plugin_whose_serving_fails_fails_the_test_that_waits_for_nothing(
    kubelet: AsyncKubelet, failed: asyncio.Event
) -> None:
    with pytest.raises(RuntimeError, match="no grace"):
        async with kubelet.plugin(Things()):
            await failed.wait()


@asynchronous
async def test_without_pytest_it_is_a_context_manager() -> None:
    async with AsyncKubelet(profile="1.31") as kubelet, kubelet.plugin(Things()):
        await kubelet.wait_for(RESOURCE, allocatable=2)


@asynchronous
async def test_it_leaves_nothing_behind() -> None:
    async with AsyncKubelet() as kubelet, kubelet.plugin(Things()):
        await kubelet.wait_for(RESOURCE)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not kubelet.plugin_dir.parent.exists()


@asynchronous
async def test_a_kubelet_that_has_ended_says_so() -> None:
    async with AsyncKubelet() as kubelet:
        pass
    with pytest.raises(ConfigurationError, match="has ended"):
        await kubelet.start()


def test_on_another_event_loop_it_says_what_to_do() -> None:
    async def begin() -> AsyncKubelet:
        kubelet = AsyncKubelet()
        await kubelet.start()
        return kubelet

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    kubelet = first.run_until_complete(begin())
    with pytest.raises(ConfigurationError, match="another event loop: let the test and all its fixtures share one"):
        second.run_until_complete(kubelet.wait_for(RESOURCE))
    kubelet._abandon()
    first.close()
    second.close()


def test_without_any_event_loop_it_says_what_it_needs() -> None:
    kubelet = AsyncKubelet()
    with pytest.raises(Error, match="needs asyncio"):
        kubelet.start().send(None)
    kubelet._abandon()
