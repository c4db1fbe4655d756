"""One peer that runs, with the kubelet it talks to."""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import procfs
from benchmarks.kubelet import Kubelet, Listed, NothingHappenedError, Registered, allocate_request
from benchmarks.peers import Peer, Place, Process

_START_TIMEOUT = 30.0
_LOOK = 0.5  # seconds between two looks whether a process that has not registered still runs
_TMPFS = "/dev/shm"


@dataclass(frozen=True, slots=True)
class Start:
    """How one start went, in seconds.

    Attributes:
        to_register: From the start to Register.
        to_list: From the start to the first list.
        stream_to_list: From the opening of the stream to the first list.
    """

    to_register: float
    to_list: float
    stream_to_list: float


class Subject:
    """A peer that has registered and sent its first list.

    Attributes:
        peer: Which.
        place: Its directories.
        kubelet: Its kubelet.
        process: Its process.
        registered: Its latest registration.
        listed: Its latest list, as far as it was read.
        start: How its start went.
    """

    def __init__(self, peer: Peer, place: Place, kubelet: Kubelet, process: Process) -> None:
        self.peer = peer
        self.place = place
        self.kubelet = kubelet
        self.process = process
        started_at = process.start()
        try:
            self.registered = self._first_registration(started_at)
            self.listed = self.registered.stream.next(_START_TIMEOUT)
        except NothingHappenedError as error:
            raise process.failure(f"did not start: {error}") from None
        self.start = Start(
            self.registered.at - started_at,
            self.listed.at - started_at,
            self.listed.at - self.registered.stream.opened_at,
        )
        self._requests: Iterator[bytes] | None = None

    def _first_registration(self, started_at: float) -> Registered:
        """Wait for Register, or for the process to end."""
        while True:
            with contextlib.suppress(NothingHappenedError):
                return self.kubelet.registered(_LOOK)
            self.process.check()
            if perf_counter() - started_at > _START_TIMEOUT:
                raise NothingHappenedError(f"no registration within {_START_TIMEOUT:g} s")

    @property
    def unusable(self) -> str:
        """Why its devices cannot be handed out; empty where they can."""
        if self.listed.all_are("Healthy"):
            return ""
        reason = self.process.unhealthy_reason() or "not all its devices are Healthy"
        return f"{self.peer.key} has no device to hand out: {reason}"

    def allocate(self, calls: int) -> list[float]:
        """Ask for one device after the other; return how long each call took, in seconds."""
        if self._requests is None:
            self._requests = itertools.cycle([allocate_request(device) for device in self.listed.health])
        return self.registered.allocate(self._requests, calls)

    def wait_for(self, health: str) -> float:
        """Wait until all devices are in that state; return when that was, by `perf_counter`."""
        self.listed = self.registered.stream.until(lambda listed: listed.all_are(health))
        return self.listed.at

    def adopt(self, registered: Registered, listed: Listed) -> None:
        """Go on with a new registration and its first list."""
        self.registered = registered
        self.listed = listed

    def memory(self) -> procfs.Memory:
        return procfs.memory(self.process.pid)

    def threads(self) -> int:
        return procfs.threads(self.process.pid)

    def wakeups(self) -> dict[int, int]:
        return procfs.wakeups(self.process.pid)


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[Subject]:
    """Start a peer in directories of its own, with a device where it has one; in the end all of it is gone.

    Raises:
        PeerFailedError: It ended, or did not register and send a list in time.
    """
    tmpfs = _TMPFS if os.access(_TMPFS, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as root,
        tempfile.TemporaryDirectory(prefix="bench-", dir=tmpfs) as cdi,
    ):
        place = Place(Path(root), Path(cdi))
        if peer.pluggable:
            place.plug()
        kubelet = Kubelet(str(place.plugins), str(place.private))
        process = Process(peer, place)
        try:
            kubelet.start()
            yield Subject(peer, place, kubelet, process)
        finally:
            kubelet.stop()
            process.stop()
