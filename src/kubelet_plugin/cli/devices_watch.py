"""`kubelet-plugin devices --watch`: changes as they happen."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from kubelet_plugin.cli import offers
from kubelet_plugin.cli.cdi import output
from kubelet_plugin.cli.offers import Offer
from kubelet_plugin.cli.owners import Owners
from kubelet_plugin.config.schema import Resource
from kubelet_plugin.discovery import Roots

_COLOURS = {"Healthy": "green", "Unhealthy": "red", "offered": "green", "not offered": "red"}


@dataclass(frozen=True, slots=True)
class _Change:
    """One change.

    Attributes:
        device: The device; empty where it is about the whole resource.
        before: The health, or `offered` or `not offered`; empty where it was not there.
        after: The same now; empty where it is gone.
        reason: Why, or what else changed.
    """

    resource: str
    device: str
    before: str
    after: str
    reason: str


def run(resources: Sequence[Resource], roots: Roots, *, as_json: bool, show: Callable[[Sequence[Offer]], None]) -> None:
    """Show what there is and then every change, until SIGINT or SIGTERM.

    Args:
        resources: The resources.
        roots: Where the host's files are seen.
        as_json: Whether each change is an object on a line of its own; what there is at first, too.
        show: Prints what there is at first, where that is not so.
    """
    asyncio.run(_run(resources, roots, None if as_json else show))


async def _run(resources: Sequence[Resource], roots: Roots, show: Callable[[Sequence[Offer]], None] | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await _follow(resources, roots, show)
    except asyncio.CancelledError:
        return  # as was asked for


async def _follow(resources: Sequence[Resource], roots: Roots, show: Callable[[Sequence[Offer]], None] | None) -> None:
    owners = Owners(roots)
    known: dict[str, Offer] = {}
    async for offer in offers.follow(resources, roots):
        before = known.get(offer.name)
        known[offer.name] = offer
        if show is None:
            for change in _changes(before, offer, owners):
                output.say(_object(change))
        elif before is not None and len(known) == len(resources):
            for change in _changes(before, offer, owners):
                output.say(_line(change))
        elif len(known) == len(resources):
            show([known[resource.name or ""] for resource in resources])


def _changes(before: Offer | None, after: Offer, owners: Owners) -> Iterator[_Change]:
    """Say what is different from an offer before; of the first one, all that there is."""
    old, new = (None if before is None else _state(before)), _state(after)
    if old != new if old is not None else bool(after.hindrance):
        yield _Change(after.name, "", old or "", new, after.hindrance)
    was, now = _devices(before, owners), _devices(after, owners)
    for device, document in was.items():
        if device not in now:
            yield _Change(after.name, device, document["health"], "", after.hindrance)
    for device, document in now.items():
        earlier = was.get(device)
        if earlier is None:
            yield _Change(after.name, device, "", document["health"], document["reason"])
        elif earlier != document:
            yield _Change(after.name, device, earlier["health"], document["health"], _reason(earlier, document))


def _devices(offer: Offer | None, owners: Owners) -> Mapping[str, dict[str, Any]]:
    return {} if offer is None else {each["id"]: each for each in offers.document(offer, owners)["devices"]}


def _state(offer: Offer) -> str:
    return "not offered" if offer.hindrance else "offered"


def _reason(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Why a device is in its state; where that is as it was, what of it changed."""
    if after["reason"] or after["health"] != before["health"]:
        return str(after["reason"])
    return "changed: " + ", ".join(key for key in after if after[key] != before[key])


def _now() -> datetime:
    return datetime.now().astimezone()


def _object(change: _Change) -> str:
    document = {
        "time": _now().isoformat(timespec="milliseconds"),
        "resource": change.resource,
        "device": change.device or None,
        "from": change.before or None,
        "to": change.after or None,
        "reason": change.reason,
    }
    return json.dumps(document)


def _line(change: _Change) -> str:
    words = [f"{_now():%H:%M:%S.%f}"[:-3], *filter(None, (change.resource, change.device))]
    before = change.before or "new"
    after = change.after or "gone"
    coloured = click.style(after, fg=_COLOURS.get(after, "yellow"), bold=True)
    text = "  ".join(map(output.visible, words)) + f"  {before} -> {coloured}"
    return text + (f"  {output.visible(change.reason)}" if change.reason else "")
