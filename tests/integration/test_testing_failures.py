"""What a test is told when it fails: of pods, of calls, of registrations, and by the plugins that take part in it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kubelet_plugin.testing import AsyncKubelet, Kubelet, WaitError, pod
from tests.integration.offering import RESOURCE, Offering, things
from tests.unit.kubelet.foreign_plugin import ForeignPlugin, device

REFUSED = "default/pod is Failed; UnexpectedAdmissionError: Pod was rejected: Allocate failed due to"
WRITES = ["sh", "-c", "echo no such driver; sleep 60"]


def message_of(kubelet: Kubelet) -> str:
    with pytest.raises(WaitError) as caught:
        kubelet.wait_for(RESOURCE, allocatable=9, timeout=0.01)
    return str(caught.value)


# Pods.


def test_the_container_of_a_refused_pod_says_why_there_is_none(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
        status = kubelet.admit(pod({RESOURCE: 2}))
    with pytest.raises(LookupError) as caught:
        status.container()
    assert str(caught.value).startswith(f"there is no container: {REFUSED}")


def test_a_container_that_there_is_not_says_which_there_are(kubelet: Kubelet) -> None:
    status = kubelet.admit(pod(containers={"main": {}, "side": {}}))
    words = "there is no container 'sid', but main, side: default/pod is Running"
    with pytest.raises(LookupError, match=words):
        status.container("sid")


def test_a_pod_that_is_looked_at_in_a_failed_assertion_says_why_it_was_refused(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
        assert repr(kubelet.admit(pod({RESOURCE: 2}))).startswith(f"<PodStatus: {REFUSED}")


def test_a_pod_that_waits_says_which_container_does(kubelet: Kubelet) -> None:
    kubelet.faults.fail(RESOURCE, "PreStartContainer", "not now", times=1)

    class Preparing(Offering):
        def pre_start_container(self, devices: object) -> None:
            pass

    with kubelet.plugin(Preparing(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
        status = str(kubelet.admit(pod({RESOURCE: 1})))
    assert status.startswith(
        "default/pod is Pending; main waits: CreateContainerConfigError: device plugin PreStartContainer "
    )


def test_an_unknown_pod_says_which_there_are(kubelet: Kubelet) -> None:
    for name in ("one", "other"):
        kubelet.admit(pod(name=name))
    with pytest.raises(
        LookupError, match=r"^there is no pod default/nope; the pods there are: default/one, default/other$"
    ):
        kubelet.pod_status("nope")


def test_a_pod_that_is_not_there_cannot_be_removed(kubelet: Kubelet) -> None:
    with pytest.raises(LookupError, match=r"^there is no pod other/nope; the pods there are: none$"):
        kubelet.remove("nope", namespace="other")


def test_a_container_that_is_not_there_cannot_be_started_again(kubelet: Kubelet) -> None:
    kubelet.admit(pod())
    with pytest.raises(LookupError, match=r"^there is no container 'side', but main: "):
        kubelet.restart_container("pod", "side")


def test_a_pod_that_is_not_there_cannot_be_started_again(kubelet: Kubelet) -> None:
    with pytest.raises(LookupError, match=r"^there is no pod default/nope; "):
        kubelet.restart_container("nope")


# What the kubelet waits for.


def test_a_call_that_is_not_answered_is_named(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
        kubelet.faults.hang(RESOURCE, "Allocate")
        with pytest.raises(WaitError, match=f"admitted\nCalls that are not answered:\n  Allocate of {RESOURCE}\n"):
            kubelet.admit(pod({RESOURCE: 1}), timeout=0.2)


def test_a_call_that_was_answered_is_not_named(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
        kubelet.admit(pod({RESOURCE: 1}))
        assert "not answered" not in message_of(kubelet)


def test_a_health_that_does_not_count_is_pointed_out(kubelet: Kubelet) -> None:
    plugin = ForeignPlugin(kubelet.plugin_dir / "foreign.sock", device("a", "healthy"), device("b"))
    plugin.serve()
    plugin.register()
    kubelet.wait_for(RESOURCE, capacity=2)
    assert "last listed: a healthy, b Healthy; only 'Healthy' counts as such, not 'healthy'" in message_of(kubelet)
    plugin.die()


@pytest.mark.parametrize("profile", ["1.20", "1.36"])
def test_a_plugin_that_is_being_dialled_is_shown(profile: str) -> None:
    with Kubelet(profile=profile, manual_clock=True) as kubelet, ThreadPoolExecutor() as threads:
        plugin = ForeignPlugin(kubelet.plugin_dir / "foreign.sock")
        registering = threads.submit(plugin.register, endpoint="other.sock")
        kubelet.wait_until(lambda: kubelet._kubelet._journal.dialled)
        assert f"\n  {RESOURCE} at 'other.sock': being dialled\n" in message_of(kubelet)
        while not registering.done() or kubelet._kubelet._journal.dialled:
            kubelet.advance(11)
        assert "being dialled" not in message_of(kubelet)


def test_a_plugin_that_does_not_give_its_options_is_shown(kubelet: Kubelet) -> None:
    hanging = kubelet.faults.hang(RESOURCE, "GetDevicePluginOptions")
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_until(lambda: any(endpoint.calls for endpoint in kubelet._kubelet._journal.dialled))
        assert ".sock': GetDevicePluginOptions is not answered\n" in message_of(kubelet)
        hanging.set()
        kubelet.wait_for(RESOURCE)


# What plugins have to say to any failure.


def test_a_failed_assertion_shows_what_a_program_has_written(kubelet: Kubelet) -> None:
    with pytest.raises(ZeroDivisionError) as caught, kubelet.command(WRITES) as program:
        1 / (not kubelet.wait_until(lambda: program.output))
    (note,) = caught.value.__notes__
    assert note.startswith("$ sh -c ")
    assert note.endswith(f"\n  runs as {program.pid}; it wrote:\n  no such driver")


def test_a_failed_assertion_shows_how_a_program_has_ended(kubelet: Kubelet) -> None:
    with pytest.raises(ZeroDivisionError) as caught, kubelet.command(["sh", "-c", "exit 3"]) as program:
        1 / (program.wait() - 3)
    assert "ended with exit code 3" in caught.value.__notes__[0]


def test_a_wait_that_shows_a_program_already_is_not_told_again(kubelet: Kubelet) -> None:
    with pytest.raises(WaitError) as caught, kubelet.command(["sleep", "60"]):
        kubelet.wait_for(RESOURCE, timeout=0.01)
    assert not hasattr(caught.value, "__notes__")


def test_a_failed_assertion_shows_why_serving_has_ended(kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    async def serve(*_: object) -> None:
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.01, failed.set)
        raise RuntimeError("no grace")

    monkeypatch.setattr("kubelet_plugin.testing.serving.serve", serve)
    with pytest.raises(ZeroDivisionError) as caught, kubelet.plugin(Offering()):
        1 / (not failed.wait(10))
    expected = f"Offering is served as {RESOURCE}. That has failed: RuntimeError('no grace')"
    assert caught.value.__notes__ == [expected]


def test_a_failed_assertion_is_not_told_of_a_plugin_that_is_well(kubelet: Kubelet) -> None:
    with pytest.raises(ZeroDivisionError) as caught, kubelet.plugin(Offering()):
        1 / 0  # noqa: B018
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.asyncio
async def test_in_a_coroutine_test_a_failed_assertion_shows_what_a_program_has_written(kubelet: AsyncKubelet) -> None:
    block = kubelet.command(WRITES)
    program = await block.__aenter__()
    await kubelet.wait_until(lambda: program.output)
    failure = AssertionError()
    assert not await block.__aexit__(AssertionError, failure, None)
    assert "no such driver" in failure.__notes__[0]


@pytest.mark.asyncio
async def test_in_a_coroutine_test_a_call_that_is_not_answered_is_named(kubelet: AsyncKubelet) -> None:
    async with kubelet.plugin(Offering(*things(1))):
        await kubelet.wait_for(RESOURCE, allocatable=1)
        kubelet.faults.hang(RESOURCE, "Allocate")
        with pytest.raises(WaitError, match=f"Calls that are not answered:\n  Allocate of {RESOURCE}\n"):
            await kubelet.admit(pod({RESOURCE: 1}), timeout=0.2)


# The wrong way in.


@pytest.mark.asyncio
async def test_an_asynchronous_block_says_how_to_enter_it(kubelet: AsyncKubelet) -> None:
    with pytest.raises(TypeError, match="enter it with `async with`"), kubelet.plugin(Offering()):  # type: ignore[attr-defined]
        pytest.fail("it was entered")
    with pytest.raises(TypeError, match="enter it with `async with`"), kubelet.command(WRITES):  # type: ignore[attr-defined]
        pytest.fail("it was entered")


@pytest.mark.asyncio
async def test_an_asynchronous_kubelet_says_how_to_enter_it(kubelet: AsyncKubelet) -> None:
    with pytest.raises(TypeError, match="enter it with `async with`"), kubelet:  # type: ignore[attr-defined]
        pytest.fail("it was entered")


@pytest.mark.asyncio
async def test_an_ordinary_block_says_how_to_enter_it() -> None:
    with Kubelet() as kubelet:
        with pytest.raises(TypeError, match="enter it with `with`"):
            async with kubelet.plugin(Offering()):  # type: ignore[attr-defined]
                pytest.fail("it was entered")
        with pytest.raises(TypeError, match="enter it with `with`"):
            async with kubelet:  # type: ignore[attr-defined]
                pytest.fail("it was entered")
