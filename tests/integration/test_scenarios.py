"""What a plugin and an operator see of the embedded kubelet is what is known of a kubelet of that version."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet_plugin.kubelet import VERSIONS
from tests.scenarios.calls import Call, PreStart, allocate, prefer
from tests.scenarios.catalogue import OF_PROGRAMS, SCENARIOS, Scenario, name_of, play
from tests.scenarios.embedded import EmbeddedKubelet
from tests.scenarios.observed import canonical, normalised
from tests.scenarios.stage import domain_of

MINORS = [int(version.partition(".")[2]) for version in VERSIONS]


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as root:  # pytest's own is too long a path for a socket
        yield Path(root)


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_scenario(root: Path, scenario: Scenario, minor: int) -> None:
    with EmbeddedKubelet(minor, root).running() as kubelet:
        play(scenario, kubelet)


def test_each_scenario_has_resources_of_its_own() -> None:
    names = [name_of(scenario) for scenario in (*SCENARIOS, *OF_PROGRAMS)]
    assert len({domain_of(name) for name in names}) == len(names)


def test_which_of_two_like_devices_was_given_is_no_difference() -> None:
    one = canonical([prefer("a", "b", size=1), allocate("a"), PreStart(("a",))])
    assert one == canonical([prefer("a", "b", size=1), allocate("b"), PreStart(("b",))])


@pytest.mark.parametrize(
    "calls",
    [
        [allocate("a"), PreStart(("b",))],
        [allocate("a", "b"), PreStart(("a",))],
        [PreStart(("a",)), allocate("a")],
    ],
    ids=["another device", "one more", "another order"],
)
def test_what_devices_took_part_in_is_a_difference(calls: list[Call]) -> None:
    assert canonical(calls) != canonical([allocate("a"), PreStart(("a",))])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "endpoint &{0xc000 /a.sock {1 2 0x68} 0x1a} has been stopped",
            "endpoint &{r /b.sock} has been stopped",
        ),
        ("pod 015e56f4a503bc2f1f014acc0db7403d, c", "pod 9f012a78-e10a-c10e-1d53-7312a98aeae2, c"),
        ("code = Unavailable desc = transport is closing", "code = Unavailable desc = error reading from server: EOF"),
    ],
    ids=["struct dumps", "uids", "lost connections"],
)
def test_what_must_differ_is_made_equal(one: str, other: str) -> None:
    assert normalised(one, {}) == normalised(other, {})


def test_what_a_plugin_says_is_left_as_it_is() -> None:
    text = "rpc error: code = Unavailable desc = not yet, which is unexpected"
    assert normalised(text, {}) == text
