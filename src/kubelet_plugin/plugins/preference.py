"""Which devices go well together: what a plugin suggests to the kubelet where several are asked for.

Shares of one device have its name in CDI in common. A share that is listed but not available is in use.

Each of these takes all `devices` of the resource, those that are `available`, those of them that the answer
`must_include`, and the `size` of the answer. Each answers with `size` different devices of the available ones, or with
all where there are fewer; `must_include` comes first, and is never cut. The kubelet names devices in random order, so
the answer goes by the order of `devices` alone.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, combinations
from operator import attrgetter

from kubelet_plugin.runtime import Device

Preference = Callable[[Sequence[Device], Sequence[Device], Sequence[Device], int], list[Device]]

_Kind = tuple[int, ...]  # the NUMA nodes that a device is close to
_EXACT = 8  # NUMA nodes up to which all sets of them are tried; kubelets support no more by default


def packed(
    devices: Sequence[Device], available: Sequence[Device], must_include: Sequence[Device], size: int
) -> list[Device]:
    """Choose shares of as few devices as can be.

    Of several ways to do so, that with the most devices that are in use already, so that others stay whole; and what
    does not fill a device goes to one that has little else left.
    """
    request = _request(devices, available, must_include, size)
    begun = sorted((whole for whole in request.wholes if whole.included), key=_room)
    spare = sum(map(_room, begun))
    others = [whole for whole in request.wholes if whole.free and not whole.included]
    chosen = begun if spare >= request.missing else [*begun, *_fewest(others, request.missing - spare)]
    return request.answer(share for whole in chosen for share in whole.free)


def spread(
    devices: Sequence[Device], available: Sequence[Device], must_include: Sequence[Device], size: int
) -> list[Device]:
    """Choose shares of as many different devices as can be, those with the fewest shares in use first."""
    request = _request(devices, available, must_include, size)
    return request.answer(_evenly(request.wholes))


def numa(
    devices: Sequence[Device], available: Sequence[Device], must_include: Sequence[Device], size: int
) -> list[Device]:
    """Choose devices from as few NUMA nodes as can be.

    A device that is close to several nodes counts as one of each. Of several ways, that which keeps most to the nodes
    of `must_include`, then that whose nodes have the fewest devices to offer; within these as `spread`. Devices whose
    node is not known come last. Where more than 8 nodes are in question and devices are close to several, the answer
    may come from more nodes than need be.
    """
    request = _request(devices, available, must_include, size)
    ranked = _evenly(request.wholes)
    must = Counter(device.numa_nodes for device in request.must.values())
    offered = must + Counter(share.numa_nodes for share in ranked)
    nodes = _nodes(offered, must.keys() - {()}, request.missing + len(request.must) - must[()])
    close = {kind for kind in offered if not nodes.isdisjoint(kind)}
    near = (share for share in ranked if share.numa_nodes in close)
    far = (share for share in ranked if share.numa_nodes not in close)
    return request.answer(chain(near, far))


PREFERENCES: Mapping[str, Preference] = {"packed": packed, "spread": spread, "numa": numa}
"""These by name."""


@dataclass(slots=True)
class _Whole:
    """One device with all its shares."""

    free: list[Device] = field(default_factory=list)
    included: int = 0
    in_use: int = 0


@dataclass(slots=True)
class _Request:
    """What is asked for, sorted out.

    Attributes:
        must: What the answer has to contain, by id.
        wholes: The devices, with the shares that may be added.
        missing: How many are to be added.
    """

    must: dict[str, Device]
    wholes: Collection[_Whole]
    missing: int

    def answer(self, ranked: Iterable[Device]) -> list[Device]:
        """Add the first of the ranked ones to those that must be there."""
        return [*self.must.values(), *(share for share, _ in zip(ranked, range(self.missing), strict=False))]


def _request(
    devices: Sequence[Device], available: Sequence[Device], must_include: Sequence[Device], size: int
) -> _Request:
    offered = {device.id: device for device in available}
    included = {device.id: device for device in must_include}
    wholes: dict[str, _Whole] = {}
    must: dict[str, Device] = {}
    for device_id, device in ({device.id: device for device in devices} | offered | included).items():
        name = device.cdi_name
        if (whole := wholes.get(name)) is None:
            whole = wholes[name] = _Whole()
        if device_id in included:
            must[device_id] = device
            whole.included += 1
        elif device_id in offered:
            whole.free.append(device)
        else:
            whole.in_use += 1
    return _Request(must, wholes.values(), max(0, size - len(must)))


def _room(whole: _Whole) -> int:
    return len(whole.free)


def _fewest(wholes: Iterable[_Whole], missing: int) -> Sequence[_Whole]:
    """Choose the fewest that have room enough, of these as many as can be that are in use; all, if all have not."""
    largest = sorted(wholes, key=_room, reverse=True)
    room = list(accumulate(map(_room, largest)))
    if not room or room[-1] < missing:
        return largest
    count = bisect_left(room, missing) + 1
    used = [whole for whole in largest if whole.in_use]
    fresh = [whole for whole in largest if not whole.in_use]
    used_room = [0, *accumulate(map(_room, used))]
    fresh_room = [0, *accumulate(map(_room, fresh))]
    old = max(
        number
        for number in range(max(0, count - len(fresh)), min(count, len(used)) + 1)
        if used_room[number] + fresh_room[count - number] >= missing
    )
    new = count - old
    *filled, _ = [*used[:old], *fresh[:new]]
    rest = missing - sum(map(_room, filled))
    candidates = fresh[new - 1 :] if new else used[old - 1 :]
    return [*filled, min((whole for whole in candidates if _room(whole) >= rest), key=_room)]


def _evenly(wholes: Iterable[_Whole]) -> list[Device]:
    """Rank shares so that the first ones are of as many different devices as can be."""
    turns: dict[int, list[Device]] = {}
    for whole in sorted(wholes, key=attrgetter("in_use")):
        for turn, share in enumerate(whole.free, whole.included):
            turns.setdefault(turn, []).append(share)
    return [share for turn in sorted(turns) for share in turns[turn]]


def _nodes(offered: Mapping[_Kind, int], must: Collection[_Kind], size: int) -> frozenset[int]:
    """Choose NUMA nodes that have as many devices as are wanted; all, if all have not.

    Args:
        offered: How many devices are close to the same nodes, by these.
        must: For each of these, one of the nodes must be chosen.
        size: How many devices are wanted.
    """
    every: frozenset[int] = frozenset().union(*offered)
    known = sum(count for kind, count in offered.items() if kind)
    if known < size:
        return every
    if len(every) > _EXACT:
        return _many_nodes(offered, must, size)
    wanted: frozenset[int] = frozenset().union(*must)
    for number in range(len(every)):
        ways = [
            (-len(wanted.intersection(nodes)), room, nodes)
            for nodes in combinations(sorted(every), number)
            if not any(set(kind).isdisjoint(nodes) for kind in must)
            if (room := sum(count for kind, count in offered.items() if not set(kind).isdisjoint(nodes))) >= size
        ]
        if ways:
            return frozenset(min(ways)[-1])
    return every


def _many_nodes(offered: Mapping[_Kind, int], must: Collection[_Kind], size: int) -> frozenset[int]:
    """Do so one by one: those that must be, then the largest."""
    kinds: dict[int, list[_Kind]] = {}
    for kind in offered:
        for node in kind:
            kinds.setdefault(node, []).append(kind)
    room = {node: sum(offered[kind] for kind in kinds[node]) for node in sorted(kinds)}
    left = dict(offered)
    chosen: set[int] = set()

    def take(node: int) -> int:
        chosen.add(node)
        return sum(left.pop(kind, 0) for kind in kinds[node])

    for kind in sorted(must, key=sorted):
        if chosen.isdisjoint(kind):
            size -= take(max(sorted(kind), key=lambda node: room[node]))
    for node in sorted(room.keys() - chosen, key=lambda node: (-room[node], node)):
        if size <= 0:
            break
        size -= take(node)
    return frozenset(chosen)
