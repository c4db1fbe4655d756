"""`kubelet-plugin explain`: what a device is, and how to offer it."""

import asyncio
import contextlib
import os
import stat
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import click

from kubelet_plugin.cli import choosing, matching, offers, subjects
from kubelet_plugin.cli.cdi import output
from kubelet_plugin.cli.matching import Way
from kubelet_plugin.cli.owners import Owners
from kubelet_plugin.cli.subjects import HostNode, Subject, SubjectError
from kubelet_plugin.config.loading import load
from kubelet_plugin.config.presets import PRESETS, preset
from kubelet_plugin.config.writing import write
from kubelet_plugin.discovery import Roots, sysfs
from kubelet_plugin.discovery.sysfs import SysfsDevice
from kubelet_plugin.errors import ConfigurationFileError

_HELP = """Show what a device is, what offers it, and how to name it in a configuration file.

PATH is a device node, a path of sysfs, or a name as /dev or the kernel has it. All that sysfs and udev say of the
device and of what it belongs to is shown; the configurations come last, the most stable first. Each of them finds the
device on this node.

\b
Examples:
  kubelet-plugin explain /dev/ttyUSB0
  kubelet-plugin explain ttyUSB0 --output config > serial.yaml   # the first configuration alone
  kubelet-plugin explain /sys/bus/usb/devices/1-2
  kubelet-plugin explain video0 --output json | jq '.configurations[].id'

\b
Exit codes:
  0  the device was found; with --output config: a configuration, too
  1  there is no such device, or it cannot be seen
  2  the command line or the configuration is wrong
"""


@click.command("explain", help=_HELP, short_help="Show what a device is, and how to offer it.")
@click.argument("path")
@choosing.files
@choosing.domain
@choosing.host_root
@choosing.sysfs
@click.option(
    "--output",
    "printed",
    type=click.Choice(["text", "json", "config"]),
    default="text",
    show_default=True,
    help="What is printed.",
)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    path: str,
    files: tuple[str, ...],
    domain: str,
    host_root: str,
    sysfs: str | None,
    printed: str,
) -> None:
    roots = choosing.roots(host_root, sysfs)
    try:
        subject = subjects.find(path, roots)
        offered = _offered(subject, files, domain, roots)
    except SubjectError as error:
        output.fail(ctx, str(error))
    except ConfigurationFileError as error:
        choosing.refuse(ctx, error)
    ways = asyncio.run(matching.ways(subject, roots, domain))
    if printed == "config":
        if not ways:
            output.fail(ctx, _NOTHING)
        output.say(write(ways[0].configuration, (f"{ways[0].why}.", f"id: {ways[0].id}")).rstrip("\n"))
    elif printed == "json":
        output.say(output.serialized("json", _document(subject, offered, ways, roots)))
    else:
        for line in _text(_document(subject, offered, ways, roots)):
            output.say(output.visible(line))


_NOTHING = "no device node belongs to it, so there is nothing that a container could be given"


def _offered(subject: Subject, files: Sequence[str], domain: str, roots: Roots) -> list[dict[str, Any]]:
    """List the devices of presets and files that the subject is, or is a part of."""
    presets = [preset(name, domain) for name in sorted(PRESETS)]
    configured = load(files, domain=domain) if files else ()
    found = []
    for index, offer in enumerate(asyncio.run(offers.look([*presets, *configured], roots))):
        for each in offer.devices:
            if offers.is_of(each, subject.paths):
                known: dict[str, Any] = {
                    "resource": offer.name,
                    "preset": sorted(PRESETS)[index] if index < len(presets) else None,
                }
                state = {"device": each.device.id, "health": str(each.device.health), "reason": each.device.reason}
                found.append(known | state)
    return found


def _document(subject: Subject, offered: list[dict[str, Any]], ways: Sequence[Way], roots: Roots) -> dict[str, Any]:
    device, owners = subject.device, Owners(roots)
    return {
        "nodes": [_node(node, owners) for node in subject.nodes],
        "numa_node": device.numa_node() if device else None,
        "offered_by": offered,
        "properties": sysfs.properties(device, roots) if device else {},
        "sysfs": [_level(each) for each in (device, *device.ancestors())] if device else [],
        "configurations": [
            {"by": way.by, "why": way.why, "id": way.id, "others": list(way.others), "text": write(way.configuration)}
            for way in ways
        ],
    }


def _node(node: HostNode, owners: Owners) -> dict[str, Any]:
    known: dict[str, Any] = {"path": node.path, "links": list(node.links)}
    if (status := node.status) is None:
        return known | {"present": False}
    return known | {
        "present": True,
        "type": "block" if stat.S_ISBLK(status.st_mode) else "char",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "owner": owners.user(status.st_uid),
        "group": owners.group(status.st_gid),
    }


def _level(device: SysfsDevice) -> dict[str, Any]:
    attributes = {name: text for name, text in device.attributes().items() if name != "uevent"}
    return {
        "path": f"/{device.path}",
        "name": device.name,
        "subsystem": device.subsystem,
        "driver": device.driver,
        "attributes": attributes,
        "closed": [*_closed(device)],
    }


def _closed(device: SysfsDevice) -> Iterator[str]:
    """Yield the attributes that others may read, but not this user."""
    directory = os.path.join(device.root, device.path)
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):  # it is gone
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & stat.S_IRUSR and not os.access(entry.path, os.R_OK):
                yield entry.name


def _text(document: dict[str, Any]) -> Iterator[str]:
    """A document for people."""
    for node in document["nodes"]:
        yield _described(node)
        yield from (f"  link: {link}" for link in node["links"])
    if document["sysfs"]:
        numa = document["numa_node"]
        yield f"NUMA node: {'none' if numa is None else numa}"
    else:
        yield "sysfs knows nothing of it"
    yield from _offers_text(document["offered_by"])
    if document["properties"]:
        yield from ("", "properties:")
        yield from (f"  {name}={value}" for name, value in document["properties"].items())
    for index, level in enumerate(document["sysfs"]):
        yield from ("", f"{'belongs to' if index else 'device'} {level['path']}:")
        yield from (f"  {key}: {level[key]}" for key in ("subsystem", "driver") if level[key])
        yield from (f"  attribute {name}: {value}" for name, value in level["attributes"].items())
        if level["closed"]:
            yield f"  closed to uid {os.geteuid()}: {', '.join(level['closed'])}"
    yield from _ways_text(document["configurations"])


def _described(node: dict[str, Any]) -> str:
    if not node["present"]:
        return f"{node['path']}: it is not to be seen from here"
    numbers = f"{node['type']} {node['major']}:{node['minor']}"
    owner = f"{node['owner']}:{node['group']} ({node['uid']}:{node['gid']})"
    return f"{node['path']}: {numbers}, mode {node['mode']}, owner {owner}"


def _offers_text(offered: Sequence[dict[str, Any]]) -> Iterator[str]:
    for each in offered:
        origin = f"preset {each['preset']}" if each["preset"] else "configured"
        reason = f": {each['reason']}" if each["reason"] else ""
        yield f"offered by: {each['resource']} ({origin}) as {each['device']}, {each['health']}{reason}"
    if not offered:
        yield "offered by: no preset, and nothing that is configured"


def _ways_text(ways: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not ways:
        yield from ("", _NOTHING)
        return
    yield from ("", "how to name it in a configuration file, the most stable way first:")
    for number, way in enumerate(ways, start=1):
        yield from ("", f"{number}. by {_NAMES[way['by']]}; its id is {way['id']}")
        if way["others"]:
            yield f"   fits as well: {', '.join(way['others'])}"
        yield from textwrap.wrap(way["why"], 100, initial_indent="   ", subsequent_indent="   ")
        yield from textwrap.indent(way["text"], "   ").splitlines()


_NAMES = {
    "preset": "a preset",
    "by-id": "udev's link",
    "by-path": "udev's link of the port",
    "usb": "USB vendor and product",
    "pci": "PCI vendor and device",
    "sysfs": "what sysfs says",
    "path": "its path",
}
