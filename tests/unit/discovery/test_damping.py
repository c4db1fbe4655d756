import gc
import itertools
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin.discovery.damping import Damper

repeatable = settings(derandomize=True, deadline=None)

HELD = "flapping: 3 changes within 60 s; Unhealthy until it is quiet for 60 s"


def flapping(changes: int, *, every: float = 1.0, max_flips: int = 2, quiet: float = 60.0) -> tuple[Damper, str]:
    """Let a device change its health so often, from healthy at 0 s on; returns what is said of it at last, too."""
    damper = Damper(max_flips, quiet)
    said = ""
    for number in range(changes + 1):
        said = damper.judge("tty0", number % 2 == 0, number * every)
    return damper, said


def test_a_device_that_stays_as_it_is_is_told_as_it_is() -> None:
    damper = Damper(1)
    assert [damper.judge("tty0", True, now) for now in range(10)] == [""] * 10


def test_as_many_changes_as_are_borne_hold_nothing_back() -> None:
    assert flapping(2)[1] == ""


def test_one_more_change_holds_the_device_back() -> None:
    damper, _ = flapping(3)
    assert damper.judge("tty0", True, 3.5) == HELD


def test_the_reason_names_the_bound_that_was_set_and_the_time_to_wait() -> None:
    assert flapping(7, max_flips=6, quiet=90)[0].judge("tty0", True, 7.5) == (
        "flapping: 7 changes within 60 s; Unhealthy until it is quiet for 90 s"
    )


def test_the_reason_stays_the_same_while_it_goes_on_flapping() -> None:
    damper, _ = flapping(4)
    assert {damper.judge("tty0", now % 2 == 0, now) for now in range(5, 11)} == {HELD}


def test_a_device_is_held_however_it_looks() -> None:
    assert flapping(5)[1] == HELD


def test_changes_that_are_further_apart_than_a_minute_in_all_hold_nothing_back() -> None:
    assert flapping(8, every=20.0, max_flips=3)[1] == ""


def test_it_is_released_when_it_was_quiet_for_long_enough() -> None:
    damper, said = flapping(4)
    assert said == HELD
    assert damper.judge("tty0", True, 63.9) == HELD
    assert damper.judge("tty0", True, 64) == ""


def test_a_change_while_it_is_held_begins_the_wait_anew() -> None:
    damper, _ = flapping(4)
    damper.judge("tty0", False, 40)
    damper.judge("tty0", True, 50)
    assert damper.judge("tty0", True, 109.9) == HELD
    assert damper.judge("tty0", True, 110) == ""


def test_a_change_after_a_quiet_minute_is_a_first_one_again() -> None:
    damper, _ = flapping(4)
    assert [damper.judge("tty0", healthy, 64) for healthy in (False, True)] == ["", ""]


def test_it_may_be_released_sooner_than_after_a_minute() -> None:
    damper, said = flapping(4, quiet=5)
    assert said.endswith("quiet for 5 s")
    assert damper.judge("tty0", True, 9) == ""


def test_no_bound_holds_nothing_back() -> None:
    damper, said = flapping(100, every=0.01, max_flips=0)
    assert (said, damper.next_release(2)) == ("", None)


def test_a_device_is_held_for_its_own_changes_alone() -> None:
    damper, _ = flapping(4)
    assert damper.judge("tty1", True, 4) == ""


def test_being_unplugged_is_a_change_and_being_plugged_in_again_another() -> None:
    damper = Damper(2)
    assert damper.judge("tty0", True, 0) == ""
    damper.absent((), 1)
    assert damper.judge("tty0", True, 2) == ""
    damper.absent((), 3)
    assert damper.judge("tty0", True, 4) == HELD


def test_an_unhealthy_device_that_is_unplugged_has_not_changed() -> None:
    damper = Damper(1)
    damper.judge("tty0", False, 0)
    damper.absent((), 1)
    assert damper.judge("tty0", True, 2) == ""


def test_what_is_listed_is_not_absent() -> None:
    damper, _ = flapping(4)
    damper.absent({"tty0"}, 4)
    assert damper.judge("tty0", True, 4) == HELD


def test_a_device_that_is_gone_for_less_than_the_quiet_time_is_still_held() -> None:
    damper, _ = flapping(4)
    damper.absent((), 5)
    damper.absent((), 64)
    assert damper.judge("tty0", True, 64.5) == HELD


@pytest.mark.parametrize("quiet", [5.0, 60.0, 300.0])
def test_devices_that_are_gone_are_forgotten_once_they_were_quiet(quiet: float) -> None:
    class Name(str):
        __slots__ = ("__weakref__",)

    damper = Damper(2, quiet)
    names = [Name(f"tty{number}") for number in range(1000)]
    for now, healthy in enumerate((True, False, True, False, True)):
        for name in names:
            damper.judge(name, healthy, now)
    left = weakref.WeakSet(names)
    del names, name
    damper.absent((), 5)
    assert len(left) == 1000
    damper.absent((), 5 + max(quiet, 60))
    gc.collect()
    assert len(left) == 0


def test_nothing_is_to_be_released_where_none_is_held() -> None:
    assert flapping(2)[0].next_release(3) is None


def test_the_next_release_is_that_of_the_device_that_was_quiet_for_longest() -> None:
    damper, _ = flapping(4)
    for now in range(5, 10):
        damper.judge("tty1", now % 2 == 1, now)
    assert damper.next_release(10) == 64
    damper.judge("tty0", True, 64)
    assert damper.next_release(64) == 69


def test_a_release_that_is_past_is_due_now() -> None:
    assert flapping(4)[0].next_release(100) == 100


def test_a_held_device_that_stays_unhealthy_is_told_as_it_is_once_it_was_quiet() -> None:
    damper, _ = flapping(5)
    release = damper.next_release(6)
    assert release is not None
    assert damper.judge("tty0", False, release) == ""


Looks = list[tuple[float, bool]]


def held_by_the_rule(looks: Looks, max_flips: int, quiet: float) -> bool:
    """Tell from the whole history whether a device is held at the last look: as the rule says, slowly."""
    changes = [now for (_, before), (now, after) in itertools.pairwise(looks) if before != after]
    since = looks[-1][0]
    for number in range(len(changes) - 1, -1, -1):
        if since >= changes[number] + quiet:
            return False
        since = changes[number]
        if sum(since - change < 60 for change in changes[: number + 1]) > max_flips:
            return True
    return False


@repeatable
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 5.0, 20.0, 59.0, 60.0, 61.0]), st.booleans()), min_size=1),
    st.integers(1, 4),
    st.sampled_from([1.0, 10.0, 60.0, 90.0]),
)
def test_devices_are_held_just_as_the_rule_says(steps: Looks, max_flips: int, quiet: float) -> None:
    damper = Damper(max_flips, quiet)
    now, looks = 0.0, []
    for step, healthy in steps:
        now += step
        looks.append((now, healthy))
        held = held_by_the_rule(looks, max_flips, quiet)
        said = damper.judge("tty0", healthy, now)
        assert bool(said) == held
        assert (damper.next_release(now) is None) == (not said)


@repeatable
@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), min_size=1), st.integers(1, 4), st.floats(0.1, 100))
def test_who_waits_for_the_next_release_finds_one_released(steps: Looks, max_flips: int, quiet: float) -> None:
    damper = Damper(max_flips, quiet)
    now = 0.0
    for step, healthy in steps:
        now += step
        damper.judge("tty0", healthy, now)
    release = damper.next_release(now)
    if release is not None:
        assert now <= release <= now + quiet
        assert damper.judge("tty0", True, release) == ""


@repeatable
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 5.0]), st.booleans()), min_size=1, max_size=12), st.integers(1, 4))
def test_an_absence_counts_as_being_unhealthy(steps: Looks, max_flips: int) -> None:
    listed, unlisted = Damper(max_flips), Damper(max_flips)
    now, seen = 0.0, False
    for step, there in steps:
        now += step
        seen = seen or there
        if there:
            assert unlisted.judge("tty0", True, now) == listed.judge("tty0", True, now)
        elif seen:  # what is not known yet is not known to be absent
            listed.judge("tty0", False, now)
            unlisted.absent((), now)
