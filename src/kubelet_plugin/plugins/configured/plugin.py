"""The plugin of one resource of the configuration file."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kubelet_plugin.config import schema
from kubelet_plugin.discovery import Node, Probe, Roots, probes
from kubelet_plugin.discovery.damping import Damper
from kubelet_plugin.discovery.lookout import Lookout
from kubelet_plugin.discovery.survey import Survey
from kubelet_plugin.plugins.configured.composing import Observed, compose, is_no_node
from kubelet_plugin.plugins.configured.effective import effective
from kubelet_plugin.plugins.configured.finding import Candidate, Finder, depends_on_sysfs, patterns
from kubelet_plugin.plugins.preference import PREFERENCES
from kubelet_plugin.runtime import Device, DevicePlugin, Health, Inject

logger = logging.getLogger("kubelet_plugin.plugins")

_MAX_FLIPS = 6
_RESYNC = 60.0
_RESYNC_UNPROBED = 600.0  # what no event tells is rare, and with hundreds of resources each wake-up counts


@dataclass(frozen=True, slots=True)
class _Definition:
    """A resource, with what follows from it."""

    resource: schema.Resource
    entries: tuple[schema.Device, ...]
    finder: Finder
    probes: Mapping[int, Probe]  # by the identity of the entry
    damper: Damper

    @classmethod
    def of(cls, resource: schema.Resource, roots: Roots) -> "_Definition":
        assert resource.name
        entries = tuple(effective(resource, device) for device in resource.devices)
        flips = _MAX_FLIPS if resource.max_flips is None else resource.max_flips
        finder = Finder(entries, resource.name.rpartition("/")[2], roots)
        return cls(resource, entries, finder, {id(entry): _probe(entry) for entry in entries}, Damper(flips))

    @property
    def is_probed(self) -> bool:
        return any(probe.test for probe in self.probes.values())


class ConfiguredPlugin(DevicePlugin):
    """Offers the devices of one resource of the configuration file.

    Args:
        resource: The resource, checked, its name complete.
        roots: Where the host's files are seen.
    """

    def __init__(self, resource: schema.Resource, *, roots: Roots = Roots()) -> None:  # noqa: B008 -- it is frozen
        assert resource.name
        self.resource_name = resource.name
        self.cdi_kind = resource.cdi_kind or ""
        self.inject = Inject(resource.inject) if resource.inject else None
        self._roots = roots
        self._definition = _Definition.of(resource, self._roots)
        self._changed: Callable[[], None] = lambda: None
        self._devices: Sequence[Device] = ()
        self._composed: dict[str, tuple[Candidate, tuple[Node, ...], Observed]] = {}
        self._mixed = False

    @property
    def resource(self) -> schema.Resource:
        """What is configured now."""
        return self._definition.resource

    def accepts(self, resource: schema.Resource) -> bool:
        """Tell whether `configure` can take this resource: what a kubelet was told at registration stays true."""
        ours = self.resource
        return (resource.name, resource.cdi_kind, resource.inject, resource.preferred is None) == (
            ours.name,
            ours.cdi_kind,
            ours.inject,
            ours.preferred is None,
        )

    def configure(self, resource: schema.Resource) -> None:
        """Offer what this resource says from now on; the kubelet's stream stays, and gets the new list.

        Args:
            resource: One that it accepts.
        """
        assert self.accepts(resource)
        self._definition = _Definition.of(resource, self._roots)
        self._changed()

    def overrides(self, hook: str) -> bool:
        """Tell whether this resource has the hook; it suggests allocations only where it is configured to."""
        if hook == "preferred_allocation":
            return self.resource.preferred is not None
        return super().overrides(hook)

    async def preferred_allocation(
        self, available: Sequence[Device], must_include: Sequence[Device], size: int
    ) -> Sequence[Device]:
        """Choose as configured."""
        assert self.resource.preferred
        return PREFERENCES[self.resource.preferred](self._devices, available, must_include, size)

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        """Yield the shares of all devices whenever something changed."""
        async for all_observed in self.observe():
            self._devices = [share for o in all_observed for share in o.device.shared(o.candidate.entry.count or 1)]
            yield self._devices

    async def observe(self) -> AsyncGenerator[Sequence[Observed], None]:
        """Yield what there is: at once, then whenever something changed. A list may equal the one before."""
        loop = asyncio.get_running_loop()
        with Lookout(host_root=self._roots.host, resync=_RESYNC_UNPROBED) as lookout:
            survey = Survey(self._roots, lookout.wake)
            anew = True
            self._changed = lookout.wake
            while True:
                lookout.looking()
                definition = self._definition
                candidates = self._find(definition, lookout)
                often = definition.is_probed or not lookout.hears_all
                lookout.pace(_RESYNC if often else _RESYNC_UNPROBED, thorough=often)
                wanted = {p.path: definition.probes[id(c.entry)] for c in candidates for p in c.parts}
                nodes = await survey.look(wanted, anew=anew)
                observed = self._one_topology(self._compose(candidates, nodes, anew=anew))
                yield _judged(observed, definition.damper, loop.time())
                anew = await lookout.rest(definition.damper.next_release(loop.time()))

    def _find(self, definition: _Definition, lookout: Lookout) -> Sequence[Candidate]:
        """Find the candidates, all that may change them being watched before it was looked at."""
        fixed = [*patterns(definition.entries)]
        in_sysfs = depends_on_sysfs(definition.entries)
        lookout.watch(fixed, nodes_too=in_sysfs)
        while True:
            candidates = definition.finder.find()
            paths = (part.path for candidate in candidates for part in candidate.parts) if in_sysfs else ()
            if not lookout.watch([*fixed, *paths], nodes_too=in_sysfs):
                return candidates

    def _compose(self, candidates: Sequence[Candidate], nodes: Mapping[str, Node], *, anew: bool) -> Sequence[Observed]:
        """Make the devices; what stayed as it was is not made again."""
        known, self._composed = ({} if anew else self._composed), {}
        taken: set[str] = set()
        for candidate in candidates:
            own = tuple(nodes[part.path] for part in candidate.parts)
            if candidate.is_alone:
                if is_no_node(candidate.parts[0], own[0]):
                    continue
                real = own[0].target or own[0].path
                if real in taken:
                    continue  # another path of the same node: it is one device
                taken.add(real)
            before = known.get(candidate.id)
            if before and before[:2] == (candidate, own):
                self._composed[candidate.id] = before
            else:
                self._composed[candidate.id] = (candidate, own, compose(candidate, nodes, self._roots))
        return [observed for _, _, observed in self._composed.values()]

    def _one_topology(self, observed: Sequence[Observed]) -> Sequence[Observed]:
        """Take NUMA nodes away where only some devices have one: a kubelet that aligns would never use the others."""
        there = [each for each in observed if any(node.present for node in each.nodes)]
        without = [each.device.id for each in there if not each.device.numa_nodes]
        mixed = bool(without) and len(without) < len(there)
        if mixed != self._mixed and mixed:
            what = f"{len(without)} of {len(there)} devices have no NUMA node ({without[0]}), so none is told"
            logger.warning("%s: %s; set numa for each entry, or numa: none", self.resource_name, what)
        self._mixed = mixed
        if not mixed:
            return observed
        return [replace(each, device=replace(each.device, numa_nodes=())) for each in observed]


def _judged(observed: Sequence[Observed], damper: Damper, now: float) -> Sequence[Observed]:
    """Hold back what changes its health too often."""
    judged = []
    for each in observed:
        reason = damper.judge(each.device.id, each.device.health == Health.HEALTHY, now)
        held = replace(each, device=replace(each.device, health=Health.UNHEALTHY, reason=reason)) if reason else each
        judged.append(held)
    damper.absent({each.device.id for each in observed}, now)
    return judged


def _probe(entry: schema.Device) -> Probe:
    match entry.probe:
        case None:
            return probes.exists
        case schema.Probe(command=command, entry_point=entry_point, deadline=deadline):
            seconds = 1.0 if deadline is None else float(deadline)
            return probes.command(command, seconds) if command else probes.entry_point(entry_point or "", seconds)
        case name:
            return probes.PROBES[name]
