"""What a configuration file may say, field by field. The JSON Schema and the reference page are made from this module.

Scalars are taken as the field's type, as they are written: `serial: 0042` is the text `0042`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from kubelet_plugin.config.scalars import Duration, FileMode, HexId

VERSION = "v1"

Inject = Literal["both", "cdi", "device-spec", "cdi-annotation"]
Preferred = Literal["packed", "spread", "numa"]
Count = Annotated[int, Meta(ge=1, le=100_000)]
OwnerId = Annotated[int, Meta(ge=0, le=4_294_967_294)]
AbsolutePath = Annotated[str, Meta(pattern="^/", description="an absolute path")]
# What ends a text in Python's regular expressions and in JSON Schema's alike; `$` would let a line's end pass.
Permissions = Annotated[
    str, Meta(pattern=r"^(?!.*(.).*\1)[rwm]{1,3}(?![\s\S])", description="one or more of `r`, `w` and `m`, each once")
]
DeviceId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?(?![\s\S])",
        description="letters, digits, `_`, `.`, `:` and `-`, with a letter or digit at both ends",
    ),
]
OneOrMore = Annotated[str, Meta(min_length=1)] | Annotated[tuple[str, ...], Meta(min_length=1)]


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A mapping of the file: a field it does not know is an error."""


class Usb(Part, frozen=True):
    """A USB device, by what it says of itself.

    Attributes:
        vendor: The vendor's id, four hexadecimal digits (`idVendor`).
        product: The product's id, four hexadecimal digits (`idProduct`).
        serial: The serial number, where one device of several is meant; may hold `*`, `?` and `[...]`.
    """

    vendor: HexId
    product: HexId
    serial: str | None = None


class Pci(Part, frozen=True):
    """A PCI function, by what it says of itself.

    Attributes:
        vendor: The vendor's id, four hexadecimal digits.
        device: The device's id, four hexadecimal digits.
        class: The class code, its first two, four or all six hexadecimal digits, as `0300` for VGA controllers.
    """

    vendor: HexId
    device: HexId | None = None
    class_: HexId | None = field(name="class", default=None)


class SysfsParent(Part, frozen=True):
    """One ancestor of a device in sysfs.

    Attributes:
        subsystem: Its subsystem, as `usb`; any, if not given.
        driver: The driver bound to it; any, if not given.
        attributes: Files in its directory and what they must say; values may hold `*`, `?` and `[...]`.
        properties: Its properties, from its `uevent` file and udev's database; values as those of `attributes`.
    """

    subsystem: str | None = None
    driver: str | None = None
    attributes: dict[str, str] = {}
    properties: dict[str, str] = {}


class Sysfs(SysfsParent, frozen=True):
    """Devices of one subsystem in sysfs, as udev's rules match them.

    Attributes:
        subsystem: The subsystem, as `tty`, `video4linux` or `hidraw`: a directory of `/sys/class` or `/sys/bus`.
        name: The kernel's name of the device; may hold `*`, `?` and `[...]`.
        parents: For each entry, some ancestor of the device must fit it.
    """

    subsystem: str
    name: str | None = None
    parents: tuple[SysfsParent, ...] = ()


class Probe(Part, frozen=True):
    """A probe of one's own; exactly one of `command` and `entry_point` is given.

    Attributes:
        command: A program and its arguments; exit code 0 means that the device works, else the last line it wrote is
            the reason. `{path}` stands for the node's path.
        entry_point: A Python function, `package.module:function`, called with the node's path. It returns None or an
            empty text where the device works, else the reason.
        deadline: How long it may take; 1 s, if not given.
    """

    command: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    entry_point: str | None = None
    deadline: Duration | None = None


class Mount(Part, frozen=True):
    """A path of the host that the container sees as well.

    Attributes:
        host_path: The path on the host.
        container_path: The path in the container; the same, if not given.
        read_only: Whether the container may only read it; `true`, if not given.
    """

    host_path: AbsolutePath
    container_path: AbsolutePath | None = None
    read_only: bool = True


class EnabledWhen(Part, frozen=True):
    """When something is offered at all; of several fields, all must hold.

    Attributes:
        module: A kernel module that is loaded or built in; of several, one of them.
        path: A path that exists on the host; of several, one of them.
    """

    module: OneOrMore | None = None
    path: OneOrMore | None = None


class DeviceOptions(Part, frozen=True):
    """What can be said of a whole resource, and of one entry of its `devices`, where it goes before.

    `env`, `annotations` and `mounts` of both are joined.

    Attributes:
        count: How many containers may have each device at once; 1, if not given.
        permissions: What a container's device cgroup allows; `rw`, if not given.
        container_path: Where the node is in the container: a name, or a directory when it ends in `/`; as on the host,
            if not given. Where several devices go to one name, a container can have but one of them.
        uid: The node's owner in the container, by CDI; the container's own user, if not given.
        gid: The node's group in the container, by CDI; the container's own group, if not given.
        file_mode: The node's mode in the container, by CDI, as `0660`; that of the host, if not given.
        env: Variables of the container. `{id}`, `{path}`, `{container_path}` and the device's properties, as
            `{ID_SERIAL}`, are filled in; what a device has no value for is empty.
        mounts: Paths of the host that the container sees as well.
        annotations: Annotations of the container, as the runtime sees them; filled in as `env` is.
        additional_gids: Groups the container's process joins, by CDI; `auto`: those of the nodes on the host.
        probe: How to find out whether a device works: `exists`: its node is there (if not given); `open`: it can be
            opened; `kvm`: KVM answers; or one's own.
        grace: For how long a device that is gone stays listed, as Unhealthy; 5 minutes, if not given.
        numa: The NUMA node: `auto`: as sysfs says (if not given); `none`; or its number. A resource cannot have both
            devices with a number and devices with `none`.
        enabled_when: When it is offered at all.
    """

    count: Count | None = None
    permissions: Permissions | None = None
    container_path: AbsolutePath | None = None
    uid: OwnerId | None = None
    gid: OwnerId | None = None
    file_mode: FileMode | None = None
    env: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    annotations: dict[str, str] = {}
    additional_gids: Literal["auto"] | tuple[OwnerId, ...] | None = None
    probe: Literal["exists", "open", "kvm"] | Probe | None = None
    grace: Duration | None = None
    numa: Literal["auto", "none"] | Annotated[int, Meta(ge=0)] | None = None
    enabled_when: EnabledWhen | None = None


class Member(Part, frozen=True):
    """One part of a device that is made of several; exactly one of `path`, `usb`, `pci` and `sysfs` is given.

    Attributes:
        path: A path or a glob on the host; of what fits a glob, device nodes count. What a symbolic link leads to is
            followed at all times.
        usb: A USB device.
        pci: A PCI function.
        sysfs: Devices of a subsystem.
        nodes: With `usb`, `pci` and `sysfs`: which of the matched device's nodes are meant, as globs below `/dev`, such
            as `ttyUSB*` or `snd/*`; each must fit one at least. All of them, if not given.
        optional: Whether the device works without it; `false`, if not given. A device has one node at least.
        permissions: As those of the device.
        container_path: As that of the device.
    """

    path: AbsolutePath | None = None
    usb: Usb | None = None
    pci: Pci | None = None
    sysfs: Sysfs | None = None
    nodes: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    optional: bool = False
    permissions: Permissions | None = None
    container_path: AbsolutePath | None = None


class Device(DeviceOptions, frozen=True):
    """One device of a resource, or as many as match; exactly one of `path`, `usb`, `pci`, `sysfs` and `group` is given.

    Attributes:
        path: A path or a glob on the host; of what fits a glob, device nodes count. What a symbolic link leads to is
            followed at all times.
        usb: A USB device.
        pci: A PCI function.
        sysfs: Devices of a subsystem.
        nodes: With `usb`, `pci` and `sysfs`: which of the matched device's nodes are meant, as globs below `/dev`, such
            as `ttyUSB*` or `snd/*`; each must fit one at least. All of them, if not given.
        id: The device's id, where just one is meant: a path without wildcards, or a group. Made of the path, if not
            given; a group's of the resource's name.
        id_by: What the id is made of. Of a USB device: its `serial` number, or the `port` it is plugged into; the
            serial number where it has one, if not given. With `sysfs`: `parent`, the PCI function, USB device or
            platform device that it is part of, whose name stays; the kernel's name, if not given.
        group: Several nodes that make one device together.
    """

    # The first five are those of `Member`: a Struct cannot have two bases with fields.
    path: AbsolutePath | None = None
    usb: Usb | None = None
    pci: Pci | None = None
    sysfs: Sysfs | None = None
    nodes: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    id: DeviceId | None = None
    id_by: Literal["serial", "port", "parent"] | None = None
    group: Annotated[tuple[Member, ...], Meta(min_length=1)] | None = None


class Resource(DeviceOptions, frozen=True):
    """What pods ask for by one name.

    Attributes:
        name: The name, `vendor.example/thing`; without a domain it gets that of the file or of `--domain`.
        preset: A preset that says all that is not said here; then `name` and `devices` may be left out.
        devices: The devices.
        cdi_kind: The kind of its CDI spec; made from the name, if not given.
        preferred: Which devices to suggest where several are asked for: `packed`: shares of as few devices as can be;
            `spread`: of as many; `numa`: from as few NUMA nodes as can be. None is suggested, if not given.
        inject: How containers are told of devices; as `--inject` says, if not given.
        max_flips: A device that changes its health more often than this within a minute stays Unhealthy until it is
            quiet for one; 0 never holds it back. 6, if not given.
    """

    name: Annotated[str, Meta(min_length=1)] | None = None
    preset: str | None = None
    devices: tuple[Device, ...] = ()
    cdi_kind: str | None = None
    preferred: Preferred | None = None
    inject: Inject | None = None
    max_flips: Annotated[int, Meta(ge=0)] | None = None


class Configuration(Part, frozen=True):
    """A configuration file.

    Attributes:
        version: `v1`.
        domain: The domain of resource names that have none; that of `--domain`, if not given.
        resources: The resources.
    """

    version: Literal["v1"]
    domain: str | None = None
    resources: tuple[Resource, ...] = ()
