import random
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin.plugins.preference import PREFERENCES, Preference, numa, packed, spread
from kubelet_plugin.runtime import Device

repeatable = settings(derandomize=True, deadline=None)
each = pytest.mark.parametrize("prefer", PREFERENCES.values(), ids=PREFERENCES)


def shares(**counts: int) -> list[Device]:
    return [share for name, count in counts.items() for share in _shares(name, count)]


def _shares(name: str, count: int) -> Sequence[Device]:
    return [Device(f"{name}::{number}", cdi_device=name) for number in range(count)]


def near(**nodes: tuple[int, ...]) -> list[Device]:
    return [Device(name, numa_nodes=close) for name, close in nodes.items()]


def ids(devices: Collection[Device]) -> list[str]:
    return [device.id for device in devices]


def choose(
    prefer: Preference, devices: Sequence[Device], size: int, *, used: Collection[str] = (), must: Collection[str] = ()
) -> list[str]:
    """Choose among all that are not used, offered in another order than they are listed."""
    available = [device for device in reversed(devices) if device.id not in used]
    return ids(prefer(devices, available, [device for device in devices if device.id in must], size))


def test_preferences_have_names() -> None:
    assert {"packed": packed, "spread": spread, "numa": numa} == PREFERENCES


# --- packed ---


def test_packed_takes_all_shares_of_one_device() -> None:
    assert choose(packed, shares(a=2, b=3), 3) == ["b::0", "b::1", "b::2"]


def test_packed_begins_with_a_device_in_use() -> None:
    assert choose(packed, shares(a=4, b=4), 2, used=["b::1"]) == ["b::0", "b::2"]


def test_packed_begins_with_the_device_that_has_the_least_left() -> None:
    assert choose(packed, shares(a=4, b=4), 1, used=["a::0", "b::0", "b::1"]) == ["b::2"]


def test_packed_leaves_a_device_whole_where_a_smaller_one_will_do() -> None:
    assert choose(packed, shares(a=8, b=2), 2) == ["b::0", "b::1"]


def test_packed_takes_a_whole_device_rather_than_two_in_use() -> None:
    assert choose(packed, shares(a=2, b=2, c=2), 2, used=["a::0", "b::0"]) == ["c::0", "c::1"]


def test_packed_takes_what_else_it_needs_from_a_device_in_use() -> None:
    assert choose(packed, shares(a=4, b=4, c=4), 5, used=["c::0"]) == ["c::1", "c::2", "c::3", "a::0", "a::1"]


def test_packed_stays_with_the_devices_that_must_be_included() -> None:
    assert choose(packed, shares(a=4, b=4), 3, used=["a::0"], must=["b::2"]) == ["b::2", "b::0", "b::1"]


def test_packed_fills_first_which_of_them_has_the_least_left() -> None:
    assert choose(packed, shares(a=4, b=2), 3, must=["a::0", "b::0"]) == ["a::0", "b::0", "b::1"]


def test_packed_goes_on_to_others_where_those_are_full() -> None:
    assert choose(packed, shares(a=2, b=2, c=2), 3, used=["c::0"], must=["b::0"]) == ["b::0", "b::1", "c::1"]


# --- spread ---


def test_spread_takes_a_share_of_each_device() -> None:
    assert choose(spread, shares(a=3, b=3, c=3), 3) == ["a::0", "b::0", "c::0"]


def test_spread_begins_with_the_device_that_is_used_least() -> None:
    used = ["a::0", "a::1", "b::0"]
    assert choose(spread, shares(a=3, b=3, c=3), 2, used=used) == ["c::0", "b::1"]


def test_spread_takes_a_second_share_only_when_each_device_gave_one() -> None:
    used = ["a::0", "a::1"]
    assert choose(spread, shares(a=3, b=3), 3, used=used) == ["b::0", "a::2", "b::1"]


def test_spread_keeps_away_from_the_devices_that_must_be_included() -> None:
    assert choose(spread, shares(a=2, b=2, c=2), 3, must=["a::1"]) == ["a::1", "b::0", "c::0"]


# --- numa ---


def test_numa_takes_from_one_node() -> None:
    assert choose(numa, near(a=(0,), b=(1,), c=(1,)), 2) == ["b", "c"]


def test_numa_takes_from_the_smallest_node_that_has_enough() -> None:
    devices = near(a=(0,), b=(0,), c=(0,), d=(1,), e=(1,), f=(2,))
    assert choose(numa, devices, 2) == ["d", "e"]


def test_numa_counts_what_is_available_alone() -> None:
    devices = near(a=(0,), b=(0,), c=(0,), d=(1,), e=(1,))
    assert choose(numa, devices, 2, used=["d"]) == ["a", "b"]


def test_numa_stays_with_the_node_of_what_must_be_included() -> None:
    devices = near(a=(0,), b=(0,), c=(1,), d=(1,), e=(1,))
    assert choose(numa, devices, 2, must=["d"]) == ["d", "c"]


def test_numa_keeps_to_all_nodes_of_what_must_be_included_rather_than_to_smaller_ones() -> None:
    devices = near(c=(2,), m=(0, 1), a0=(0,), a1=(0,), b0=(1,), b1=(1,))
    assert choose(numa, devices, 4, must=["m"]) == ["m", "a0", "a1", "b0"]


def test_numa_looks_for_nodes_for_those_alone_whose_nodes_are_known() -> None:
    devices = near(a=(0,), b=(0,), c=(0,), d=(1,), e=(1,), u=())
    assert choose(numa, devices, 3, must=["u"]) == ["u", "d", "e"]


def test_numa_counts_a_device_to_each_node_it_is_close_to() -> None:
    assert choose(numa, near(a=(0,), b=(0, 1), c=(1,), d=(1,)), 3) == ["b", "c", "d"]


def test_numa_spreads_over_the_devices_of_the_node() -> None:
    devices = [replace(share, numa_nodes=(1,)) for share in shares(a=2, b=2)]
    assert choose(numa, [*near(z=(0,)), *devices], 2) == ["a::0", "b::0"]


def test_numa_takes_devices_of_unknown_nodes_last() -> None:
    assert choose(numa, near(a=(), b=(0,), c=(1,)), 2) == ["b", "c"]
    assert choose(numa, near(a=(), b=(0,), c=(1,)), 3) == ["b", "c", "a"]


def test_numa_is_spread_where_no_node_is_known() -> None:
    devices = shares(a=2, b=2)
    assert choose(numa, devices, 2) == choose(spread, devices, 2)


def test_numa_finds_the_fewest_nodes_where_the_largest_is_none_of_them() -> None:
    left, right = [f"left{number}" for number in range(3)], [f"right{number}" for number in range(3)]
    middle = near(middle=(0,), **dict.fromkeys(left, (0, 1)), **dict.fromkeys(right, (0, 2)))
    sides = near(l0=(1,), l1=(1,), r0=(2,), r1=(2,))
    assert choose(numa, [*middle, *sides], 10) == [*left, *right, "l0", "l1", "r0", "r1"]


def test_numa_chooses_among_more_nodes_than_it_can_try_all_sets_of() -> None:
    devices = [Device(f"d{node}-{n}", numa_nodes=(node,)) for node in range(12) for n in range(node + 1)]
    chosen = numa(devices, devices, [], 20)
    assert {device.numa_nodes for device in chosen} == {(11,), (10,)}


def test_numa_stays_with_what_must_be_included_among_many_nodes() -> None:
    devices = [Device(f"d{node}-{n}", numa_nodes=(node,)) for node in range(12) for n in range(node + 1)]
    must = [device for device in devices if device.numa_nodes == (3,)][:1]
    assert {device.numa_nodes for device in numa(devices, devices, must, 4)} == {(3,)}


# --- all of them ---


@each
def test_the_order_in_which_devices_are_offered_does_not_matter(prefer: Preference) -> None:
    devices = [replace(share, numa_nodes=(len(share.cdi_name),)) for share in shares(a=3, bb=3, cc=3)]
    offered = devices[1:]
    once = prefer(devices, offered, devices[2:3], 4)
    for seed in range(10):
        assert prefer(devices, random.Random(seed).sample(offered, len(offered)), devices[2:3], 4) == once


@each
def test_a_size_below_what_must_be_included_cuts_nothing_off(prefer: Preference) -> None:
    assert choose(prefer, shares(a=3), 1, must=["a::0", "a::1"]) == ["a::0", "a::1"]


@each
@pytest.mark.parametrize("size", [0, -1])
def test_none_is_chosen_where_none_is_asked_for(prefer: Preference, size: int) -> None:
    assert choose(prefer, shares(a=3), size) == []


@each
def test_what_must_be_included_is_chosen_even_where_it_was_not_offered(prefer: Preference) -> None:
    devices = shares(a=3)
    assert ids(prefer(devices, devices[1:], devices[:1], 2)) == ["a::0", "a::1"]


@each
def test_what_is_offered_though_it_is_not_listed_may_be_chosen(prefer: Preference) -> None:
    assert ids(prefer([], shares(a=2), [], 2)) == ["a::0", "a::1"]


@each
@pytest.mark.parametrize("count", [1, 10, 10_000], ids="{} shares each".format)
def test_ten_thousand_devices_take_little_time(prefer: Preference, count: int) -> None:
    devices = [
        Device(f"device{whole}::{share}", cdi_device=f"device{whole}", numa_nodes=(whole % 8,))
        for whole in range(10_000 // count)
        for share in range(count)
    ]
    offered = random.Random(0).sample(devices, 9_000)
    best = min(_time(prefer, devices, offered) for _ in range(5))
    assert best < 0.1  # 20 ms, and much for a machine that others work on, too


def _time(prefer: Preference, devices: Sequence[Device], offered: Sequence[Device]) -> float:
    began = time.thread_time()
    prefer(devices, offered, offered[:100], 5_000)
    return time.thread_time() - began


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Device], list[Device], list[Device], int]:
    """A few devices with some shares each, some in use, some to be included."""
    devices: list[Device] = []
    for name in "abcde"[: draw(st.integers(1, 5))]:
        nodes = tuple(draw(st.sets(st.integers(0, 3), max_size=2)))
        devices += [replace(share, numa_nodes=nodes) for share in _shares(name, draw(st.integers(1, 3)))]
    available = draw(st.lists(st.sampled_from(devices), unique=True))
    must = draw(st.lists(st.sampled_from(available), unique=True, max_size=3)) if available else []
    return devices, available, must, draw(st.integers(0, len(devices) + 1))


Case = tuple[list[Device], list[Device], list[Device], int]


@each
@repeatable
@given(cases())
def test_the_answer_has_what_must_be_and_nothing_else_and_the_right_size(prefer: Preference, case: Case) -> None:
    devices, available, must, size = case
    chosen = ids(prefer(devices, available, must, size))
    assert len(set(chosen)) == len(chosen) == min(len(available), max(size, len(must)))
    assert set(ids(must)) <= set(chosen) <= set(ids(available))
    assert chosen[: len(must)] == [device.id for device in devices if device in must]


@each
@repeatable
@given(cases(), st.randoms(use_true_random=False))
def test_what_is_said_twice_counts_once(prefer: Preference, case: Case, order: random.Random) -> None:
    devices, available, must, size = case
    offered, included = (order.sample(some * 2, 2 * len(some)) for some in (available, must))
    assert prefer(devices * 2, offered, included, size) == prefer(devices, available, must, size)


def answers(case: Case) -> list[tuple[Device, ...]]:
    """All answers there could be."""
    _, available, must, size = case
    others = [device for device in available if device not in must]
    missing = min(len(others), max(0, size - len(must)))
    return [(*must, *added) for added in combinations(others, missing)]


def wholes(devices: Collection[Device]) -> set[str]:
    return {device.cdi_name for device in devices}


@repeatable
@given(cases())
def test_no_answer_has_fewer_devices_than_packed_nor_as_few_with_more_in_use(case: Case) -> None:
    devices, available, must, size = case
    used = wholes([device for device in devices if device not in available or device in must])

    def cost(answer: Collection[Device]) -> tuple[int, int]:
        return len(wholes(answer)), -len(wholes(answer) & used)

    assert cost(packed(devices, available, must, size)) == min(map(cost, answers(case)))


@repeatable
@given(cases())
def test_no_answer_has_more_devices_than_spread_nor_as_many_with_less_use(case: Case) -> None:
    devices, available, must, size = case
    in_use = [device.cdi_name for device in devices if device not in available]

    def cost(answer: Collection[Device]) -> tuple[int, int]:
        return -len(wholes(answer)), sum(in_use.count(whole) for whole in wholes(answer))

    assert cost(spread(devices, available, must, size)) == min(map(cost, answers(case)))


def nodes_needed(answer: Collection[Device]) -> int:
    """Count the fewest nodes such that each device is close to one of them; devices without a node are worse still."""
    known = [device.numa_nodes for device in answer if device.numa_nodes]
    every = sorted({node for nodes in known for node in nodes})
    fewest = next(
        number
        for number in range(len(every) + 1)
        for nodes in combinations(every, number)
        if all(set(close) & set(nodes) for close in known)
    )
    return fewest + 100 * (len(answer) - len(known))


@repeatable
@given(cases())
def test_no_answer_is_from_fewer_nodes_than_that_of_numa(case: Case) -> None:
    assert nodes_needed(numa(*case)) == min(map(nodes_needed, answers(case)))
