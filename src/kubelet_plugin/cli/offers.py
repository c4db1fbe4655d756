"""What resources would offer on this node: looked at without a kubelet, and nothing written."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from kubelet_plugin.cli.owners import Owners
from kubelet_plugin.config.checking import cdi_kind
from kubelet_plugin.config.schema import Device, Resource
from kubelet_plugin.discovery import Node, Roots
from kubelet_plugin.discovery.lookout import Lookout
from kubelet_plugin.plugins import conditions
from kubelet_plugin.plugins.configured import ConfiguredPlugin, Observed
from kubelet_plugin.plugins.configured.finding import described
from kubelet_plugin.runtime import Health


@dataclass(frozen=True, slots=True)
class Offer:
    """What one resource would offer.

    Attributes:
        resource: The resource.
        hindrance: Why it is not offered at all; empty if it is.
        devices: Its devices, before they are shared.
        notes: Which of its entries give none here, and why.
    """

    resource: Resource
    hindrance: str = ""
    devices: tuple[Observed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.resource.name or ""

    @property
    def is_healthy(self) -> bool:
        """Whether a pod can be given one of its devices."""
        return any(each.device.health == Health.HEALTHY for each in self.devices)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is on this node."""
        return not any(node.present for each in self.devices for node in each.nodes)


async def look(resources: Sequence[Resource], roots: Roots) -> list[Offer]:
    """Look once at what resources would offer.

    Args:
        resources: The resources, checked, their names complete.
        roots: Where the host's files are seen.
    """
    return await asyncio.gather(*(_first(resource, roots) for resource in resources))


async def _first(resource: Resource, roots: Roots) -> Offer:
    if hindrance := conditions.unmet(resource.enabled_when, roots):
        return Offer(resource, hindrance)
    async with _observing(resource, roots) as lists:
        return _offer(resource, await anext(lists), roots)


async def follow(resources: Sequence[Resource], roots: Roots) -> AsyncGenerator[Offer, None]:
    """Yield what each resource would offer: at once, then whenever something changed. Two in a row may be equal.

    Args:
        resources: The resources, checked, their names complete.
        roots: Where the host's files are seen.
    """
    queue: asyncio.Queue[Offer | asyncio.Task[None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_follow(resource, roots, queue.put_nowait)) for resource in resources]
    for task in tasks:
        task.add_done_callback(queue.put_nowait)  # it has failed, or it would not be done
    try:
        while True:
            seen = await queue.get()
            if isinstance(seen, asyncio.Task):
                seen.result()
            else:
                yield seen
    finally:
        await _end(tasks)


async def _follow(resource: Resource, roots: Roots, seen: Callable[[Offer], None]) -> None:
    """Observe a resource whenever it is offered at all."""
    condition = resource.enabled_when
    with Lookout(host_root=roots.host) as lookout:
        lookout.watch(conditions.paths(condition), nodes_too=bool(conditions.modules(condition)))
        observing: asyncio.Task[None] | None = None
        try:
            while True:
                lookout.looking()
                hindrance = conditions.unmet(condition, roots)
                if not hindrance and observing is None:
                    observing = asyncio.create_task(_observe(resource, roots, seen))
                elif hindrance:
                    await _end([observing] if observing else [])
                    observing = None
                    seen(Offer(resource, hindrance))
                resting = asyncio.create_task(_rest(lookout))
                await asyncio.wait([resting, *([observing] if observing else [])], return_when=asyncio.FIRST_COMPLETED)
                await _end([resting])
                if observing and observing.done():
                    observing.result()
        finally:
            await _end([observing] if observing else [])


def _offer(resource: Resource, devices: Sequence[Observed], roots: Roots) -> Offer:
    found = [_matchers(observed.candidate.entry) for observed in devices]
    notes = []
    for index, entry in enumerate(resource.devices):
        if hindrance := conditions.unmet(entry.enabled_when, roots):
            notes.append(f"devices[{index}] is left out: {hindrance}")
        elif _matchers(entry) not in found:
            notes.append(f"devices[{index}]: nothing here fits {entry.path or described(entry)}")
    return Offer(resource, "", tuple(devices), tuple(notes))


def _matchers(entry: Device) -> tuple[object, ...]:
    return entry.path, entry.usb, entry.pci, entry.sysfs, entry.nodes, entry.group


async def _rest(lookout: Lookout) -> None:
    await lookout.rest()


async def _observe(resource: Resource, roots: Roots, seen: Callable[[Offer], None]) -> None:
    async with _observing(resource, roots) as lists:
        async for devices in lists:
            seen(_offer(resource, devices, roots))


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _observing(resource: Resource, roots: Roots) -> aclosing[AsyncGenerator[Sequence[Observed], None]]:
    return aclosing(ConfiguredPlugin(resource, roots=roots).observe())


def document(offer: Offer, owners: Owners) -> dict[str, Any]:
    """An offer for programs, in the words of the configuration file."""
    kind = cdi_kind(offer.resource)
    return {
        "name": offer.name,
        "offered": not offer.hindrance,
        "reason": offer.hindrance,
        "cdi_kind": kind,
        "notes": list(offer.notes),
        "devices": [device_document(each, kind, owners) for each in offer.devices],
    }


def device_document(observed: Observed, kind: str, owners: Owners) -> dict[str, Any]:
    """One device of an offer for programs.

    Args:
        observed: The device.
        kind: The kind of its CDI spec; empty where it has none.
        owners: The host's users and groups.
    """
    device = observed.device
    return {
        "id": device.id,
        "count": count(observed),
        "health": str(device.health),
        "reason": device.reason,
        "numa_nodes": list(device.numa_nodes),
        "cdi_name": f"{kind}={device.cdi_name}" if kind else "",
        "nodes": [node_document(node, owners) for node in observed.nodes],
        "container": _container(observed),
    }


def node_document(node: Node, owners: Owners) -> dict[str, Any]:
    """A node of the host for programs; what an absent one has not is null."""
    there = node.present
    return {
        "path": node.path,
        "target": node.target,
        "present": there,
        "type": ("block" if node.block else "char") if node.number else None,
        "major": os.major(node.number) if node.number else None,
        "minor": os.minor(node.number) if node.number else None,
        "mode": f"{node.mode:04o}" if there else None,
        "uid": node.uid if there else None,
        "gid": node.gid if there else None,
        "owner": owners.user(node.uid) if there else None,
        "group": owners.group(node.gid) if there else None,
        "healthy": node.healthy,
        "reason": node.reason,
    }


def is_of(observed: Observed, paths: Collection[str]) -> bool:
    """Tell whether one of these nodes, links resolved, is a part of a device."""
    return any((node.target or node.path) in paths for node in observed.nodes)


def count(observed: Observed) -> int:
    """How many containers may have it at once."""
    return observed.candidate.entry.count or 1


def _container(observed: Observed) -> dict[str, Any]:
    """What a container gets."""
    edits, links = observed.device.edits, dict(observed.device.links)
    return {
        "nodes": [
            {
                "path": node.path,
                "host_path": node.host_path or node.path,
                "host_link": links.get(node.host_path or node.path, ""),
                "permissions": node.permissions,
                "file_mode": None if node.file_mode is None else f"{node.file_mode:04o}",
                "uid": node.uid,
                "gid": node.gid,
            }
            for node in edits.device_nodes
        ],
        "env": dict(entry.split("=", 1) for entry in edits.env),
        "mounts": [
            {
                "host_path": mount.host_path,
                "container_path": mount.container_path,
                "read_only": "ro" in mount.options,
            }
            for mount in edits.mounts
        ],
        "additional_gids": list(edits.additional_gids),
        "annotations": dict(observed.device.annotations),
    }
