"""What a container is given: the CDI `containerEdits` and their parts, as data (CDI SPEC.md, "OCI Edits")."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node that is made in the container.

    Attributes:
        path: Where it appears in the container, absolute.
        host_path: The node on the host, absolute, no symlink; empty: the same as `path`. Needs CDI 0.5.
        type: `c`, `b`, `u` or `p`; empty: as on the host.
        major: Device number; None: as on the host.
        minor: Device number; None: as on the host.
        file_mode: Permission bits, such as 0o660. None: 0666 or the host's, depending on the runtime, so give one.
        permissions: What the device cgroup allows, of `r`, `w` and `m`; empty: all three.
        uid: Owner in the container; None: the container's own user.
        gid: Group in the container; None: the container's own group.
    """

    path: str
    _: KW_ONLY
    host_path: str = ""
    type: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount that is made in the container.

    Attributes:
        host_path: The source.
        container_path: The target, absolute.
        options: Mount options, such as `ro` and `bind`.
        type: File system type, such as `bind` or `tmpfs`. Needs CDI 0.4.
    """

    host_path: str
    container_path: str
    _: KW_ONLY
    options: tuple[str, ...] = ()
    type: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """A command that the runtime runs at a point of the container's life.

    Attributes:
        hook_name: `prestart`, `createRuntime`, `createContainer`, `startContainer`, `poststart` or `poststop`.
        path: The executable, absolute.
        args: Its argument vector, the name of the program first.
        env: Its environment, entries `NAME=value`.
        timeout: Seconds after which it is aborted, more than 0; None: never.
    """

    hook_name: str
    path: str
    _: KW_ONLY
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelRdt:
    """The class of service of Intel's Resource Director Technology in which the container runs. Needs CDI 0.7.

    Attributes:
        clos_id: Name of the class, a file name below resctrl; `/`: the root class; empty: one of the container's own.
        l3_cache_schema: Allocation of the L3 cache.
        mem_bw_schema: Allocation of the memory bandwidth.
        schemata: Lines of the schemata file, after those of the two schemas. Needs CDI 1.1.
        enable_monitoring: Whether the container gets a monitoring group. Needs CDI 1.1.
        enable_cmt: Whether cache occupancy is monitored. Dropped in CDI 1.1.
        enable_mbm: Whether memory bandwidth is monitored. Dropped in CDI 1.1.
    """

    clos_id: str = ""
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool = False
    enable_cmt: bool = False
    enable_mbm: bool = False


@dataclass(frozen=True, slots=True)
class NetDevice:
    """A network interface that moves from the host into the container. Needs CDI 1.1.

    Attributes:
        host_interface_name: Its name on the host.
        name: Its name in the container.
    """

    host_interface_name: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEdits:
    """Everything that changes in a container which is given a device. Empty edits are false.

    Attributes:
        env: Entries `NAME=value`.
        device_nodes: Device nodes.
        mounts: Mounts.
        hooks: Hooks.
        additional_gids: Supplementary groups of the container's process, none of them 0. Needs CDI 0.7.
        intel_rdt: The class of service; None: as without the device. Needs CDI 0.7.
        net_devices: Network interfaces. Need CDI 1.1.
    """

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    intel_rdt: IntelRdt | None = None
    net_devices: tuple[NetDevice, ...] = ()

    def __bool__(self) -> bool:
        # An `IntelRdt` of defaults is an edit: it gives the container a class of its own.
        return bool(
            self.env
            or self.device_nodes
            or self.mounts
            or self.hooks
            or self.additional_gids
            or self.net_devices
            or self.intel_rdt is not None
        )


def merge(*edits: ContainerEdits) -> ContainerEdits:
    """Join edits in the order given; of equal parts the first stays.

    Parts that are not equal all stay, even where they contradict (one variable with two values): the runtime lets the
    later one win. Of classes of service, a container having but one, only the last stays.
    """
    return ContainerEdits(
        env=_once(entry for each in edits for entry in each.env),
        device_nodes=_once(node for each in edits for node in each.device_nodes),
        mounts=_once(mount for each in edits for mount in each.mounts),
        hooks=_once(hook for each in edits for hook in each.hooks),
        additional_gids=_once(gid for each in edits for gid in each.additional_gids),
        intel_rdt=next((each.intel_rdt for each in reversed(edits) if each.intel_rdt is not None), None),
        net_devices=_once(device for each in edits for device in each.net_devices),
    )


def _once(parts: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(parts))
