"""The container that would run, as an OCI runtime configuration (runtime-spec 1.2), composed as containerd composes it.

What bears on devices is as containerd 1.7 writes it, for what kubelets from 1.31 on ask of it. There is no sandbox:
where a container would join its pod's namespaces it has its own, and a host name with them. What comes from elsewhere
is left out: the image's part, processor and memory limits, the cgroup, volumes, and the files that a kubelet mounts.
"""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubelet_plugin import cdi
from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.errors import ContainerStartError
from kubelet_plugin.kubelet import host_devices
from kubelet_plugin.kubelet.cdi_cache import CdiCache
from kubelet_plugin.kubelet.identity import digest
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
_DEFAULT_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
)

CAPABILITIES = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())
"""All capabilities, each at its number."""

_ANNOTATION_PREFIX = "cdi.k8s.io/"
_HOSTNAME_LIMIT = 63
_VARIABLE = re.compile(r"\$(?:\$|\(([^)]*)\))")

# All configurations share what they have in common: a thousand of them are held in memory.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]
_DENY_ALL = {"allow": False, "access": "rwm"}
_ALLOW_ALL = {"allow": True, "access": "rwm"}
_MASKED_PATHS = [
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
]
_READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def _mount(destination: str, kind: str, source: str, options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options.split()}


def _default_mounts(access: str) -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc", "proc", "nosuid noexec nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),  # noqa: S108
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        _mount("/sys", "sysfs", "sysfs", f"nosuid noexec nodev {access}"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", f"nosuid noexec nodev relatime {access}"),
    ]


def _sets(capabilities: list[str]) -> dict[str, list[str]]:
    return dict.fromkeys(("bounding", "effective", "permitted"), capabilities)


_MOUNTS, _PRIVILEGED_MOUNTS = _default_mounts("ro"), _default_mounts("rw")
_DEFAULT_SETS = _sets([f"CAP_{name}" for name in _DEFAULT_CAPABILITIES.split()])
_PRIVILEGED_SETS = _sets([*CAPABILITIES])


def container_config(
    pod: Pod,
    container: Container,
    options: RunContainerOptions,
    *,
    cdi_cache: CdiCache | None,
    host_root: str = "/",
    rootfs: str = "rootfs",
) -> dict[str, Any]:
    """Compose the configuration of a container; equal arguments on an unchanged host give an equal one.

    Configurations share parts: whoever wants to change one copies it before.

    Args:
        pod: The container's pod.
        container: The container.
        options: What it gets for its devices.
        cdi_cache: The CDI specs. None: as a runtime with CDI off, which ignores all names in silence.
        host_root: Where the host's `/` is, for its device nodes.
        rootfs: The container's root file system; relative: in the bundle's directory.

    Raises:
        ContainerStartError: A device node of the host is not there, or a CDI name is not resolved.
    """
    hostname = _hostname(pod)
    try:
        mounts = _with_mounts(_PRIVILEGED_MOUNTS if container.privileged else _MOUNTS, options.mounts, host_root)
        linux = _linux(container, options.devices, host_root)
    except OSError as error:
        what = f'failed to generate container "{_container_id(pod, container)}" spec: failed to generate spec'
        raise ContainerStartError("CreateContainerError", f"{what}: {_words(error)}") from error
    config = {
        "ociVersion": "1.2.0",
        "process": _process(container, options, hostname),
        "root": {"path": rootfs},
        "hostname": hostname,
        "mounts": mounts,
        "annotations": _annotations(pod, container),
        "linux": linux,
    }
    return config if cdi_cache is None else _with_cdi_devices(config, options, cdi_cache, host_root)


# The process.


def _process(container: Container, options: RunContainerOptions, hostname: str) -> dict[str, Any]:
    own: dict[str, str] = {}
    for name, value in container.env:
        own[name] = _expand(value, own)
    known = {**options.envs, **own}
    uid, gid = container.user or 0, container.group or 0
    return {
        "user": {"uid": uid, "gid": gid, "additionalGids": sorted({gid, *container.supplemental_groups})},
        "args": [_expand(each, known) for each in (*container.command, *container.args)],
        "env": _env({"PATH": _PATH, "HOSTNAME": hostname}, [*options.envs.items(), *own.items()]),
        "cwd": container.working_dir or "/",
        "capabilities": _PRIVILEGED_SETS if container.privileged else _DEFAULT_SETS,
    }


def _expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`, where the name is known, and `$$` by `$`, as kubelets do."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return _VARIABLE.sub(replacement, text)


def _env(default: dict[str, str], given: Iterable[tuple[str, str]]) -> list[str]:
    """What is given takes the place of a default; where it names a variable twice both stay, and the later counts."""
    replaced = default | {name: value for name, value in given if name in default}
    return [
        f"{name}={value}" for name, value in (*replaced.items(), *(each for each in given if each[0] not in default))
    ]


def _hostname(pod: Pod) -> str:
    spec = pod.document.get("spec") or {}
    return spec.get("hostname") or pod.name[:_HOSTNAME_LIMIT].rstrip("-.")


# What the process finds.


def _with_mounts(
    default: list[dict[str, Any]], mounts: Iterable[v1beta1.Mount], host_root: str
) -> list[dict[str, Any]]:
    """Add the plugins' mounts, those first that others may lie in; defaults at the same place go."""
    added = sorted(
        (_bind(mount, host_root) for mount in mounts), key=lambda each: _clean(each["destination"]).count("/")
    )
    if not added:
        return default
    taken = {_clean(each["destination"]) for each in added}
    kept = (
        each
        for each in default
        if each["destination"] not in taken and not ("/dev" in taken and each["destination"].startswith("/dev/"))
    )
    return [*kept, *added]


def _bind(mount: v1beta1.Mount, host_root: str) -> dict[str, Any]:
    source = mount.host_path
    try:
        source = host_devices.look_up(source, host_root).path
    except FileNotFoundError:
        pass  # containerd makes a directory
    except OSError as error:
        raise OSError(error.errno, f'failed to stat "{source}": stat {source}: {_reason(error)}') from error
    return _mount(mount.container_path, "bind", source, f"rbind rprivate {'ro' if mount.read_only else 'rw'}")


def _clean(path: str) -> str:
    return re.sub("^//+", "/", posixpath.normpath(path))


def _linux(container: Container, specs: Iterable[v1beta1.DeviceSpec], host_root: str) -> dict[str, Any]:
    devices, rules = [], [_DENY_ALL]
    for spec in specs:
        found = host_devices.oci_devices(spec.host_path, spec.container_path, host_root)
        devices += found
        rules += [host_devices.rule(device, spec.permissions) for device in found]
    if container.privileged:
        devices += host_devices.oci_devices("/dev", "", host_root)
        rules = [_ALLOW_ALL]
    linux: dict[str, Any] = {"resources": {"devices": rules}, "namespaces": _NAMESPACES}
    if devices:
        linux["devices"] = devices
    if not container.privileged:
        linux |= {"maskedPaths": _MASKED_PATHS, "readonlyPaths": _READONLY_PATHS}
    return linux


def _annotations(pod: Pod, container: Container) -> dict[str, str]:
    """What containerd says of a container; it hands on no annotation of a plugin or a pod unless configured to."""
    return {
        "io.kubernetes.cri.container-name": container.name,
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.image-name": container.image,
        "io.kubernetes.cri.sandbox-name": pod.name,
        "io.kubernetes.cri.sandbox-namespace": pod.namespace,
        "io.kubernetes.cri.sandbox-uid": pod.uid,
    }


# CDI.


def _with_cdi_devices(
    config: dict[str, Any], options: RunContainerOptions, cdi_cache: CdiCache, host_root: str
) -> dict[str, Any]:
    names = dict.fromkeys((*options.cdi_devices, *_annotated_devices(options.annotations)))
    try:
        return cdi_cache.registry().inject(config, *names, host_root=host_root) if names else config
    except cdi.Error as error:
        raise _cdi_failure(f"CDI device injection failed: {error}") from error


def _annotated_devices(annotations: Mapping[str, str]) -> Iterator[str]:
    for key, value in annotations.items():
        for name in value.split(",") if key.startswith(_ANNOTATION_PREFIX) else ():
            try:
                cdi.parse_qualified_name(name)
            except cdi.Error as error:
                shown = json.dumps(name, ensure_ascii=False)
                what = f"failed to parse CDI device annotations: invalid CDI device name {shown}"
                raise _cdi_failure(what) from error
            yield name


def _cdi_failure(what: str) -> ContainerStartError:
    return ContainerStartError("CreateContainerError", f"failed to create containerd container: {what}")


# Words.


def _container_id(pod: Pod, container: Container) -> str:
    """What stands for the random id that containerd gives a container."""
    return digest(f"{pod.uid}/{container.name}", 64)


def _words(error: OSError) -> str:
    """What containerd says of a path that it cannot use."""
    return f"lstat {error.filename}: {_reason(error)}" if error.filename is not None else str(error.strerror)


def _reason(error: OSError) -> str:
    """An error of the system in Go's words."""
    reason = str(error.strerror)
    return reason[0].lower() + reason[1:]
