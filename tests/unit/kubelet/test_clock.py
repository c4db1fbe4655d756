import asyncio
import time

import pytest

from kubelet_plugin.kubelet.clock import Clock, ManualClock, go_duration
from tests.asynchronous import asynchronous


async def sleeping(clock: Clock, seconds: float) -> asyncio.Task[None]:
    """A task that has begun to sleep."""
    task = asyncio.ensure_future(clock.sleep(seconds))
    await asyncio.sleep(0)
    return task


async def is_awake(task: asyncio.Task[None]) -> bool:
    await asyncio.sleep(0)
    return task.done()


def test_the_clock_is_the_machines() -> None:
    before, now, after = time.monotonic(), Clock().now(), time.monotonic()
    assert before <= now <= after


def test_the_time_of_day_is_the_machines() -> None:
    before, now, after = time.time(), Clock().wall(), time.time()
    assert before <= now <= after


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock()
    assert (clock.now(), clock.now()) == (0.0, 0.0)


def test_a_manual_clock_is_moved_on() -> None:
    clock = ManualClock()
    clock.advance(1.5)
    clock.advance(2)
    assert clock.now() == 3.5


def test_the_time_of_day_moves_with_a_manual_clock() -> None:
    clock = ManualClock(wall=1000.0)
    clock.advance(60)
    assert clock.wall() == 1060.0


@asynchronous
async def test_who_sleeps_wakes_when_the_time_has_come() -> None:
    clock = ManualClock()
    task = await sleeping(clock, 10)
    clock.advance(10)
    assert await is_awake(task)


@asynchronous
async def test_who_sleeps_does_not_wake_before() -> None:
    clock = ManualClock()
    task = await sleeping(clock, 10)
    clock.advance(9.9)
    assert not await is_awake(task)
    task.cancel()


@asynchronous
async def test_the_time_is_moved_on_in_steps() -> None:
    clock = ManualClock()
    task = await sleeping(clock, 10)
    clock.advance(6)
    clock.advance(4)
    assert await is_awake(task)


@asynchronous
async def test_who_begins_later_wakes_later() -> None:
    clock = ManualClock()
    clock.advance(5)
    task = await sleeping(clock, 10)
    clock.advance(9)
    assert not await is_awake(task)
    clock.advance(1)
    assert await is_awake(task)


@asynchronous
async def test_sleepers_wake_in_the_order_of_their_time() -> None:
    clock, order = ManualClock(), []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        order.append(seconds)

    tasks = [asyncio.ensure_future(sleep(seconds)) for seconds in (3, 1, 2)]
    await asyncio.sleep(0)
    clock.advance(3)
    await asyncio.gather(*tasks)
    assert order == [1, 2, 3]


@asynchronous
@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_sleep_of_no_time_ends_at_once(seconds: float) -> None:
    await ManualClock().sleep(seconds)


@asynchronous
async def test_who_was_cancelled_is_not_woken() -> None:
    clock = ManualClock()
    task = await sleeping(clock, 1)
    task.cancel()
    clock.advance(1)
    with pytest.raises(asyncio.CancelledError):
        await task


@asynchronous
async def test_a_moment_can_be_waited_for_that_was_planned_before() -> None:
    clock = ManualClock()
    work = clock.sleep_until(clock.now() + 10)
    clock.advance(10)
    await work


@asynchronous
async def test_what_is_done_in_time_has_its_result() -> None:
    async def work() -> str:
        return "done"

    assert await ManualClock().within(1, work()) == "done"


@asynchronous
async def test_what_fails_in_time_fails() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await ManualClock().within(1, work())


@asynchronous
async def test_what_is_not_done_in_time_is_cancelled() -> None:
    clock, cancelled = ManualClock(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    waiting = asyncio.ensure_future(clock.within(5, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.advance(5)
    with pytest.raises(TimeoutError):
        await waiting
    assert cancelled.is_set()


@asynchronous
async def test_who_stops_waiting_cancels_the_work() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.ensure_future(ManualClock().within(5, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cancelled.is_set()


@asynchronous
async def test_the_machines_clock_bounds_work_too() -> None:
    with pytest.raises(TimeoutError):
        await Clock().within(0.001, asyncio.Event().wait())


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (10, "10s"), (60, "1m0s"), (80, "1m20s"), (300, "5m0s"), (3601.5, "60m1s")]
)
def test_a_duration_is_written_as_go_does(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
