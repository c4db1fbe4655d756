"""Which NUMA nodes a container's devices may come from: the kubelet's topology manager, per container.

Device plugins are its only source of hints here; other resources of a container never have a preference. Sets of NUMA
nodes are bit masks: bit n stands for node n. A kubelet's masks have 64 bits, so that other ids are on no mask.
See the section "Topology" of docs/reference/kubelet.md, and Kubernetes' enhancement proposal 693.
"""

import enum
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kubelet_plugin.errors import ConfigurationError

Nodes: TypeAlias = tuple[int, ...] | frozenset[int] | None
"""The ids of a device's NUMA nodes, as its plugin lists them; None where it sends no topology at all."""

_BITS = 64
_NO_NODE = -1
_MOST_MACHINE_NODES = 8


class Policy(enum.StrEnum):
    """What becomes of a container whose devices cannot be had from the NUMA nodes that suit it best."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    RESTRICTED = "restricted"
    SINGLE_NUMA_NODE = "single-numa-node"

    @classmethod
    def of(cls, name: str) -> "Policy":
        """Return the policy of a name.

        Raises:
            ConfigurationError: There is none of that name.
        """
        if name not in set(cls):
            raise ConfigurationError(f"there is no topology policy {name!r}: give one of {', '.join(cls)}")
        return cls(name)


@dataclass(frozen=True, slots=True)
class Hint:
    """NUMA nodes to take devices from.

    Attributes:
        nodes: Their bit mask; None is any.
        preferred: No fewer nodes could ever do, were every device of the resource free; of a merged hint, that holds
            for all resources.
    """

    nodes: int | None
    preferred: bool


@dataclass(frozen=True, slots=True)
class Split:
    """Devices by the side they are on of a container's NUMA nodes, each in the order in which they were given."""

    aligned: tuple[str, ...]
    unaligned: tuple[str, ...]
    no_affinity: tuple[str, ...]


_NO_PREFERENCE = Hint(None, preferred=True)
_IMPOSSIBLE = Hint(None, preferred=False)


def check_machine(policy: Policy, machine_nodes: Collection[int]) -> None:
    """Refuse a machine that a kubelet with this policy does not start on.

    Raises:
        ConfigurationError: It has more than 8 NUMA nodes and the policy is not `none`, or a node's id has no bit.
    """
    if outside := [node for node in machine_nodes if not 0 <= node < _BITS]:
        raise ConfigurationError(f"the machine cannot have NUMA node {outside[0]}: give ids from 0 to {_BITS - 1}")
    if policy is not Policy.NONE and len(machine_nodes) > _MOST_MACHINE_NODES:
        raise ConfigurationError(
            f"topology policy {policy} is unsupported on machines with more than {_MOST_MACHINE_NODES} NUMA Nodes, "
            f"and this one has {len(machine_nodes)}: give fewer, or the policy none"
        )


def node_mask(nodes: Iterable[int]) -> int:
    """Return the bit mask of NUMA nodes; ids outside 0 to 63 are on none."""
    mask = 0
    for node in nodes:
        if 0 <= node < _BITS:
            mask |= 1 << node
    return mask


def device_hints(
    *,
    devices: Mapping[str, Nodes],
    available: Collection[str],
    reusable: Collection[str],
    required: int,
    machine_nodes: Sequence[int],
    device_nodes_only: bool,
    allocated: Collection[str] = (),
    empty_topology_counts: bool = False,
) -> list[Hint] | None:
    """Return where a container can get its devices of one resource from, the fewest NUMA nodes first.

    Args:
        devices: All listed devices of the resource, healthy or not.
        available: Ids that are free.
        reusable: Ids that the pod's init containers leave behind. They are used first: a hint must cover them all.
        required: How many devices the container asks for.
        machine_nodes: The ids of the machine's NUMA nodes.
        device_nodes_only: Leave out machine nodes without a device of the resource, as kubelets since 1.35 do.
        allocated: Ids that the container holds already, as after a restart of the kubelet. Then it is about these
            alone, and no nodes will do if it asks for another number by now.
        empty_topology_counts: A topology without nodes is one, too, as with kubelets of 1.20's age.

    Returns:
        None where the resource has no topology: it has no preference. An empty list where no nodes will do.
    """
    if not any(nodes is not None if empty_topology_counts else nodes for nodes in devices.values()):
        return None
    if allocated:
        available, reusable = allocated, ()
    if len({*available, *reusable}) < required or (allocated and len(allocated) != required):
        return []
    listed = _count(devices.values())
    free = _count(devices.get(device_id) for device_id in available)
    # One with an empty topology stays: it is on no mask, and so it rules out all of them.
    kept = _count(nodes for nodes in map(devices.get, reusable) if nodes is not None)
    if device_nodes_only:
        carrying = {node for nodes in set(devices.values()) for node in nodes or ()}
        machine_nodes = sorted(carrying.intersection(machine_nodes))
    masks = list(_combinations(machine_nodes))
    fewest = min((mask.bit_count() for mask in masks if _on(mask, listed) >= required), default=len(machine_nodes))
    return [
        Hint(mask, preferred=mask.bit_count() == fewest)
        for mask in masks
        if all(mask & own for own in kept) and _on(mask, kept) + _on(mask, free) >= required
    ]


def admit(
    policy: Policy, machine_nodes: Iterable[int], hints: Mapping[str, list[Hint] | None], *, strict: bool = True
) -> tuple[Hint, bool]:
    """Merge the hints of one container's resources, and decide whether it is admitted.

    Args:
        policy: The node's policy.
        machine_nodes: The ids of the machine's NUMA nodes.
        hints: Those of every resource of the container, by its name, as `device_hints` returns them.
        strict: Merge as kubelets since 1.24: the result is preferred only where all resources agree on the same
            nodes; where they do not, it has as many nodes, if it can, as the resource that needs the most of them.
            Older ones prefer whatever preferred hints have in common, and else take the fewest nodes.

    Returns:
        The nodes to take the container's devices from, and whether it is admitted. Refused, a pod fails with the
        reason `TopologyAffinityError`.
    """
    if policy is Policy.NONE:
        return Hint(None, preferred=False), True
    everywhere = node_mask(machine_nodes)
    choices = [[_NO_PREFERENCE] if own is None else own or [_IMPOSSIBLE] for own in hints.values()]
    if policy is Policy.SINGLE_NUMA_NODE:
        choices = [[hint for hint in own if hint.preferred and _on_one_node(hint)] for own in choices]
    best = _merge(everywhere, choices, strict=strict)
    if policy is Policy.SINGLE_NUMA_NODE and best.nodes == everywhere:
        best = Hint(None, best.preferred)  # on a machine with one NUMA node as well, as in a real kubelet
    return best, best.preferred or policy is Policy.BEST_EFFORT


def split(devices: Mapping[str, Nodes], ids: Iterable[str], hint: Hint) -> Split:
    """Sort devices by whether they are on the NUMA nodes of a container.

    A device on several nodes is aligned if any of them is among the container's. Without nodes, or with -1 alone, it
    has no affinity, and neither has any device where the hint is of any node.

    Args:
        devices: All listed devices of the resource.
        ids: Those to sort.
        hint: The container's, as `admit` returned it.
    """
    if hint.nodes is None:
        return Split((), (), tuple(ids))
    aligned: list[str] = []
    unaligned: list[str] = []
    no_affinity: list[str] = []
    for device_id in ids:
        nodes = devices.get(device_id) or ()
        if node_mask(nodes) & hint.nodes:
            aligned.append(device_id)
        elif any(node != _NO_NODE for node in nodes):
            unaligned.append(device_id)
        else:
            no_affinity.append(device_id)
    return Split(tuple(aligned), tuple(unaligned), tuple(no_affinity))


def _count(places: Iterable[Nodes]) -> Counter[int]:
    """How many devices there are on each mask: thousands of devices share few of them."""
    counts: Counter[int] = Counter()
    for nodes, count in Counter(places).items():
        counts[node_mask(nodes or ())] += count
    return counts


def _on(mask: int, counts: Counter[int]) -> int:
    """How many of the counted devices have a node on the mask."""
    return sum(count for own, count in counts.items() if own & mask)


def _combinations(nodes: Sequence[int]) -> Iterator[int]:
    for size in range(1, len(nodes) + 1):
        yield from map(node_mask, itertools.combinations(nodes, size))


def _on_one_node(hint: Hint) -> bool:
    return hint.nodes is None or hint.nodes.bit_count() == 1


def _merge(everywhere: int, choices: list[list[Hint]], *, strict: bool) -> Hint:
    """Take the best of what the resources have in common, whichever hint each of them chooses."""
    preferred = [[hint for hint in own if hint.preferred] for own in choices]
    if masks := _agreed(everywhere, preferred) if strict else _shared(everywhere, preferred):
        return Hint(_best(masks), preferred=True)
    enough = max(map(_fewest, choices), default=0) if strict else 0
    return Hint(_best(_shared(everywhere, choices) or {everywhere}, enough), preferred=False)


def _agreed(everywhere: int, choices: list[list[Hint]]) -> set[int]:
    """The masks that every resource can choose; a hint of any node goes with all of them."""
    masks = [{hint.nodes for hint in own} for own in choices]
    common = (mask for mask in {None}.union(*masks) if all(mask in own or None in own for own in masks))
    return {everywhere if mask is None else mask & everywhere for mask in common} - {0}


def _shared(everywhere: int, choices: list[list[Hint]]) -> set[int]:
    """The nodes that the chosen masks have in common, for every way to choose, unless they have none."""
    shared = {everywhere}
    for own in choices:
        masks = {everywhere if hint.nodes is None else hint.nodes for hint in own}
        shared = {one & other for one in shared for other in masks} - {0}
    return shared


def _fewest(hints: list[Hint]) -> int:
    """The fewest nodes that a resource needs; 0 where it has no masks."""
    return min((hint.nodes.bit_count() for hint in hints if hint.nodes is not None), default=0)


def _best(masks: set[int], enough: int = 0) -> int:
    """The mask with the most nodes up to `enough`, or else with the fewest; of equals the lowest."""
    return min(masks, key=lambda mask: (mask.bit_count() > enough, abs(mask.bit_count() - enough), mask))
