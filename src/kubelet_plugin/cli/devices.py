"""`kubelet-plugin devices`: what this node would offer now."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

import click

from kubelet_plugin.cli import choosing, offers, tables
from kubelet_plugin.cli.cdi import output
from kubelet_plugin.cli.offers import Offer
from kubelet_plugin.cli.owners import Owners
from kubelet_plugin.config.loading import Form
from kubelet_plugin.discovery import Roots
from kubelet_plugin.errors import ConfigurationError, ConfigurationFileError, Problem
from kubelet_plugin.plugins.configured import Observed

_HELP = """Show what this node would offer now: which devices, whether they work, and what a container would get.

NAME is a preset, such as kvm or serial. Without NAME, --config and --device all presets are looked at. No kubelet is
needed, and nothing is written. Seen as another user than the plugin's, a device may look better or worse than it is.

\b
Examples:
  kubelet-plugin devices                           # what there is of all presets
  kubelet-plugin devices kvm serial --wide         # with what a container would get
  kubelet-plugin devices --config devices.yaml
  kubelet-plugin devices --config devices.yaml --watch
  kubelet-plugin devices serial --output json | jq '.resources[].devices[].id'

\b
Exit codes:
  0  it was looked at
  1  with --check: a resource that is offered has no healthy device
  2  the command line or the configuration is wrong
"""

_HEADER = ("RESOURCE", "DEVICE", "SHARES", "HEALTH", "NODES", "OWNER", "MODE", "NUMA", "REASON")
_BY_CDI = {"file_mode": "mode", "uid": "uid", "gid": "gid"}


@click.command("devices", help=_HELP, short_help="Show what this node would offer now.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@choosing.files
@choosing.texts
@choosing.form
@choosing.domain
@choosing.host_root
@choosing.sysfs
@click.option(
    "--output",
    "printed",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="What is printed.",
)
@click.option("--wide", is_flag=True, help="Below the table, show for each device what a container would get.")
@click.option("--watch", is_flag=True, help="Stay, and show each change as it happens, until Ctrl-C or SIGTERM.")
@click.option("--check", is_flag=True, help="Exit with 1 where a resource has no healthy device.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    names: tuple[str, ...],
    files: tuple[str, ...],
    texts: tuple[str, ...],
    form: Form | None,
    domain: str,
    host_root: str,
    sysfs: str | None,
    printed: str,
    wide: bool,
    watch: bool,
    check: bool,
) -> None:
    chosen = bool(names or files or texts)
    if check and not chosen:
        raise click.UsageError("--check needs to know what is to be there: give a NAME, --config or --device")
    if check and watch:
        raise click.UsageError("--check looks once, and --watch stays: give one of them")
    if watch and printed == "yaml":
        raise click.UsageError("--watch prints a line for each change, which YAML is not: give --output json")
    try:
        loaded = choosing.resources(names, files, texts, domain=domain, form=form)
    except ConfigurationFileError as error:
        choosing.refuse(ctx, error)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    roots = choosing.roots(host_root, sysfs)
    _warn(roots, loaded.notes)
    if watch:
        from kubelet_plugin.cli import devices_watch  # noqa: PLC0415 -- of use only here

        devices_watch.run(
            loaded.resources, roots, as_json=printed == "json", show=lambda seen: _show(seen, roots, chosen, wide)
        )
        return
    seen = asyncio.run(offers.look(loaded.resources, roots))
    if printed == "table":
        _show(seen, roots, chosen, wide)
    else:
        owners = Owners(roots)
        output.say(output.serialized(printed, {"resources": [offers.document(each, owners) for each in seen]}))
    ctx.exit(int(check and any(not each.hindrance and not each.is_healthy for each in seen)))


def _warn(roots: Roots, notes: Sequence[Problem]) -> None:
    """Say what was left out, and what cannot be seen from here."""
    for note in notes:
        output.say(f"{output.label('warning')} {output.visible(str(note))}", err=True)
    if not os.path.isdir(roots.sysfs):
        what = f"{roots.sysfs}: sysfs is not here, so neither USB nor PCI devices nor NUMA nodes are known"
        output.say(f"{output.label('warning')} {what}; say with --sysfs where it is", err=True)
    if os.geteuid() != 0:
        what = f"looked at as uid {os.geteuid()}: what this user may not open is shown as it is for this user"
        output.say(f"{output.label('warning')} {what}", err=True)


def _show(seen: Sequence[Offer], roots: Roots, chosen: bool, wide: bool) -> None:
    """Print the offers for people; of presets that nobody asked for only what is there."""
    shown = [offer for offer in seen if not offer.hindrance and (offer.devices if chosen else not offer.is_empty)]
    owners = Owners(roots)
    rows = [_row(offer, each, owners) for offer in shown for each in offer.devices]
    if rows:
        columns = [index for index, name in enumerate(_HEADER) if name != "REASON" or any(row[index] for row in rows)]
        tables.show([_HEADER[index] for index in columns], [[row[index] for index in columns] for row in rows])
    if wide:
        for offer in shown:
            for device in offers.document(offer, owners)["devices"]:
                output.say("\n" + "\n".join(map(output.visible, _given(offer.name, device))))
    notes = [*_notes(seen, shown, chosen)]
    if rows and notes:
        output.say("")
    for note in notes:
        output.say(output.visible(note))


def _row(offer: Offer, observed: Observed, owners: Owners) -> list[str]:
    device, nodes = observed.device, [node for node in observed.nodes if node.present]
    places = [f"{node.path} -> {node.target}" if node.target else node.path for node in observed.nodes]
    return [
        offer.name,
        device.id,
        str(offers.count(observed)),
        str(device.health),
        ", ".join(places) or "-",
        _each(f"{owners.user(node.uid)}:{owners.group(node.gid)}" for node in nodes),
        _each(f"{node.mode:04o}" for node in nodes),
        _each(map(str, device.numa_nodes)),
        device.reason,
    ]


def _each(words: Any) -> str:
    return ", ".join(dict.fromkeys(words)) or "-"


def _notes(seen: Sequence[Offer], shown: Sequence[Offer], chosen: bool) -> Iterator[str]:
    """Say of what is not in the table why it is not."""
    for offer in seen:
        if offer.hindrance:
            yield f"{offer.name} is not offered: {offer.hindrance}"
        elif chosen:
            yield from (f"{offer.name}: {note}" for note in offer.notes)
    rest = [offer.name.rpartition("/")[2] for offer in seen if offer not in shown and not offer.hindrance]
    if rest and not chosen:
        yield f"nothing here: {', '.join(rest)}"


def _given(name: str, device: dict[str, Any]) -> Iterator[str]:
    """Say what a container would get, a line each."""
    way = f"as CDI device {device['cdi_name']}" if device["cdi_name"] else "by device specs alone"
    yield f"{name}, {device['id']}: what a container gets, {way}"
    container = device["container"]
    for node in container["nodes"]:
        yield f"  node        {_node(node)}"
    for variable, value in container["env"].items():
        yield f"  env         {variable}={value}"
    for mount in container["mounts"]:
        source = "" if mount["host_path"] == mount["container_path"] else f" from {mount['host_path']}"
        yield f"  mount       {mount['container_path']}{source}, {'read-only' if mount['read_only'] else 'writable'}"
    if gids := container["additional_gids"]:
        yield f"  groups      {', '.join(map(str, gids))}"
    for key, value in container["annotations"].items():
        yield f"  annotation  {key}={value}"


def _node(node: dict[str, Any]) -> str:
    source = node["host_link"] or node["host_path"]
    words = [node["path"] + ("" if source == node["path"] else f" from {source}"), node["permissions"]]
    words += [f"{what} {node[key]}" for key, what in _BY_CDI.items() if node[key] is not None]
    return ", ".join(words)
