"""The measurements, on several peers in turn: what disturbs the machine for a while disturbs all of them."""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.kubelet import NothingHappenedError
from benchmarks.peers import Peer
from benchmarks.procfs import since
from benchmarks.rows import ROWS, Figure, Missing
from benchmarks.subject import Subject, running
from benchmarks.summary import percentile, rate

_CHUNK = 500  # calls to one peer before it is the next one's turn
_SETTLE = 1.0  # after a start, before idleness begins
_CALM = 0.05  # between two changes of a device: each is to be a first one, not one of a burst
_DOWN = 0.2  # how long a kubelet is away

_MILLI, _MICRO = 1e3, 1e6

Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        starts: How often each peer is started.
        idle: For how long it is then left alone, in seconds.
        calls: How many Allocate calls it gets, after a tenth of that to warm up.
        repetitions: How often its device is taken away, and how often its kubelet is restarted.
    """

    starts: int
    idle: float
    calls: int
    repetitions: int


@dataclass(slots=True)
class _Suite:
    peers: Sequence[Peer]
    effort: Effort
    figures: dict[str, Figures] = field(default_factory=dict)

    def starts(self) -> None:
        for peer in self.peers:
            self._say(f"first start of {peer.key}, not measured: files come into the cache")
            with running(peer):
                pass
        starts: dict[str, list[Subject]] = {peer.key: [] for peer in self.peers}
        for number in range(self.effort.starts):
            self._say(f"start {number + 1} of {self.effort.starts}")
            for peer in self.peers:
                with running(peer) as subject:
                    starts[peer.key].append(subject)
        for key, subjects in starts.items():
            times = [subject.start for subject in subjects]
            self._put(key, "start_to_register", [start.to_register for start in times], _MILLI)
            self._put(key, "start_to_list", [start.to_list for start in times], _MILLI)
            self._put(key, "stream_to_list", [start.stream_to_list for start in times], _MILLI)

    def idle(self, subjects: Sequence[Subject]) -> None:
        self._say(f"idle for {self.effort.idle:g} s")
        time.sleep(_SETTLE)
        began = perf_counter()
        before = {subject.peer.key: subject.wakeups() for subject in subjects}
        time.sleep(self.effort.idle)
        for subject in subjects:
            after, elapsed = subject.wakeups(), perf_counter() - began
            figures = self.figures[subject.peer.key]
            figures["wakeups"] = since(before[subject.peer.key], after) / elapsed * 10
            figures["threads"] = float(subject.threads())
            self._memory(subject, "idle")

    def allocates(self, subjects: Sequence[Subject]) -> None:
        self._say(f"{self.effort.calls:,} Allocates")
        durations: dict[str, list[float]] = {}
        for subject in subjects:
            if subject.unusable:
                self._miss(subject, subject.unusable, "allocate_", "rss_after", "pss_after")
            else:
                durations[subject.peer.key] = []
                subject.allocate(self.effort.calls // 10)
        able = [subject for subject in subjects if subject.peer.key in durations]
        for done in range(0, self.effort.calls, _CHUNK):
            for subject in able:
                durations[subject.peer.key] += subject.allocate(min(_CHUNK, self.effort.calls - done))
        for subject in able:
            key = subject.peer.key
            self._put(key, "allocate", durations[key], _MICRO)
            self.figures[key]["allocate_rate"] = rate(durations[key])
            self.figures[key]["threads"] = max(float(subject.threads()), self._number(key, "threads"))
            self._memory(subject, "after")

    def losses(self, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            if not subject.peer.pluggable:
                self._miss(subject, f"{subject.peer.key} knows no device that could be lost", "lost_", "back_")
            elif subject.unusable:
                self._miss(subject, subject.unusable, "lost_", "back_")
            else:
                self._say(f"{self.effort.repetitions} losses of the device of {subject.peer.key}")
                self._lose(subject)

    def restarts(self, subjects: Sequence[Subject]) -> None:
        self._say(f"{self.effort.repetitions} restarts of the kubelet")
        times: dict[str, list[float]] = {subject.peer.key: [] for subject in subjects}
        able = list(subjects)
        for _ in range(self.effort.repetitions):
            for subject in tuple(able):
                try:
                    times[subject.peer.key].append(_restart(subject))
                except NothingHappenedError as error:
                    able.remove(subject)
                    self._miss(subject, f"{subject.peer.key} and a new kubelet: {error}", "restart_")
        for subject in able:
            key = subject.peer.key
            self._put(key, "restart", times[key], _MILLI)
            self.figures[key]["restart_last"] = times[key][-1] * _MILLI

    def _lose(self, subject: Subject) -> None:
        lost, back = [], []
        try:
            for _ in range(self.effort.repetitions):
                lost.append(_change(subject, subject.place.unplug, "Unhealthy"))
                back.append(_change(subject, subject.place.plug, "Healthy"))
        except NothingHappenedError as error:
            self._miss(subject, f"{subject.peer.key} and a change of its device: {error}", "lost_", "back_")
            return
        self._put(subject.peer.key, "lost", lost, _MILLI)
        self._put(subject.peer.key, "back", back, _MILLI)

    def _memory(self, subject: Subject, when: str) -> None:
        memory = subject.memory()
        self.figures[subject.peer.key] |= {f"rss_{when}": memory.rss, f"pss_{when}": memory.pss}

    def _put(self, key: str, name: str, samples: Sequence[float], scale: float) -> None:
        for suffix, percent in (("p50", 50), ("p99", 99), ("max", 100)):
            if any(row.key == f"{name}_{suffix}" for row in ROWS):
                self.figures[key][f"{name}_{suffix}"] = percentile(samples, percent) * scale

    def _miss(self, subject: Subject, reason: str, *prefixes: str) -> None:
        missing = {row.key: Missing(reason) for row in ROWS if row.key.startswith(prefixes)}
        self.figures[subject.peer.key] |= missing

    def _number(self, key: str, row: str) -> float:
        figure = self.figures[key][row]
        assert isinstance(figure, float)
        return figure

    def _say(self, what: str) -> None:
        print(f"{', '.join(peer.key for peer in self.peers)}: {what}", file=sys.stderr, flush=True)


def measure(peers: Sequence[Peer], effort: Effort) -> dict[str, Figures]:
    """Measure peers side by side.

    Args:
        peers: Which.
        effort: How much.

    Returns:
        By the key of the peer and that of the row: every row has a figure or the reason why there is none.

    Raises:
        PeerFailedError: One did not start.
    """
    suite = _Suite(peers, effort, {peer.key: {} for peer in peers})
    suite.starts()
    with contextlib.ExitStack() as stack:
        subjects = [stack.enter_context(running(peer)) for peer in peers]
        for step in (suite.idle, suite.allocates, suite.losses, suite.restarts):
            step(subjects)
            for subject in subjects:
                subject.process.check()
    return suite.figures


def _change(subject: Subject, change: Callable[[], None], health: str) -> float:
    time.sleep(_CALM)
    before = perf_counter()
    change()
    return subject.wait_for(health) - before


def _restart(subject: Subject) -> float:
    subject.kubelet.stop()
    time.sleep(_DOWN)
    made = subject.kubelet.start()
    registered = subject.kubelet.registered(subject.peer.reregistration)
    subject.adopt(registered, registered.stream.next())
    return registered.accepted_at - made
