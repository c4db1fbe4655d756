import itertools
import random
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet.topology import Hint, Nodes, Policy, Split, check_machine, device_hints, node_mask, split
from tests.unit.kubelet.affinity import ANY, possible, wanted

repeatable = settings(derandomize=True, deadline=None)


def hints(
    devices: Mapping[str, Nodes],
    required: int,
    *,
    available: Collection[str] | None = None,
    reusable: Collection[str] = (),
    machine_nodes: Sequence[int] = (0, 1),
    device_nodes_only: bool = True,
    allocated: Collection[str] = (),
    empty_topology_counts: bool = False,
) -> list[Hint] | None:
    return device_hints(
        devices=devices,
        available=devices.keys() - reusable if available is None else available,
        reusable=reusable,
        required=required,
        machine_nodes=machine_nodes,
        device_nodes_only=device_nodes_only,
        allocated=allocated,
        empty_topology_counts=empty_topology_counts,
    )


ONE_EACH: Mapping[str, Nodes] = {"a": (0,), "b": (1,)}
TWO_EACH: Mapping[str, Nodes] = {"a": (0,), "b": (0,), "c": (1,), "d": (1,)}


# --- hints of one resource ---


@pytest.mark.parametrize(
    ("devices", "required", "expected"),
    [
        pytest.param(ONE_EACH, 1, [*wanted(0b01, 0b10), *possible(0b11)], id="one of either node"),
        pytest.param(ONE_EACH, 2, wanted(0b11), id="one of each node"),
        pytest.param(TWO_EACH, 2, [*wanted(0b01, 0b10), *possible(0b11)], id="two of one node"),
        pytest.param(TWO_EACH, 3, wanted(0b11), id="more than one node has"),
        pytest.param(TWO_EACH, 5, [], id="more than there are"),
        pytest.param(TWO_EACH, 0, [*wanted(0b01, 0b10), *possible(0b11)], id="none at all"),
        pytest.param({"a": (0, 1)}, 1, [*wanted(0b01, 0b10), *possible(0b11)], id="a device on two nodes is on either"),
        pytest.param({"a": (0, 1), "b": (1,)}, 2, [*wanted(0b10), *possible(0b11)], id="it counts towards both"),
        pytest.param({"a": frozenset({1})}, 1, wanted(0b10), id="nodes as a set"),
    ],
)
def test_every_combination_of_nodes_with_enough_devices_is_a_hint(
    devices: Mapping[str, Nodes], required: int, expected: list[Hint]
) -> None:
    assert hints(devices, required) == expected


@pytest.mark.parametrize("devices", [{}, {"a": None}, {"a": ()}, {"a": None, "b": frozenset()}])
def test_a_resource_without_nodes_has_no_preference(devices: Mapping[str, Nodes]) -> None:
    assert hints(devices, 1) is None


def test_a_topology_without_nodes_made_old_kubelets_look_for_nodes_in_vain() -> None:
    assert hints({"a": ()}, 1, empty_topology_counts=True) == []


def test_a_resource_without_topology_has_no_preference_with_old_kubelets_either() -> None:
    assert hints({"a": None}, 1, empty_topology_counts=True) is None


def test_the_fewest_nodes_that_could_do_are_preferred_even_while_their_devices_are_taken() -> None:
    assert hints(TWO_EACH, 2, available={"a", "c"}) == possible(0b11)


def test_unhealthy_and_taken_devices_are_in_no_hint() -> None:
    assert hints(TWO_EACH, 1, available={"c"}) == [*wanted(0b10), *possible(0b11)]


@pytest.mark.parametrize("nodeless", [(), None])
def test_a_device_without_nodes_in_a_resource_with_nodes_counts_towards_no_hint(nodeless: Nodes) -> None:
    assert hints({"a": (0,), "b": nodeless}, 2) == []


@pytest.mark.parametrize("outside", [-1, 64, 1 << 40])
@pytest.mark.parametrize("device_nodes_only", [False, True])
def test_a_node_id_outside_0_to_63_is_on_no_mask(outside: int, device_nodes_only: bool) -> None:
    devices: Mapping[str, Nodes] = {"a": (0,), "b": (outside,)}
    assert hints(devices, 2, device_nodes_only=device_nodes_only) == []


def test_a_mask_has_the_nodes_0_to_63() -> None:
    assert node_mask([-1, 0, 63, 64]) == 1 << 63 | 1


def test_the_nodes_63_and_0_are_both_on_masks() -> None:
    assert hints({"a": (63,), "b": (0,)}, 2, machine_nodes=(0, 63)) == wanted(1 << 63 | 1)


def test_nodes_without_devices_are_left_out_since_1_35() -> None:
    assert hints({"a": (1,)}, 1, machine_nodes=(0, 1, 2)) == wanted(0b010)


def test_nodes_without_devices_were_in_hints_before_1_35() -> None:
    expected = [*wanted(0b010), *possible(0b011, 0b110, 0b111)]
    assert hints({"a": (1,)}, 1, machine_nodes=(0, 1, 2), device_nodes_only=False) == expected


@pytest.mark.parametrize("device_nodes_only", [False, True])
def test_a_node_that_the_machine_does_not_have_is_in_no_hint(device_nodes_only: bool) -> None:
    assert hints({"a": (5,)}, 1, device_nodes_only=device_nodes_only) == []


def test_a_node_counts_as_one_with_devices_while_they_are_taken() -> None:
    assert hints(ONE_EACH, 1, available={"a"}) == [*wanted(0b01), *possible(0b11)]


# --- devices that init containers leave behind ---


def test_a_hint_covers_all_reusable_devices() -> None:
    assert hints(TWO_EACH, 1, reusable={"a"}) == [*wanted(0b01), *possible(0b11)]


def test_reusable_devices_on_different_nodes_need_them_all() -> None:
    assert hints(TWO_EACH, 1, reusable={"a", "c"}) == possible(0b11)


def test_reusable_devices_count_towards_what_is_required() -> None:
    assert hints(TWO_EACH, 2, available={"b"}, reusable={"a"}) == [*wanted(0b01), *possible(0b11)]


def test_a_reusable_device_on_two_nodes_is_covered_by_either() -> None:
    devices: Mapping[str, Nodes] = {"a": (0, 1), "b": (1,)}
    assert hints(devices, 1, reusable={"a"}) == [*wanted(0b01, 0b10), *possible(0b11)]


def test_a_reusable_device_without_topology_rules_nothing_out() -> None:
    assert hints({"a": (0,), "b": None}, 1, reusable={"b"}) == wanted(0b01)


def test_a_reusable_device_with_a_topology_without_nodes_rules_out_everything() -> None:
    assert hints({"a": (0,), "b": ()}, 1, reusable={"b"}) == []


def test_a_reusable_device_that_is_not_listed_any_more_rules_nothing_out() -> None:
    assert hints({"a": (0,)}, 1, reusable={"gone"}) == wanted(0b01)


# --- a container that holds devices already ---


def test_what_a_container_holds_gives_its_hints() -> None:
    assert hints(TWO_EACH, 1, available={"a", "b"}, allocated={"c"}) == [*wanted(0b10), *possible(0b11)]


def test_what_a_container_holds_is_enough_when_nothing_is_free() -> None:
    assert hints(ONE_EACH, 2, available=(), allocated={"a", "b"}) == wanted(0b11)


def test_reusable_devices_do_not_matter_to_a_container_that_holds_its_own() -> None:
    assert hints(ONE_EACH, 1, reusable={"a"}, allocated={"b"}) == [*wanted(0b10), *possible(0b11)]


@pytest.mark.parametrize("required", [0, 1, 3])
def test_a_container_that_holds_another_number_of_devices_can_be_placed_nowhere(required: int) -> None:
    assert hints(TWO_EACH, required, allocated={"a", "b"}) == []


def test_a_device_that_a_container_holds_but_that_is_not_listed_any_more_is_in_no_hint() -> None:
    assert hints(ONE_EACH, 1, allocated={"gone"}) == []


def test_what_a_container_holds_of_a_resource_without_nodes_is_no_preference() -> None:
    assert hints({"a": None}, 2, allocated={"a"}) is None


# --- hints against their definition ---

places = st.none() | st.frozensets(st.integers(-1, 4), max_size=3)


@repeatable
@given(
    listed=st.dictionaries(st.sampled_from("abcdefgh"), places),
    required=st.integers(0, 5),
    device_nodes_only=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_hints_are_what_counting_device_by_device_finds(
    listed: dict[str, Nodes], required: int, device_nodes_only: bool, order: random.Random
) -> None:
    ids = sorted(listed)
    order.shuffle(ids)
    available, reusable = ids[: len(ids) // 2], ids[len(ids) // 2 : -1]
    machine = (0, 1, 2, 3)
    found = hints(
        listed,
        required,
        available=available,
        reusable=reusable,
        machine_nodes=machine,
        device_nodes_only=device_nodes_only,
    )
    assert found == defined(listed, available, reusable, required, device_nodes_only)


def defined(
    listed: dict[str, Nodes], available: list[str], reusable: list[str], required: int, device_nodes_only: bool
) -> list[Hint] | None:
    def near(device: str, nodes: set[int]) -> bool:
        return bool(nodes & set(listed[device] or ()))

    if not any(listed.values()):
        return None
    machine = [n for n in range(4) if not device_nodes_only or any(near(device, {n}) for device in listed)]
    sets = [set(nodes) for size in range(1, len(machine) + 1) for nodes in itertools.combinations(machine, size)]
    fewest = min((len(nodes) for nodes in sets if sum(near(d, nodes) for d in listed) >= required), default=0)
    return [
        Hint(sum(1 << node for node in nodes), preferred=len(nodes) == fewest)
        for nodes in sets
        if all(near(device, nodes) for device in reusable if listed[device] is not None)
        and len(available) + len(reusable) >= required
        and sum(near(device, nodes) for device in [*available, *reusable]) >= required
    ]


# --- the split ---

SPREAD: Mapping[str, Nodes] = {
    "far": (1,),
    "both": (1, 0),
    "near": (0,),
    "none": None,
    "empty": (),
    "unknown": (-1,),
    "half": (-1, 1),
    "beyond": (64,),
}


def test_devices_are_split_by_whether_any_of_their_nodes_is_the_containers() -> None:
    expected = Split(
        aligned=("both", "near"),
        unaligned=("far", "half", "beyond"),
        no_affinity=("none", "empty", "unknown", "gone"),
    )
    assert split(SPREAD, [*SPREAD, "gone"], Hint(0b01, preferred=True)) == expected


def test_the_split_does_not_ask_whether_the_hint_is_preferred() -> None:
    assert split(SPREAD, ["far", "near"], Hint(0b01, preferred=False)) == Split(("near",), ("far",), ())


def test_without_affinity_no_device_has_any_in_the_order_given() -> None:
    assert split(SPREAD, ["near", "none", "far"], ANY) == Split((), (), ("near", "none", "far"))


def test_devices_without_nodes_have_no_affinity_whatever_the_hint() -> None:
    assert split({"a": None, "b": ()}, ["b", "a"], Hint(0b01, preferred=True)) == Split((), (), ("b", "a"))


# --- machines ---


@pytest.mark.parametrize("policy", [Policy.BEST_EFFORT, Policy.RESTRICTED, Policy.SINGLE_NUMA_NODE])
def test_a_machine_with_more_than_8_nodes_is_refused(policy: Policy) -> None:
    check_machine(policy, range(8))
    with pytest.raises(ConfigurationError, match=f"{policy} is unsupported on machines with more than 8 NUMA Nodes"):
        check_machine(policy, range(9))


def test_without_a_policy_a_machine_may_have_more() -> None:
    check_machine(Policy.NONE, range(64))


@pytest.mark.parametrize("node", [-1, 64])
@pytest.mark.parametrize("policy", list(Policy))
def test_a_machine_whose_node_is_on_no_mask_is_refused(policy: Policy, node: int) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot have NUMA node {node}:"):
        check_machine(policy, [0, node])
