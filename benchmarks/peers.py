"""Whom we measure, and how each is run: in a directory of its own, behind a gate that is opened to start it."""

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Protocol

FETCH = Path(__file__).parent.parent / "node" / "fetch.sh"
COMPONENT = "sample-device-plugin"
_KVM = os.makedev(10, 232)


class PeerFailedError(Exception):
    """A peer did not start, or ended when it should not; the message holds what it wrote."""


class Place:
    """The directories of one process.

    Args:
        root: Where they are made; it exists and is empty.
        cdi: Where its CDI spec goes: a tmpfs where there is one, as `/var/run/cdi` is on a node.
    """

    def __init__(self, root: Path, cdi: Path) -> None:
        self.cdi = cdi
        self.plugins, self.private, self.host, self.stage = (
            root / name for name in ("plugins", "private", "host", "stage")
        )
        for directory in (self.plugins, self.private, self.host / "dev", self.stage):
            directory.mkdir(parents=True)
        self.log = root / "log"

    @property
    def node(self) -> Path:
        """Where the plugin under test sees /dev/kvm."""
        return self.host / "dev" / "kvm"

    def plug(self) -> None:
        """Make that node; without root, which making nodes takes, as a link to the host's own."""
        try:
            os.mknod(self.node, stat.S_IFCHR | 0o666, _KVM)
        except PermissionError:
            self.node.symlink_to(os.path.relpath("/dev/kvm", self.node.parent))

    def unplug(self) -> None:
        """Remove that node."""
        self.node.unlink()


class Peer(Protocol):
    """A plugin that can be measured."""

    @property
    def key(self) -> str:
        """The key of its column."""

    @property
    def pluggable(self) -> bool:
        """Whether its device is `Place.node`."""

    @property
    def reregistration(self) -> float:
        """How many seconds to wait at most for it to register with a new kubelet."""

    def launcher(self) -> Sequence[str]:
        """What runs the shell that becomes the peer."""

    def script(self, place: Place) -> str:
        """What that shell does before the gate; its parameters are then `command`."""

    def command(self, place: Place) -> Sequence[str]:
        """What is started."""


@dataclass(frozen=True, slots=True)
class Ours:
    """`kubelet-plugin run kvm` of the interpreter that runs this.

    Attributes:
        key: The key of its column.
        bytecode: Where compiled modules are kept: an installed package has them, a source tree need not.
        count: How many devices it offers.
    """

    key: str
    bytecode: Path
    count: int = 1
    pluggable: bool = True
    reregistration: float = 15.0

    def launcher(self) -> Sequence[str]:
        return ("env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={self.bytecode}")

    def script(self, place: Place) -> str:
        del place
        return ""

    def command(self, place: Place) -> Sequence[str]:
        options = {"plugin-dir": place.plugins, "cdi-dir": place.cdi, "host-root": place.host, "count": self.count}
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [str(Path(sys.executable).with_name("kubelet-plugin")), "run", "kvm", *arguments]


@dataclass(frozen=True, slots=True)
class GoSample:
    """Upstream's sample plugin, which knows no directory but the kubelet's own: it gets one in a mount namespace.

    Attributes:
        key: The key of its column.
        binary: Where it is.
    """

    key: str
    binary: Path
    pluggable: bool = False
    reregistration: float = 12.0

    def launcher(self) -> Sequence[str]:
        user = () if os.geteuid() == 0 else ("--map-root-user",)
        return ("unshare", "--mount", *user)

    def script(self, place: Place) -> str:
        # One new tree that is bound into place last: TMPDIR or the binary may lie below /tmp or /var/lib.
        del place
        return """
            stage=$1; plugins=$2; binary=$3
            mount -t tmpfs tmpfs "$stage"
            mkdir -p "$stage/kubelet/device-plugins" "$stage/tmp"
            : >"$stage/binary"
            mount --bind "$plugins" "$stage/kubelet/device-plugins"
            mount --bind "$binary" "$stage/binary"
            mount --rbind "$stage" /var/lib
            mount --bind /var/lib/tmp /tmp
            export PLUGIN_SOCK_DIR=/var/lib/kubelet/device-plugins
            set -- /var/lib/binary
        """

    def command(self, place: Place) -> Sequence[str]:
        return [str(place.stage), str(place.plugins), str(self.binary)]


def go_sample(key: str) -> GoSample | str:
    """Find the Go sample plugin; where it cannot be run, say why and what to do."""
    found = subprocess.run(["sh", str(FETCH), "path", COMPONENT], capture_output=True, text=True, check=False)
    binary = Path(found.stdout.strip())
    if found.returncode or not binary.is_file():
        return f"the Go sample plugin is left out: it has not been fetched; run: sh node/fetch.sh {COMPONENT}"
    peer = GoSample(key, binary)
    try:
        tried = subprocess.run([*peer.launcher(), "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "the Go sample plugin is left out: unshare is missing; run: apt-get install util-linux"
    if tried.returncode:
        return (
            "the Go sample plugin is left out: it needs a mount namespace of its own, which needs root here "
            f"({tried.stderr.strip()})"
        )
    return peer


class Process:
    """A peer that is about to start: it waits at the gate.

    Args:
        peer: Which.
        place: Its directories.
    """

    def __init__(self, peer: Peer, place: Place) -> None:
        self._place = place
        self._peer = peer
        script = f'set -e\n{peer.script(place)}\necho ready\nread -r _\nexec "$@" </dev/null >&2'
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBELET_PLUGIN_")}
        with place.log.open("wb") as log:
            self._popen = subprocess.Popen(
                [*peer.launcher(), "sh", "-c", script, "sh", *peer.command(place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        if self._pipe(self._popen.stdout).readline() != b"ready\n":
            self._popen.wait()
            raise self.failure("could not be prepared")

    @property
    def pid(self) -> int:
        """Its process id; the shell at the gate becomes the peer."""
        return self._popen.pid

    def start(self) -> float:
        """Open the gate; return when that was, by `perf_counter`."""
        pipe = self._pipe(self._popen.stdin)
        at = perf_counter()
        pipe.write(b"\n")
        pipe.flush()
        return at

    def check(self) -> None:
        """Raise PeerFailedError if it has ended."""
        if self._popen.poll() is not None:
            raise self.failure(f"ended with status {self._popen.returncode}")

    def failure(self, what: str) -> PeerFailedError:
        """Make the error that says what happened and what the peer wrote last."""
        written = self._place.log.read_text(errors="replace").strip().splitlines()[-30:]
        lines = "\n".join(f"  {line}" for line in written) or "  (it wrote nothing)"
        command = " ".join(self._peer.command(self._place))
        return PeerFailedError(f"{self._peer.key} {what}\n  $ {command}\n{lines}")

    def unhealthy_reason(self) -> str:
        """Return the peer's last line about an Unhealthy device, or nothing."""
        lines = self._place.log.read_text(errors="replace").splitlines()
        said = next((line.partition("Unhealthy: ")[2] for line in reversed(lines) if "Unhealthy: " in line), "")
        return said.partition(" resource=")[0].replace(str(self._place.host), "")

    def stop(self) -> None:
        """End it."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            self._pipe(pipe).close()
        self._popen.terminate()
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe
        return pipe
