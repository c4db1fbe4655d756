"""Device nodes, watched by their paths."""

import os
from collections.abc import AsyncGenerator, Iterable

from kubelet_plugin.discovery.lookout import Lookout
from kubelet_plugin.discovery.patterns import expand, is_glob, natural, parse
from kubelet_plugin.discovery.probes import Probe, exists
from kubelet_plugin.discovery.roots import Roots
from kubelet_plugin.discovery.survey import Node, Survey
from kubelet_plugin.errors import ConfigurationError


async def watch(
    *patterns: str,
    probe: Probe = exists,
    host_root: str = "/",
    resync: float = 60.0,
    gather: float = 0.010,
    deadline: float | None = None,
) -> AsyncGenerator[tuple[Node, ...], None]:
    """Yield all nodes that fit the patterns: at once, then whenever one of them changes or what its probe finds.

    A pattern without a wildcard is fixed: its node is always listed, unhealthy with the reason while it is absent. A
    glob lists what is there. The order is that of the patterns, and within a glob that of the paths, `crand2` before
    `crand10`; no node is listed twice. A list may equal the one before.

    A node is probed when it is new, when it, its mode or its owner changed, and at every resync; all nodes at once, and
    no node twice at a time. One whose probe is not done in time is unhealthy; once that has ended it is probed again.

    Args:
        patterns: Absolute paths or globs, as the host names them; directories may be globs too, and need not exist.
        probe: How to find out whether a node works.
        host_root: Where the host's root is seen, when that is not `/`.
        resync: How often, in seconds, to probe again, and to see to what inotify does not tell.
        gather: For how many seconds after a list to gather changes for the next one.
        deadline: How many seconds a probe may take, and with it a list; if not given, what the probe says.

    Raises:
        ConfigurationError: A pattern is not absolute.
    """
    for pattern in patterns:
        if not os.path.isabs(pattern):
            raise ConfigurationError(f"{pattern!r} is not an absolute path; write it as the host names it, as /dev/kvm")
    tested = probe.test is not None
    with Lookout(host_root=host_root, resync=resync, thorough=tested, gather=gather) as lookout:
        survey = Survey(Roots(host=os.path.abspath(host_root)), lookout.wake, deadline=deadline)
        lookout.watch(patterns)
        anew = True
        while True:
            lookout.looking()
            paths = paths_of(patterns, host_root)
            nodes = await survey.look(dict.fromkeys(paths, probe), anew=anew)
            yield tuple(nodes.values())
            anew = await lookout.rest()


def paths_of(patterns: Iterable[str], host_root: str = "/") -> dict[str, str]:
    """List the paths on the host that fit patterns, each once, with the pattern it fits; fixed ones always.

    A name that is no UTF-8, or not printable, fits no glob: neither the kubelet nor a CDI file could name it.

    Args:
        patterns: Absolute paths or globs.
        host_root: Where the host's root is seen.
    """
    roots = Roots(host=os.path.abspath(host_root))
    where = str if roots.host == "/" else lambda directory: roots.real(roots.resolve(directory) or directory)
    paths: dict[str, str] = {}
    for pattern in patterns:
        if is_glob(pattern):
            found = expand("/", parse(pattern), where)
            for path in sorted(filter(str.isprintable, found), key=natural):
                paths.setdefault(path, pattern)
        else:
            paths.setdefault("/" + "/".join(map(str, parse(pattern))), pattern)
    return paths
