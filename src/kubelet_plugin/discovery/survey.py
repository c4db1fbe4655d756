"""A look at device nodes: what is there, and whether it works."""

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kubelet_plugin.discovery.probes import Finding, Probe, look
from kubelet_plugin.discovery.roots import Roots
from kubelet_plugin.errors import StuckError
from kubelet_plugin.threads import Blocking


@dataclass(frozen=True, slots=True)
class Node:
    """One device node, as it was when it was looked at.

    Attributes:
        path: Its path on the host.
        present: Whether something is there; mode, owner and device number are 0 where not.
        mode: Its permission bits.
        uid: Its owner.
        gid: Its group.
        healthy: Whether it may be handed out.
        reason: Why it may not, or what else there is to know; for people, one line.
        target: Where the path leads, if it is a symbolic link: CDI looks at nodes without following links.
        number: Its device number, as `os.major` and `os.minor` split it; 0 for what is no device node.
        block: Whether it is a block device.
        outside: Whether its target is a path here and not on the host, since it leads out of the host's root.
    """

    path: str
    present: bool
    mode: int
    uid: int
    gid: int
    healthy: bool
    reason: str
    target: str = ""
    number: int = 0
    block: bool = False
    outside: bool = False

    @property
    def name(self) -> str:
        """The last component of the path."""
        return os.path.basename(self.path)


class _Sign(NamedTuple):
    """What differs when a node has become another, or another's."""

    path: str
    real: str
    probe: Probe
    filesystem: int
    inode: int
    device: int
    mode: int
    uid: int
    gid: int
    changed: int


class Survey:
    """Looks at nodes, and remembers what a probe found for as long as a node stays as it was.

    Args:
        roots: Where the host's files are seen.
        deadline: How many seconds a probe may take, where it does not say so itself, and with it a look.
        freed: Called when a probe that had been given up has ended after all.
    """

    def __init__(self, roots: Roots, freed: Callable[[], None], *, deadline: float | None = None) -> None:
        self._roots = roots
        self._deadline = deadline
        self._blocking = Blocking(lambda _: freed())
        self._known: dict[_Sign, Finding] = {}

    async def look(self, wanted: Mapping[str, Probe], *, anew: bool) -> dict[str, Node]:
        """Look at all nodes; those that stayed as they were are probed again only if `anew`.

        A node is probed by one probe at a time; all nodes at once.

        Args:
            wanted: The paths on the host, and how to probe each.
            anew: Whether to forget what was found before.

        Returns:
            The nodes by path, in the order given.
        """
        directories = {name: self._roots.resolve(name) or name for name in {*map(os.path.dirname, wanted)}}
        seen = {path: self._look(path, directories[os.path.dirname(path)], probe) for path, probe in wanted.items()}
        signs = [
            _sign(path, probe, seen[path], status)
            for path, probe in wanted.items()
            if probe.test is not None and (status := seen[path].status) and seen[path].finding.healthy
        ]
        findings = await self._test(signs, {} if anew else self._known)
        return {path: _node(path, each, findings.get(path, each.finding)) for path, each in seen.items()}

    def _look(self, path: str, directory: str, probe: Probe) -> "_Seen":
        real = self._roots.real(os.path.join(directory, os.path.basename(path)))
        if not os.path.islink(real):
            return _Seen(real, "", *look(real, probe.remedy))
        target = self._roots.resolve(path)
        if target and not target.isprintable():  # neither the kubelet nor a CDI file could name it
            return _Seen(real, "", None, Finding(False, f"{_link(real)}, which is no name to hand out; rename that"))
        if target:
            real = self._roots.real(target)
            return _Seen(real, target, *look(real, probe.remedy))
        if _leads_out(real):
            return _Seen(real, os.path.realpath(real), *look(real, probe.remedy), outside=True)
        return _Seen(real, "", None, Finding(False, f"{_link(real)}, which is absent; {probe.remedy}"))

    async def _test(self, signs: list[_Sign], known: dict[_Sign, Finding]) -> dict[str, Finding]:
        self._known = {sign: known[sign] for sign in signs if sign in known}
        findings = {sign.path: finding for sign, finding in self._known.items()}
        by_node: dict[str, list[_Sign]] = {}
        for sign in signs:
            if sign not in self._known:
                by_node.setdefault(sign.real, []).append(sign)

        async def in_turn(of_node: list[_Sign]) -> None:
            for sign in of_node:  # several links may lead to it
                findings[sign.path] = await self._run(sign)

        await asyncio.gather(*map(in_turn, by_node.values()))
        return findings

    async def _run(self, sign: _Sign) -> Finding:
        real, probe = sign.real, sign.probe
        deadline = probe.deadline if self._deadline is None else self._deadline
        assert probe.test is not None
        try:
            finding = await self._blocking.run(real, probe.test, real, deadline=deadline)
        except StuckError:
            what = f"{real} did not answer the {probe.name} probe within {deadline:g} s"
            return Finding(False, f"{what}; its driver or hardware hangs; probed again when that call ends")
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is about this node alone
            return Finding(False, f"{real} could not be probed ({probe.name}): {type(error).__name__}: {error}")
        self._known[sign] = finding
        return finding


class _Seen(NamedTuple):
    real: str
    target: str
    status: os.stat_result | None
    finding: Finding
    outside: bool = False


def _leads_out(path: str) -> bool:
    """Tell whether a link leads out of the host's root by going up, as a stand-in for a device does in a test."""
    try:
        return not os.readlink(path).startswith("/") and os.path.exists(path)
    except OSError:
        return False


def _link(path: str) -> str:
    try:
        target = os.readlink(path)
        return f"{path} is a symbolic link to {target if target.isprintable() else repr(target)}"
    except OSError:
        return f"{path} is a symbolic link"


def _sign(path: str, probe: Probe, seen: _Seen, status: os.stat_result) -> _Sign:
    return _Sign(
        path,
        seen.real,
        probe,
        status.st_dev,
        status.st_ino,
        status.st_rdev,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_ctime_ns,
    )


def _node(path: str, seen: _Seen, finding: Finding) -> Node:
    status = seen.status
    if status is None:
        return Node(path, False, 0, 0, 0, finding.healthy, finding.reason, seen.target)
    return Node(
        path,
        True,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        finding.healthy,
        finding.reason,
        seen.target,
        status.st_rdev,
        stat.S_ISBLK(status.st_mode),
        seen.outside,
    )
