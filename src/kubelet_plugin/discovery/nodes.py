"""Device nodes, watched: what is there, and whether it works."""

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kubelet_plugin.discovery.changes import Changes
from kubelet_plugin.discovery.patterns import expand, is_glob, parse
from kubelet_plugin.discovery.probes import Finding, Probe, exists, look
from kubelet_plugin.errors import ConfigurationError, StuckError
from kubelet_plugin.threads import Blocking


@dataclass(frozen=True, slots=True)
class Node:
    """One device node, as it was when it was looked at.

    Attributes:
        path: Its path on the host.
        present: Whether something is there; mode and owner are 0 where not.
        mode: Its permission bits.
        uid: Its owner.
        gid: Its group.
        healthy: Whether it may be handed out.
        reason: Why it may not, or what else there is to know; for people, one line.
        target: Where the path leads, if it is a symbolic link: CDI looks at nodes without following links.
    """

    path: str
    present: bool
    mode: int
    uid: int
    gid: int
    healthy: bool
    reason: str
    target: str = ""

    @property
    def name(self) -> str:
        """The last component of the path."""
        return os.path.basename(self.path)


async def watch(
    *patterns: str,
    probe: Probe = exists,
    host_root: str = "/",
    resync: float = 60.0,
    gather: float = 0.010,
    deadline: float = 1.0,
) -> AsyncGenerator[tuple[Node, ...], None]:
    """Yield all nodes that fit the patterns: at once, then whenever one of them changes, and at every resync.

    A pattern without a wildcard is fixed: its node is always listed, unhealthy with the reason while it is absent. A
    glob lists what is there. The order is that of the patterns, and within a glob that of the paths, `crand2` before
    `crand10`; no node is listed twice. A list may equal the one before.

    A node is probed when it is new, when it, its mode or its owner changed, and at every resync; all nodes at once, and
    no node twice at a time. One whose probe is not done in time is unhealthy; once that has ended it is probed again.

    Args:
        patterns: Absolute paths or globs, as the host names them; directories may be globs too, and need not exist.
        probe: How to find out whether a node works.
        host_root: Where the host's root is seen, when that is not `/`.
        resync: After how many seconds to look even where nothing seems to have changed.
        gather: For how many seconds after a list to gather changes for the next one.
        deadline: How many seconds a probe may take, and with it a list.

    Raises:
        ConfigurationError: A pattern is not absolute.
    """
    for pattern in patterns:
        if not os.path.isabs(pattern):
            raise ConfigurationError(f"{pattern!r} is not an absolute path; write it as the host names it, as /dev/kvm")
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    survey = _Survey(patterns, probe, host_root, deadline, woken.set)
    with Changes(patterns, woken.set, host_root=host_root) as changes:
        due, anew = loop.time() + resync, True
        while True:
            woken.clear()
            nodes = await survey.look(anew=anew)
            rested = loop.time() + gather
            yield nodes
            timer = asyncio.timeout_at(due)
            with contextlib.suppress(TimeoutError):
                async with timer:
                    await woken.wait()
            if anew := timer.expired() or loop.time() >= due:
                changes.refresh()
                due = loop.time() + resync
            else:
                await asyncio.sleep(max(0, rested - loop.time()))


class _Sign(NamedTuple):
    """What differs when a node has become another, or another's."""

    path: str
    filesystem: int
    inode: int
    device: int
    mode: int
    uid: int
    gid: int
    changed: int


class _Survey:
    """Looks at the nodes, and remembers what the probe found for as long as a node stays as it was."""

    def __init__(
        self, patterns: Iterable[str], probe: Probe, host_root: str, deadline: float, freed: Callable[[], None]
    ) -> None:
        self._patterns = {pattern: parse(pattern) for pattern in patterns}
        self._probe = probe
        self._root = os.path.abspath(host_root)
        self._deadline = deadline
        self._blocking = Blocking(lambda _: freed())
        self._known: dict[_Sign, Finding] = {}

    async def look(self, *, anew: bool) -> tuple[Node, ...]:
        """List all nodes; those that stayed as they were are probed again only if `anew`."""
        seen = [(path, *look(self._real(path), self._probe.remedy)) for path in self._paths()]
        findings: dict[str, Finding] = {}
        if self._probe.test is not None:
            signs = [_sign(path, status) for path, status, finding in seen if status and finding.healthy]
            findings = await self._test(signs, {} if anew else self._known, self._probe.test)
        return tuple(
            _node(path, status, findings.get(path, finding), self._target(path)) for path, status, finding in seen
        )

    def _target(self, path: str) -> str:
        real = self._real(path)
        return os.path.realpath(real).removeprefix(self._root.rstrip("/")) if os.path.islink(real) else ""

    async def _test(
        self, signs: list[_Sign], known: dict[_Sign, Finding], test: Callable[[str], Finding]
    ) -> dict[str, Finding]:
        self._known = {sign: known[sign] for sign in signs if sign in known}
        unknown = [sign for sign in signs if sign not in known]
        tested = await asyncio.gather(*(self._run(test, sign) for sign in unknown))
        return {sign.path: finding for sign, finding in (*self._known.items(), *zip(unknown, tested, strict=True))}

    async def _run(self, test: Callable[[str], Finding], sign: _Sign) -> Finding:
        real, name = self._real(sign.path), self._probe.name
        try:
            finding = await self._blocking.run(real, test, real, deadline=self._deadline)
        except StuckError:
            what = f"{real} did not answer the {name} probe within {self._deadline:g} s"
            return Finding(False, f"{what}; its driver or hardware hangs; probed again when that call ends")
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is about this node alone
            return Finding(False, f"{real} could not be probed ({name}): {type(error).__name__}: {error}")
        self._known[sign] = finding
        return finding

    def _paths(self) -> Iterable[str]:
        """List the paths on the host, each once."""
        paths: dict[str, None] = {}
        for pattern, parts in self._patterns.items():
            if is_glob(pattern):
                found = (path.removeprefix(self._root.rstrip("/")) for path in expand(self._root, parts))
                paths.update(dict.fromkeys(sorted(found, key=_natural)))
            else:
                paths[os.path.abspath(pattern)] = None
        return paths

    def _real(self, path: str) -> str:
        return self._root.rstrip("/") + path


def _sign(path: str, status: os.stat_result) -> _Sign:
    return _Sign(
        path,
        status.st_dev,
        status.st_ino,
        status.st_rdev,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_ctime_ns,
    )


def _node(path: str, status: os.stat_result | None, finding: Finding, target: str) -> Node:
    if status is None:
        return Node(path, False, 0, 0, 0, finding.healthy, finding.reason, target)
    mode = stat.S_IMODE(status.st_mode)
    return Node(path, True, mode, status.st_uid, status.st_gid, finding.healthy, finding.reason, target)


def _natural(path: str) -> tuple[list[str | int], str]:
    """Sort numbers by their value; every second piece is one, so that like is compared with like."""
    pieces = re.split(r"([0-9]+)", path)
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)], path
