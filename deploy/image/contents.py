"""What the image has that is in no package: the command, two users, and empty directories for mounts."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from deploy.image import deb
from deploy.image.tree import DEBIAN, OURS, Entry
from deploy.image.wheels import normalized

_FILES = Path(__file__).with_name("files")
_NAME = "kubelet-plugin"
_MOUNT_POINTS = (
    "dev", "proc", "sys", "tmp", "host", "etc/cdi", "run/cdi", "var/run/cdi",
    "var/lib/kubelet/device-plugins", "var/lib/kubelet/pod-resources",
)  # fmt: skip


def ours(*, debug: bool) -> Iterator[Entry]:
    """The files and directories that this project adds."""
    command = _FILES / (f"{_NAME}.debug" if debug else _NAME)
    yield Entry(f"usr/bin/{_NAME}", _NAME, OURS, command.read_bytes(), executable=True)
    for name in ("passwd", "group"):
        yield Entry(f"etc/{name}", _NAME, OURS, (_FILES / name).read_bytes())
    yield from (Entry(path, _NAME, OURS) for path in _MOUNT_POINTS)


def shell(applets: Iterable[str]) -> Iterator[Entry]:
    """The names that busybox is called by."""
    for name in applets:
        if name != "busybox":
            yield Entry(f"bin/{name}", "busybox-static", OURS, target="busybox")


def statuses(debs: Mapping[str, bytes]) -> Iterator[Entry]:
    """What scanners of images read to know the Debian packages: dpkg's record, one file for each."""
    for package, data in sorted(debs.items()):
        stanza = deb.control(data).rstrip() + "\nStatus: install ok installed\n"
        yield Entry(f"var/lib/dpkg/status.d/{package}", package, DEBIAN, stanza.encode())


def boms(boms: Mapping[str, bytes]) -> Iterator[Entry]:
    """The bills of materials, by the ends of their names."""
    for suffix, data in boms.items():
        yield Entry(f"usr/share/sbom/{normalized(_NAME)}.{suffix}", _NAME, OURS, data)
