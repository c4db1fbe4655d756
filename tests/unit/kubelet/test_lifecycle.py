from typing import Any

import pytest

from kubelet_plugin.kubelet.lifecycle import requested
from kubelet_plugin.kubelet.pods import Pod
from tests.unit.kubelet.foreign_plugin import THING
from tests.unit.kubelet.node import container, pod

OTHER = "example.com/other"


def asks(*limits: int, init: tuple[dict[str, Any], ...] = ()) -> int:
    """How many things a pod asks for."""
    containers = [container(f"c{number}", limit) for number, limit in enumerate(limits)]
    return requested(Pod.from_document(pod("p", *containers, init=init)))[THING]


def ordinary(name: str, limit: int) -> dict[str, Any]:
    return container(name, limit)


def sidecar(name: str, limit: int) -> dict[str, Any]:
    return container(name, limit, restartPolicy="Always")


@pytest.mark.parametrize(
    ("limits", "init", "total"),
    [
        ((1, 2), (), 3),
        ((1,), (ordinary("i", 3),), 3),
        ((3,), (ordinary("i", 1),), 3),
        ((1,), (ordinary("i1", 2), ordinary("i2", 3)), 3),
        ((1,), (sidecar("s", 2),), 3),
        ((1,), (sidecar("s", 1), ordinary("i", 3)), 4),
        ((1,), (ordinary("i", 3), sidecar("s", 1)), 3),
        ((1,), (sidecar("s1", 1), sidecar("s2", 1), ordinary("i", 0)), 3),
        ((0,), (), 0),
    ],
)
def test_a_pod_asks_for_what_it_needs_at_once(limits: tuple[int, ...], init: tuple[Any, ...], total: int) -> None:
    assert asks(*limits, init=init) == total


def test_resources_are_counted_apart() -> None:
    asked = pod("p", container("c1", {THING: 1, OTHER: 2}), container("c2", 3))
    assert requested(Pod.from_document(asked)) == {THING: 4, OTHER: 2}
