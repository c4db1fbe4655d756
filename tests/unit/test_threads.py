import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from kubelet_plugin.errors import StuckError
from kubelet_plugin.threads import Blocking
from tests.asynchronous import asynchronous

if TYPE_CHECKING:
    from collections.abc import Hashable

SOON = 0.01  # a deadline that is to pass
LATE = 30.0  # one that is not


class Hanging:
    """A function that hangs until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.calls = 0
        self._release = threading.Event()

    def __call__(self) -> str:
        self.calls += 1
        self.entered.set()
        assert self._release.wait(LATE)
        return "ended"

    def release(self) -> None:
        self._release.set()


@asynchronous
async def test_the_result_of_the_function_is_returned() -> None:
    assert await Blocking().run("key", max, 1, 7, deadline=LATE) == 7


@asynchronous
async def test_the_function_runs_off_the_loop_in_a_daemon_thread() -> None:
    thread = await Blocking().run("key", threading.current_thread, deadline=LATE)
    assert thread is not threading.current_thread()
    assert thread.daemon


@asynchronous
async def test_no_thread_is_left_after_a_call() -> None:
    before = threading.active_count()
    blocking = Blocking()
    for _ in range(100):
        await blocking.run("key", int, deadline=LATE)
        assert threading.active_count() == before
    assert not blocking.stuck("key")


@pytest.mark.parametrize(
    "error", [ValueError("no"), TimeoutError("its own"), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_what_the_function_raises_is_raised(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def body() -> None:
        blocking = Blocking()
        with pytest.raises(type(error)) as raised:
            await blocking.run("key", fail, deadline=LATE)
        assert raised.value is error
        assert not blocking.stuck("key")

    asyncio.run(body())


@asynchronous
async def test_a_stop_iteration_does_not_hang_the_caller() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await Blocking().run("key", next, iter(()), deadline=LATE)


@asynchronous
async def test_a_call_past_its_deadline_is_given_up() -> None:
    blocking, hanging = Blocking(), Hanging()
    with pytest.raises(StuckError, match=r"key: not done after 0\.01 s"):
        await blocking.run("key", hanging, deadline=SOON)
    assert blocking.stuck("key")
    hanging.release()


@asynchronous
async def test_no_second_call_starts_while_one_is_stuck() -> None:
    blocking, hanging = Blocking(), Hanging()
    with pytest.raises(StuckError):
        await blocking.run("key", hanging, deadline=SOON)
    threads = threading.active_count()
    with pytest.raises(StuckError, match="earlier call"):
        await blocking.run("key", hanging, deadline=LATE)
    assert (threading.active_count(), hanging.calls) == (threads, 1)
    hanging.release()


@asynchronous
async def test_other_keys_are_not_kept_by_a_stuck_one() -> None:
    blocking, hanging = Blocking(), Hanging()
    with pytest.raises(StuckError):
        await blocking.run("key", hanging, deadline=SOON)
    assert await blocking.run("other", int, deadline=LATE) == 0
    hanging.release()


@asynchronous
async def test_a_stuck_call_that_ends_late_frees_its_key_and_says_so() -> None:
    freed: asyncio.Queue[Hashable] = asyncio.Queue()
    blocking, hanging = Blocking(freed.put_nowait), Hanging()
    with pytest.raises(StuckError):
        await blocking.run("key", hanging, deadline=SOON)
    hanging.release()
    assert await freed.get() == "key"
    assert not blocking.stuck("key")
    assert await blocking.run("key", int, deadline=LATE) == 0


@asynchronous
async def test_a_call_that_ends_in_time_is_not_reported_as_freed() -> None:
    freed: list[Hashable] = []
    await Blocking(freed.append).run("key", int, deadline=LATE)
    await asyncio.sleep(0)
    assert freed == []


@asynchronous
async def test_a_cancelled_caller_leaves_the_call_alone() -> None:
    freed: asyncio.Queue[Hashable] = asyncio.Queue()
    blocking, hanging = Blocking(freed.put_nowait), Hanging()
    caller = asyncio.create_task(blocking.run("key", hanging, deadline=LATE))
    await asyncio.to_thread(hanging.entered.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert blocking.stuck("key")
    hanging.release()
    assert await freed.get() == "key"


def test_a_call_may_outlive_its_loop() -> None:
    blocking, hanging = Blocking(), Hanging()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        hanging()

    async def body() -> None:
        with pytest.raises(StuckError):
            await blocking.run("key", hang, deadline=SOON)

    asyncio.run(body())
    hanging.release()
    threads[0].join(LATE)  # an exception in a thread would fail the test: pytest warns, and warnings are errors
    assert not blocking.stuck("key")


@asynchronous
async def test_a_thread_that_cannot_start_leaves_its_key_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    blocking = Blocking()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="start new thread"):
            await blocking.run("key", int, deadline=LATE)
    assert await blocking.run("key", int, deadline=LATE) == 0
