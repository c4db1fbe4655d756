"""All scenarios, and how one is played."""

import inspect
from collections.abc import Callable
from types import ModuleType

from tests.scenarios import (
    allocating,
    delivering,
    listing,
    losing,
    preferring,
    programs,
    registering,
    restarting,
    starting,
    watching,
)
from tests.scenarios.observed import Observed
from tests.scenarios.stage import Kubelet, Stage

Scenario = Callable[..., None]


def _scenarios(module: ModuleType) -> list[Scenario]:
    """The public functions that a module defines."""
    return [
        function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]


SCENARIOS: list[Scenario] = [
    scenario
    for module in (registering, watching, listing, losing, allocating, delivering, preferring, starting, restarting)
    for scenario in _scenarios(module)
]

OF_PROGRAMS: list[Scenario] = _scenarios(programs)


def name_of(scenario: Scenario) -> str:
    """What a scenario is called."""
    return scenario.__name__


def play(scenario: Scenario, kubelet: Kubelet, *cast: object) -> Observed:
    """Play a scenario against a kubelet: what was seen. What is to be seen of any kubelet, it asserts itself.

    Args:
        scenario: Which.
        kubelet: The kubelet.
        cast: Who plays, where the scenario leaves that open.
    """
    with Stage(kubelet, name_of(scenario)).playing() as stage:
        scenario(stage, *cast)
        return stage.observed()
