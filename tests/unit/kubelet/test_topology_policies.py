import itertools
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin.kubelet.topology import Hint, Policy, admit
from tests.unit.kubelet.affinity import ANY, possible, wanted

repeatable = settings(derandomize=True, deadline=None)

Offers = Mapping[str, list[Hint] | None]


def merged(*offers: list[Hint] | None, machine: Sequence[int] = (0, 1, 2, 3), strict: bool = True) -> Hint:
    hint, admitted = admit(Policy.BEST_EFFORT, machine, dict(zip("abc", offers, strict=False)), strict=strict)
    assert admitted
    return hint


@pytest.mark.parametrize("offer", [None, [], wanted(0b01), possible(0b01)])
def test_the_policy_none_admits_everything_with_no_affinity(offer: list[Hint] | None) -> None:
    assert admit(Policy.NONE, (0, 1), {"a": offer}) == (Hint(None, preferred=False), True)


@pytest.mark.parametrize("offers", [{}, {"a": None}, {"a": None, "b": None}])
@pytest.mark.parametrize("policy", [Policy.BEST_EFFORT, Policy.RESTRICTED])
def test_without_any_preference_every_node_of_the_machine_is_preferred(policy: Policy, offers: Offers) -> None:
    assert admit(policy, (0, 2), offers) == (Hint(0b101, preferred=True), True)


def test_under_single_numa_node_no_preference_stays_none() -> None:
    assert admit(Policy.SINGLE_NUMA_NODE, (0, 1), {"a": None}) == (ANY, True)


def test_under_single_numa_node_the_only_node_of_a_machine_is_no_affinity() -> None:
    assert admit(Policy.SINGLE_NUMA_NODE, (0,), {"a": wanted(0b01)}) == (ANY, True)


def test_under_restricted_the_only_node_of_a_machine_is_an_affinity() -> None:
    assert admit(Policy.RESTRICTED, (0,), {"a": wanted(0b01)}) == (Hint(0b01, preferred=True), True)


@pytest.mark.parametrize(
    ("offers", "best_effort", "restricted", "single_numa_node"),
    [
        pytest.param({"a": wanted(0b01)}, True, True, True, id="one node, preferred"),
        pytest.param({"a": wanted(0b11)}, True, True, False, id="two nodes, preferred"),
        pytest.param({"a": possible(0b01)}, True, False, False, id="one node, not preferred"),
        pytest.param({"a": []}, True, False, False, id="nowhere"),
        pytest.param({"a": wanted(0b01), "b": []}, True, False, False, id="one of two nowhere"),
        pytest.param({"a": wanted(0b01), "b": wanted(0b10)}, True, False, False, id="no node in common"),
        pytest.param({"a": wanted(0b01), "b": wanted(0b11)}, True, False, False, id="not the same nodes"),
        pytest.param({"a": wanted(0b01, 0b10), "b": wanted(0b10)}, True, True, True, id="a node in common"),
        pytest.param({"a": wanted(0b10), "b": None}, True, True, True, id="one has no preference"),
    ],
)
def test_what_each_policy_admits(offers: Offers, best_effort: bool, restricted: bool, single_numa_node: bool) -> None:
    def admitted(policy: Policy) -> bool:
        return admit(policy, (0, 1, 2), offers)[1]

    assert admitted(Policy.BEST_EFFORT) is best_effort
    assert admitted(Policy.RESTRICTED) is restricted
    assert admitted(Policy.SINGLE_NUMA_NODE) is single_numa_node


def test_single_numa_node_looks_at_preferred_hints_of_one_node_alone() -> None:
    offers = {"a": [*possible(0b001), *wanted(0b011, 0b100)]}
    assert admit(Policy.SINGLE_NUMA_NODE, (0, 1, 2), offers) == (Hint(0b100, preferred=True), True)


def test_single_numa_node_refuses_with_no_affinity() -> None:
    offers = {"a": wanted(0b001), "b": wanted(0b010)}
    assert admit(Policy.SINGLE_NUMA_NODE, (0, 1, 2), offers) == (Hint(None, preferred=False), False)


# --- merging ---


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        pytest.param([[*wanted(0b1100), *possible(0b0001)]], wanted(0b1100), id="preferred before narrower"),
        pytest.param([wanted(0b0111, 0b1000)], wanted(0b1000), id="the narrowest"),
        pytest.param([wanted(0b0110, 0b0101)], wanted(0b0101), id="of equals the lowest"),
        pytest.param([wanted(0b0001, 0b0010), wanted(0b0010)], wanted(0b0010), id="agreed upon"),
        pytest.param([wanted(0b0001), []], possible(0b0001), id="nowhere spoils preference, not the nodes"),
        pytest.param([[]], possible(0b1111), id="nowhere is everywhere, not preferred"),
        pytest.param([wanted(0b0001), wanted(0b0010)], possible(0b1111), id="nothing in common"),
        pytest.param([wanted(0b10000)], possible(0b1111), id="nothing that the machine has"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_hints_are_merged_into_the_best(offers: list[list[Hint]], expected: list[Hint], strict: bool) -> None:
    assert [merged(*offers, strict=strict)] == expected


@pytest.mark.parametrize(
    ("offers", "strict", "before"),
    [
        pytest.param(
            [wanted(0b0011), wanted(0b0101)], possible(0b0001), wanted(0b0001), id="nodes in common are not the same"
        ),
        pytest.param(
            [wanted(0b0111), wanted(0b0011)], possible(0b0011), wanted(0b0011), id="nor are some of the others'"
        ),
        pytest.param([possible(0b0011, 0b0110), []], possible(0b0011), possible(0b0011), id="as many as needed"),
        pytest.param(
            [possible(0b0001, 0b0011), wanted(0b0011)],
            possible(0b0011),
            possible(0b0001),
            id="as many as the one that needs the most",
        ),
        pytest.param(
            [wanted(0b0111), possible(0b0011, 0b0001)],
            possible(0b0011),
            possible(0b0001),
            id="fewer, but as many as possible",
        ),
        pytest.param(
            [possible(0b0001, 0b1110), possible(0b1110)],
            possible(0b1110),
            possible(0b1110),
            id="more where there is nothing less",
        ),
    ],
)
def test_resources_that_disagree_are_merged_otherwise_since_1_24(
    offers: list[list[Hint]], strict: list[Hint], before: list[Hint]
) -> None:
    assert [merged(*offers)] == strict
    assert [merged(*offers, strict=False)] == before


def test_fewer_nodes_than_needed_go_before_more() -> None:
    offers = possible(0b00111, 0b11000), possible(0b00111, 0b10000)
    assert [merged(*offers, machine=range(5))] == possible(0b10000)


masks = st.integers(1, 0b1111)
offers = st.none() | st.lists(st.builds(Hint, masks, st.booleans()), max_size=5)


@repeatable
@given(offers=st.lists(offers, max_size=3), order=st.randoms(use_true_random=False), strict=st.booleans())
def test_the_best_is_what_comparing_all_choices_one_by_one_finds(
    offers: list[list[Hint] | None], order: random.Random, strict: bool
) -> None:
    choices = [[ANY] if own is None else own or [Hint(None, preferred=False)] for own in offers]
    assert merged(*offers, strict=strict) == champion(choices, order, strict=strict)


@repeatable
@given(offers=st.lists(offers, max_size=3), order=st.randoms(use_true_random=False), strict=st.booleans())
def test_under_single_numa_node_it_is_the_best_of_single_preferred_nodes(
    offers: list[list[Hint] | None], order: random.Random, strict: bool
) -> None:
    choices = [
        [ANY] if own is None else [hint for hint in own if hint.preferred and hint.nodes in {1, 2, 4, 8}]
        for own in offers
    ]
    best = champion(choices, order, strict=strict)
    hint, admitted = admit(Policy.SINGLE_NUMA_NODE, range(4), dict(zip("abc", offers, strict=False)), strict=strict)
    assert (hint.nodes or 0b1111, hint.preferred) == (best.nodes, best.preferred)
    assert admitted is best.preferred


def champion(choices: list[list[Hint]], order: random.Random, *, strict: bool) -> Hint:
    """Let the merged hints of all choices meet one after another, in any order."""
    needs = [min((hint.nodes.bit_count() for hint in own if hint.nodes), default=0) for own in choices]
    rounds = [together(choice, strict=strict) for choice in itertools.product(*choices)]
    order.shuffle(rounds)
    best: Hint | None = None
    for hint in rounds:
        if hint.nodes and (best is None or beats(hint, best, max(needs, default=0) if strict else 0)):
            best = hint
    return best or Hint(0b1111, preferred=False)


def together(choice: Sequence[Hint], *, strict: bool) -> Hint:
    nodes = 0b1111
    for hint in choice:
        nodes &= 0b1111 if hint.nodes is None else hint.nodes
    agree = len({hint.nodes for hint in choice} - {None}) < 2
    return Hint(nodes, preferred=all(hint.preferred for hint in choice) and (agree or not strict))


def beats(new: Hint, old: Hint, enough: int) -> bool:
    assert new.nodes is not None
    assert old.nodes is not None
    if new.preferred != old.preferred:
        return new.preferred
    many, before = new.nodes.bit_count(), old.nodes.bit_count()
    narrower = many < before or (many == before and new.nodes < old.nodes)
    if new.preferred or before > enough:
        return narrower
    if many > enough:
        return False
    return many > before or (many == before and new.nodes < old.nodes)
