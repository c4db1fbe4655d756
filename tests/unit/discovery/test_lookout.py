"""When it is time to look: on a clock that leaps, so that each time is exact."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.discovery import watch
from kubelet_plugin.discovery.lookout import Lookout
from kubelet_plugin.discovery.uevents import Uevents
from kubelet_plugin.errors import ConfigurationError
from tests.unit.discovery.clock import timeless
from tests.unit.discovery.listening import descriptors, loop_has_read


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kp-", dir="/tmp") as path:
        yield Path(path)


@asynccontextmanager
async def at(when: float, act: Any) -> AsyncIterator[None]:
    """Let something happen at a time."""
    handle = asyncio.get_running_loop().call_at(when, act)
    try:
        yield
    finally:
        handle.cancel()


@timeless
async def test_nothing_happens_until_it_is_time_to_look_at_everything() -> None:
    with Lookout(resync=60) as lookout:
        assert await lookout.rest()
        assert now() == 60
        assert await lookout.rest()
        assert now() == 120


@timeless
async def test_a_wake_ends_the_rest_without_looking_at_everything() -> None:
    with Lookout(resync=60, gather=0) as lookout:
        async with at(7, lookout.wake):
            assert not await lookout.rest()
        assert now() == 7


@timeless
async def test_changes_are_gathered_for_a_while_after_a_look() -> None:
    with Lookout(resync=60, gather=0.5) as lookout:
        lookout.wake()
        assert not await lookout.rest()
        assert now() == 0.5


@timeless
async def test_after_a_long_rest_there_is_nothing_to_gather() -> None:
    with Lookout(resync=60, gather=0.5) as lookout:
        async with at(7, lookout.wake):
            assert not await lookout.rest()
        assert now() == 7


@timeless
async def test_what_was_told_before_a_look_begins_asks_for_no_other() -> None:
    with Lookout(resync=60) as lookout:
        lookout.wake()
        lookout.looking()
        assert await lookout.rest()
        assert now() == 60


@timeless
async def test_what_is_told_while_looking_asks_for_another_look() -> None:
    with Lookout(resync=60, gather=0.01) as lookout:
        lookout.looking()
        lookout.wake()
        assert not await lookout.rest()
        assert now() == 0.01


@timeless
async def test_wakes_do_not_put_off_the_time_to_look_at_everything() -> None:
    with Lookout(resync=60, gather=1) as lookout:
        for _ in range(59):
            lookout.looking()
            lookout.wake()
            assert not await lookout.rest()
        lookout.looking()
        assert await lookout.rest()
        assert now() == 60


@timeless
async def test_one_rests_no_longer_than_asked_for() -> None:
    with Lookout(resync=60) as lookout:
        assert not await lookout.rest(until=7)
        assert now() == 7
        assert await lookout.rest(until=100)
        assert now() == 60


@timeless
async def test_a_time_that_is_past_is_now() -> None:
    with Lookout(resync=60, gather=0) as lookout:
        await lookout.rest()
        assert not await lookout.rest(until=7)
        assert now() == 60


@timeless
async def test_where_all_is_told_by_events_it_is_never_time_to_look_without_one() -> None:
    with directory() as place, Lookout(resync=60, thorough=False, gather=0) as lookout:
        lookout.watch([f"{place}/x"])
        async with at(1000, lookout.wake):
            assert not await lookout.rest()
        assert now() == 1000


@timeless
async def test_where_a_path_cannot_be_watched_it_is_time_to_look_though_all_should_be_told() -> None:
    with Lookout(resync=60, thorough=False) as lookout:
        lookout.watch([f"/{'long' * 100}/x"])
        assert await lookout.rest()
        assert now() == 60


@timeless
async def test_where_the_kernel_is_not_heard_it_is_time_to_look_though_all_should_be_told() -> None:
    def refused() -> Any:
        raise PermissionError(1, "no")

    loop = asyncio.get_running_loop()
    deaf = Uevents.of_loop(loop)
    deaf._opened = refused
    with Lookout(resync=60, thorough=False) as lookout:
        lookout.watch((), nodes_too=True)
        assert await lookout.rest()
        assert now() == 60


@timeless
async def test_a_faster_pace_holds_at_once() -> None:
    with Lookout(resync=60) as lookout:
        lookout.pace(5, thorough=True)
        assert await lookout.rest()
        assert now() == 5
        assert await lookout.rest()
        assert now() == 10


@timeless
async def test_a_slower_pace_holds_after_the_next_time() -> None:
    with Lookout(resync=60) as lookout:
        lookout.pace(100, thorough=True)
        assert await lookout.rest()
        assert now() == 60
        assert await lookout.rest()
        assert now() == 160


@timeless
async def test_a_pace_says_how_thorough_to_be() -> None:
    with Lookout(resync=60) as lookout:
        lookout.pace(60, thorough=False)
        assert not await lookout.rest(until=200)
        assert now() == 200


@timeless
async def test_what_is_watched_wakes() -> None:
    with directory() as place, Lookout(resync=60, gather=0) as lookout:
        lookout.watch([f"{place}/x"])
        async with at(7, (place / "x").touch):
            assert not await lookout.rest()
        assert now() == 7


@timeless
async def test_what_is_watched_no_longer_does_not_wake() -> None:
    with directory() as place, Lookout(resync=60) as lookout:
        lookout.watch([f"{place}/x"])
        lookout.watch([f"{place}/y"])
        async with at(7, (place / "x").touch):
            assert await lookout.rest()


@timeless
async def test_what_was_told_before_the_watch_was_changed_is_not_forgotten() -> None:
    with directory() as place, Lookout(resync=60, gather=0) as lookout:
        lookout.watch([f"{place}/x"])
        (place / "x").touch()
        await loop_has_read()
        lookout.watch([f"{place}/x", f"{place}/y"])
        assert not await lookout.rest()


@timeless
async def test_a_watch_that_grew_is_told_of() -> None:
    with directory() as place, Lookout() as lookout:
        one, two = f"{place}/x", f"{place}/y"
        grown = [lookout.watch(patterns) for patterns in ([one], [one], [one, two], [two], [two, two], [one], [])]
        assert grown == [True, False, True, False, False, True, False]


@timeless
async def test_a_pattern_that_is_refused_leaves_things_as_they_were() -> None:
    with directory() as place, Lookout(resync=60, gather=0) as lookout:
        lookout.watch([f"{place}/x"])
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                lookout.watch(["/"])
        async with at(7, (place / "x").touch):
            assert not await lookout.rest()


@timeless
async def test_a_watch_of_nodes_grew_when_they_are_watched_for_the_first_time() -> None:
    with Lookout() as lookout:
        grown = [lookout.watch((), nodes_too=nodes) for nodes in (True, True, False, True)]
        assert grown == [True, False, False, True]


@timeless
async def test_what_the_kernel_tells_wakes_where_nodes_are_watched_too() -> None:
    uevents = Uevents.of_loop(asyncio.get_running_loop())
    with Lookout(resync=60, gather=0) as lookout:
        lookout.watch((), nodes_too=True)
        (wake,) = uevents._subscribers.values()
        async with at(7, wake):
            assert not await lookout.rest()
        assert now() == 7


@timeless
async def test_nodes_that_are_not_probed_are_listed_when_something_changes_and_then_not_until_it_does_again() -> None:
    with directory() as place:
        async with aclosing(watch(f"{place}/crand*", gather=0)) as lists:
            listed = [len(await anext(lists))]
            for when in (7, 1000):
                async with at(when, (place / f"crand{when}").touch):
                    listed.append(len(await anext(lists)))
                assert now() == when
            assert listed == [0, 1, 2]


@pytest.mark.parametrize("nodes_too", [False, True])
def test_the_end_leaves_nothing_behind(nodes_too: bool) -> None:
    @timeless
    async def body() -> None:
        before = descriptors()
        with directory() as place, Lookout() as lookout:
            lookout.watch([f"{place}/x"], nodes_too=nodes_too)
            assert descriptors() > before
        assert descriptors() == before

    body()
