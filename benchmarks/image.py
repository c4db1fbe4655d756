"""Measures the daemon inside the image beside the one that is installed here: `python -m benchmarks.image [ARCHIVE]`.

Both serve kvm to one and the same kubelet, in turn. The image is not run by a container runtime but in a mount
namespace and a changed root, so that what is measured is what is in it. It takes root.
"""

import io
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs
from benchmarks.peers import Ours, Peer, PeerFailedError, Place
from benchmarks.subject import running
from deploy.image import oci
from deploy.image.errors import ImageError
from deploy.image.platforms import of_this_machine

_ARCHIVE = Path(__file__).parents[1] / "dist" / "kubelet-plugin-image.tar"
_STARTS = 10
_IDLE = 2.0  # seconds before memory is read


@dataclass(frozen=True, slots=True)
class InImage:
    """`kubelet-plugin run kvm` of the image.

    Attributes:
        key: The key of its column.
        root: Where the image is unpacked.
    """

    key: str
    root: Path
    pluggable: bool = True
    reregistration: float = 15.0

    def launcher(self) -> Sequence[str]:
        return ("unshare", "--mount")

    def script(self, place: Place) -> str:
        binds = {place.plugins: "var/lib/kubelet/device-plugins", place.cdi: "var/run/cdi", place.host: "host"}
        mounts = "\n".join(f'mount --bind "{ours}" "{self.root}/{inside}"' for ours, inside in binds.items())
        return f"{mounts}\nmount -t proc proc {self.root}/proc"

    def command(self, place: Place) -> Sequence[str]:
        del place
        return ["/usr/sbin/chroot", str(self.root), "/usr/bin/kubelet-plugin", "run", "kvm", "--host-root", "/host"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one of them: the median of all starts.

    Attributes:
        registered: From the start to Register, in seconds.
        listed: From the start to the first list, in seconds.
        memory: Idle.
        threads: The most that there were.
    """

    registered: float
    listed: float
    memory: procfs.Memory
    threads: int


def unpack(archive: Path, root: Path) -> None:
    """Put the files of this machine's image into a directory.

    Raises:
        ImageError: There is no such archive.
    """
    image = oci.read(archive)
    name = of_this_machine().name
    (manifest,) = (each for each in image.manifests() if each["platform"]["architecture"] == name)
    for layer in json.loads(image.blob(manifest["digest"]))["layers"]:
        with tarfile.open(fileobj=io.BytesIO(image.blob(layer["digest"]))) as tar:
            tar.extractall(root)
    for directory, _, _ in os.walk(root):
        os.chmod(directory, 0o755)  # else it could not be removed again


def measure(peers: Sequence[Peer]) -> dict[str, Figures]:
    """Start each of them in turn, again and again."""
    samples: dict[str, list[Figures]] = {peer.key: [] for peer in peers}
    for number in range(_STARTS + 1):
        for peer in peers:
            with running(peer) as subject:
                time.sleep(_IDLE)
                start = subject.start
                found = Figures(start.to_register, start.to_list, subject.memory(), subject.threads())
            if number:  # the first start brings files into the cache
                samples[peer.key].append(found)
    return {key: _middle(found) for key, found in samples.items()}


def _middle(samples: Sequence[Figures]) -> Figures:
    return Figures(
        statistics.median(sample.registered for sample in samples),
        statistics.median(sample.listed for sample in samples),
        procfs.Memory(
            statistics.median(sample.memory.rss for sample in samples),
            statistics.median(sample.memory.pss for sample in samples),
        ),
        max(sample.threads for sample in samples),
    )


def table(figures: dict[str, Figures]) -> str:
    """The figures as text."""
    rows = {
        "start to Register, ms": [f"{each.registered * 1e3:.1f}" for each in figures.values()],
        "start to first list, ms": [f"{each.listed * 1e3:.1f}" for each in figures.values()],
        "RSS, idle, MiB": [f"{each.memory.rss:.1f}" for each in figures.values()],
        "threads": [str(each.threads) for each in figures.values()],
    }
    lines = [f"{'':<24}" + "".join(f"{key:>10}" for key in figures)]
    return "\n".join([*lines, *(f"{title:<24}" + "".join(f"{v:>10}" for v in row) for title, row in rows.items())])


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return the exit code."""
    archive = Path(arguments[0]) if arguments else _ARCHIVE
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        root, bytecode = Path(directory, "image"), Path(directory, "bytecode")
        try:
            unpack(archive, root)
            print(table(measure([Ours("here", bytecode), InImage("image", root)])))
        except (ImageError, PeerFailedError) as error:
            print(f"benchmarks.image: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
