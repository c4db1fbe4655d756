"""Resources that need no file: devices that many want, with what each needs and no more."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import structs

from kubelet_plugin.config.schema import Device, Member, Resource, Sysfs
from kubelet_plugin.errors import ConfigurationError

# Nodes that the kernel gives to any number of processes are there for every pod: a kubelet runs so many, if it is not
# told otherwise. What it gives to one at a time, or does not divide fairly, has one share.
_PODS: Final = 110

_PRESETS: Final = (
    Resource(name="kvm", probe="kvm", devices=(Device(path="/dev/kvm", id="kvm0"),)),
    Resource(name="fuse", count=_PODS, devices=(Device(path="/dev/fuse"),)),
    Resource(name="tun", count=_PODS, devices=(Device(path="/dev/net/tun", id="tun"),)),
    Resource(name="vhost-net", count=_PODS, devices=(Device(path="/dev/vhost-net"),)),
    Resource(name="vhost-vsock", count=_PODS, devices=(Device(path="/dev/vhost-vsock"),)),
    # Behind tpm0 there is no resource manager: one process that leaves its objects there stops all others.
    Resource(name="tpm", count=_PODS, devices=(Device(path="/dev/tpmrm0"),)),
    Resource(name="serial", devices=(Device(path="/dev/serial/by-id/*"),)),
    # Index 0 is where a camera's pictures come from; the others are its metadata.
    Resource(name="video", additional_gids="auto", devices=(Device(path="/dev/v4l/by-id/*-video-index0"),)),
    # All in one: the timer, by which ALSA mixes, is no card's.
    Resource(name="sound", devices=(Device(group=(Member(path="/dev/snd/*"),)),)),
    # Who may write can type on the node's behalf; LEDs and force feedback need it, reading does not.
    Resource(name="input", permissions="r", devices=(Device(path="/dev/input/by-id/*-event-*"),)),
    Resource(name="rtc", permissions="r", devices=(Device(path="/dev/rtc[0-9]*"),)),
    # Without loop-control, which makes and removes loop devices of the whole node. Partitions have no `ext_range`.
    Resource(
        name="loop",
        devices=(Device(sysfs=Sysfs(subsystem="block", name="loop*", attributes={"ext_range": "*"})),),
    ),
    # Without card*, which sets the modes of screens. The numbers are as the kernel finds the cards; their places stay.
    Resource(
        name="dri",
        additional_gids="auto",
        devices=(Device(sysfs=Sysfs(subsystem="drm", name="renderD*"), id_by="parent"),),
    ),
    # Without umad* and issm*, which manage the fabric.
    Resource(
        name="rdma",
        count=_PODS,
        devices=(
            Device(
                group=(Member(path="/dev/infiniband/uverbs*"), Member(path="/dev/infiniband/rdma_cm", optional=True))
            ),
        ),
    ),
)

PRESETS: Final[Mapping[str, Resource]] = MappingProxyType({each.name: each for each in _PRESETS if each.name})
"""The presets by name; each is named so, without a domain."""


def preset(name: str, domain: str) -> Resource:
    """Return the resource of a preset.

    Args:
        name: The preset's name.
        domain: The domain of the resource's name.

    Raises:
        ConfigurationError: There is no such preset.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"there is no preset {name!r}; there are {', '.join(sorted(PRESETS))}")
    return structs.replace(PRESETS[name], name=f"{domain}/{name}")
