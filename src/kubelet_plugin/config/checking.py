"""Checks of what the fields of a resource say together."""

import os
from collections.abc import Iterator
from typing import Literal

from kubelet_plugin import cdi
from kubelet_plugin.api import resource_names
from kubelet_plugin.config.documents import Fault, Keys
from kubelet_plugin.config.giving import container_path_faults, option_faults
from kubelet_plugin.config.matchers import Matcher, has_several_nodes, matcher_faults
from kubelet_plugin.config.schema import Device, Member, Resource
from kubelet_plugin.config.wording import quoted
from kubelet_plugin.discovery.patterns import is_glob
from kubelet_plugin.errors import ListTooLargeError

# What a device specification of a kubelet's answer has no place for.
_BY_CDI_ALONE = ("uid", "gid", "file_mode", "additional_gids")

# Fewer shares always fit into a message, and more never do: ids have between 1 and some 100 characters.
_FEW_SHARES, _MANY_SHARES = 20_000, 300_000


def faults(resource: Resource) -> Iterator[Fault]:
    """Yield what is wrong with a resource, its name being complete and its preset filled in."""
    yield from _name_faults(resource)
    if not resource.devices:
        yield Fault(("devices",), "there are none; list one or more")
    yield from option_faults(resource)
    for index, device in enumerate(resource.devices):
        yield from (fault.below("devices", index) for fault in _device_faults(device))
    yield from _owner_faults(resource)
    yield from _topology_faults(resource)
    yield from _container_path_faults(resource)
    yield from _mount_faults(resource)
    yield from _id_faults(resource)
    yield from _size_faults(resource)


def cdi_kind(resource: Resource) -> str:
    """The kind of a resource's CDI spec; empty where it has none, or no legal one."""
    try:
        return "" if resource.inject == "device-spec" else resource.cdi_kind or cdi.kind_of(resource.name or "")
    except cdi.Error:
        return ""


def _name_faults(resource: Resource) -> Iterator[Fault]:
    name = resource.name or ""
    if fault := resource_names.fault(name):
        yield Fault(("name",), f"{fault}; write another")
        return
    try:
        if resource.cdi_kind is None:
            cdi.kind_of(name)
        else:
            cdi.validate_kind(resource.cdi_kind)
    except cdi.Error as error:
        yield Fault(("cdi_kind",), f"{error}; write a kind as `vendor.example/thing`")


def _device_faults(device: Device) -> Iterator[Fault]:
    yield from matcher_faults(device)
    yield from option_faults(device)
    for index, member in enumerate(device.group or ()):
        yield from (fault.below("group", index) for fault in matcher_faults(member))
        if member.container_path is not None:
            for fault in container_path_faults(member.container_path):
                yield fault.below("group", index, "container_path")
    yield from _twin_faults(device.group or ())
    if device.id is not None:
        if not device.group and (device.path is None or is_glob(device.path)):
            yield Fault(
                ("id",), "this goes with a path without wildcards, or a group: others may be several; remove it"
            )
        if "::" in device.id:
            yield Fault(
                ("id",), f"{quoted(device.id)} holds `::`, which sets shares of a device apart; write `:` or `-`"
            )
    kind = "sysfs" if device.id_by == "parent" else "usb"
    if device.id_by is not None and getattr(device, kind) is None:
        yield Fault(("id_by",), f"`{device.id_by}` goes with `{kind}` alone; remove it")


def _twin_faults(group: tuple[Member, ...]) -> Iterator[Fault]:
    """Yield the members that are there already: a node is in a device once."""
    taken: dict[str, int] = {}
    for index, member in enumerate(group):
        if member.path is None:
            continue
        other = taken.setdefault(os.path.normpath(member.path), index)
        if other != index:
            message = (
                f"{quoted(member.path)} is the path of group[{other}] as well, and is in the device once; remove it"
            )
            yield Fault(("group", index, "path"), message)


def _owner_faults(resource: Resource) -> Iterator[Fault]:
    if resource.inject != "device-spec":
        return
    for keys, options in ((), resource), *((("devices", index), each) for index, each in enumerate(resource.devices)):
        for field in _BY_CDI_ALONE:
            if getattr(options, field) is not None:
                what = "this is given by CDI, and `inject: device-spec` does without"
                yield Fault((*keys, field), f"{what}; write `inject: both` or `cdi`, or remove it")


def _topology_faults(resource: Resource) -> Iterator[Fault]:
    nodes = [resource.numa if device.numa is None else device.numa for device in resource.devices]
    fixed = next((index for index, node in enumerate(nodes) if isinstance(node, int)), None)
    without = next((index for index, node in enumerate(nodes) if node == "none"), None)
    if fixed is not None and without is not None:
        index, other = max(fixed, without), min(fixed, without)
        what = f"this says {_numa(nodes[index])}, and devices[{other}] says {_numa(nodes[other])}"
        remedy = "a kubelet needs all devices of a resource with a NUMA node, or all without; make two resources of it"
        yield Fault(("devices", index, "numa"), f"{what}; {remedy}")
    elif without is not None and resource.preferred == "numa":
        yield Fault(("preferred",), f"devices[{without}] has no NUMA node to prefer; write `numa: auto`, or `packed`")


def _numa(node: Literal["auto", "none"] | int | None) -> str:
    return f"`numa: {node}`"


def _container_path_faults(resource: Resource) -> Iterator[Fault]:
    """Yield where two nodes of one device would be at one path; those of two devices may be, of which a pod has one."""
    told: set[Keys] = set()
    for index, device in enumerate(resource.devices):
        keys: Keys = ("devices", index)
        taken: set[str] = set()
        for own_keys, part in _parts(device, keys):
            written = ((own_keys, part.container_path), (keys, device.container_path), ((), resource.container_path))
            holder, wanted = next(((at, path) for at, path in written if path is not None), (own_keys, ""))
            place = _place(part, wanted)
            if place in taken or (place and has_several_nodes(part)):
                fault_keys = (*holder, "container_path") if wanted else own_keys
                if fault_keys not in told:
                    choice = "choose one by `nodes`" if has_several_nodes(part) else "write another"
                    remedy = f"{choice}, or a directory of the nodes' own names, which ends in `/`"
                    yield Fault(
                        fault_keys, f"{quoted(place)} is one path, and this device has several nodes there; {remedy}"
                    )
                told.add(fault_keys)
            taken |= {place} - {""}


def _parts(device: Device, keys: Keys) -> Iterator[tuple[Keys, Matcher]]:
    if not device.group:
        yield keys, device
    for number, member in enumerate(device.group or ()):
        yield (*keys, "group", number), member


def _place(part: Matcher, wanted: str) -> str:
    """Where the node of a part is in the container; empty where that depends on what matches."""
    if wanted and not wanted.endswith("/"):
        return os.path.normpath(wanted)
    if part.path is None or is_glob(part.path):
        return ""
    return os.path.normpath(wanted + os.path.basename(part.path) if wanted else part.path)


def _mount_faults(resource: Resource) -> Iterator[Fault]:
    """Yield the mounts of entries that are where one of the resource is."""
    taken = {os.path.normpath(mount.container_path or mount.host_path) for mount in resource.mounts}
    for index, device in enumerate(resource.devices):
        for number, mount in enumerate(device.mounts):
            path = mount.container_path or mount.host_path
            if os.path.normpath(path) in taken:
                keys = ("devices", index, "mounts", number)
                yield Fault(keys, f"a mount of the whole resource is at {quoted(path)}; mount it elsewhere")


def _id_faults(resource: Resource) -> Iterator[Fault]:
    taken: dict[tuple[str, str], int] = {}
    for index, device in enumerate(resource.devices):
        for kind, text, keys in _fixed_ids(device):
            other = taken.setdefault((kind, text), index)
            if other == index:
                continue
            if kind == "group":
                message = f"this group and devices[{other}] have no `id` of their own; write one for each"
            else:
                message = f"{quoted(text)} is the {kind} of devices[{other}] as well; write another"
            yield Fault(("devices", index, *keys), message)


def _fixed_ids(device: Device) -> Iterator[tuple[str, str, Keys]]:
    """Yield what makes the id of a device whose id is known beforehand."""
    if device.id is not None:
        yield "id", device.id, ("id",)
    elif device.group:
        yield "group", "", ()
    if device.path is not None and not device.group:
        yield "path", os.path.normpath(device.path), ("path",)


def _size_faults(resource: Resource) -> Iterator[Fault]:
    """Yield whether the list of the devices that are always listed is too long for one message."""
    shares = [*_fixed_shares(resource)]
    total = sum(count for _, count, _ in shares)
    if total <= _FEW_SHARES:
        return
    keys = max(shares, key=lambda share: share[1])[2]
    if total > _MANY_SHARES:
        yield Fault(
            keys, f"{total} devices are more than a kubelet takes in one message; offer fewer, by a lower `count`"
        )
        return
    from kubelet_plugin.runtime import check_size  # noqa: PLC0415 -- heavy, and of use only here

    every = (f"{device_id}::{share}" for device_id, count, _ in shares for share in range(count))
    try:
        check_size(resource.name or "", every)
    except ListTooLargeError as error:
        yield Fault(keys, str(error))


def _fixed_shares(resource: Resource) -> Iterator[tuple[str, int, Keys]]:
    """Yield the devices that are always listed: about what their id is, how many shares, and where that is written."""
    for index, device in enumerate(resource.devices):
        if device.group or (device.path is not None and not is_glob(device.path)):
            device_id = device.id or (device.path or resource.name or "").removeprefix("/dev/")
            keys: Keys = ("count",) if device.count is None else ("devices", index, "count")
            yield device_id, device.count or resource.count or 1, keys
