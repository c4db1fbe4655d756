"""A directory of static pods, as the kubelet's file source sees it.

What is noticed at once, a file that was written, renamed or removed, changes the pod of that file alone; a full look
at the directory, every `PERIOD`, sets everything right. So a pod whose file has become malformed goes at the next full
look, no earlier, and so does one whose file now makes a pod of another name.
"""

import asyncio
import glob
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubelet_plugin.discovery import Changes
from kubelet_plugin.discovery.inotify import Watches
from kubelet_plugin.errors import ManifestError
from kubelet_plugin.kubelet import log, manifest_text
from kubelet_plugin.kubelet.clock import Clock
from kubelet_plugin.kubelet.pods import Pod, unparsable

if TYPE_CHECKING:
    from asyncinotify import Watch

PERIOD = 20.0
"""Seconds between two full looks (a kubelet's `fileCheckFrequency`)."""

MAX_BYTES = 10 * 2**20
"""How large a manifest may be."""

_Name = tuple[str, str]  # namespace and name
_NOBODY: _Name = ("", "")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file as it was seen last.

    Attributes:
        state: What is in it, or why it cannot be read: the same again is no news.
        outcome: The pod it makes, or why it makes none.
    """

    state: bytes | str
    outcome: Pod | ManifestError


def read(
    directory: str, *, node_name: str, seen: float, known: Mapping[str, Manifest] | None = None
) -> dict[str, Manifest]:
    """Read all manifests of a directory: one pod for each file whose name begins with no dot.

    Args:
        directory: The directory.
        node_name: The node that they are for.
        seen: The time of day, in seconds since 1970.
        known: What was read before, by path; a file with the same content is not parsed again.

    Returns:
        The files by path, sorted.

    Raises:
        OSError: The directory cannot be read.
    """
    known = known or {}
    paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if not name.startswith(".")]
    looks = ((path, read_file(path, node_name=node_name, seen=seen, known=known.get(path))) for path in paths)
    return {path: manifest for path, manifest in looks if manifest}


def read_file(path: str, *, node_name: str, seen: float, known: Manifest | None = None) -> Manifest | None:
    """Read one manifest; see `read`. Where there is none of that name, that is None."""
    try:
        content = _content(path)
    except ManifestError as error:
        return known if known and known.state == str(error) else Manifest(str(error), error)
    if content is None:
        return None
    if known and known.state == content:
        return known
    log.info(3, "Reading config file", path=path)
    try:
        document = manifest_text.parse(content)
    except ManifestError as error:
        return Manifest(content, unparsable(path, error))
    try:
        return Manifest(content, Pod.from_document(document, node_name=node_name, source=path, seen=seen))
    except ManifestError as error:
        return Manifest(content, error)


def difference(before: Mapping[str, Pod], after: Mapping[str, Pod]) -> tuple[list[Pod], list[Pod]]:
    """Compare two sets of pods by uid; return what was removed, and what was added. One that is another now is both."""
    removed = [pod for uid, pod in before.items() if after.get(uid) != pod]
    added = [pod for uid, pod in after.items() if before.get(uid) != pod]
    return removed, added


class ManifestDirectory:
    """The static pods of a directory, which may come later or go.

    Where it cannot be watched, changes are seen by the full looks alone.

    Args:
        path: The directory.
        node_name: The node; the pods' names end in it.
        clock: The time.
        changed: Called on the event loop when `pods` has changed; must neither block nor raise.

    Attributes:
        pods: The pods at present, by uid.
    """

    def __init__(
        self, path: str, *, node_name: str, clock: Clock, changed: Callable[[], object] = lambda: None
    ) -> None:
        self.pods: Mapping[str, Pod] = {}
        self._path = os.path.abspath(path)
        self._node_name = node_name
        self._clock = clock
        self._changed = changed
        self._files: dict[str, Manifest] = {}
        self._names: dict[str, _Name] = {}
        self._by_name: dict[_Name, Pod] = {}
        self._watches: Watches | None = None
        self._touched: set[str] = set()
        self._lost_events = False
        self._trouble = ""

    async def run(self) -> None:
        """Read the directory, and follow its changes until cancelled."""
        log.info(1, "Watching path", path=self._path)
        self._watches = Watches.of_loop(asyncio.get_running_loop())
        self._watches.attach(self)
        try:
            with Changes([glob.escape(self._path)], self._look_at_all, watches=self._watches) as comings:
                while True:
                    self._look_at_all()
                    await self._clock.sleep(PERIOD)
                    comings.refresh()
        finally:
            self._watches.detach(self)

    def notice(self, watch: "Watch", name: str) -> bool:  # noqa: ARG002 -- there is only one
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        if not name or name.startswith("."):
            return False
        self._touched.add(name)
        return True

    def overflow(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        self._lost_events = True

    def act(self) -> None:
        """See `kubelet_plugin.discovery.inotify.Subscriber`."""
        if self._lost_events:
            self._look_at_all()
            return
        for name in sorted(self._touched):
            self._look_at(os.path.join(self._path, name))
        self._touched.clear()
        self._announce()

    def _look_at_all(self) -> None:
        self._watch()  # first: what comes while the look lasts is noticed
        self._lost_events = False
        self._touched.clear()
        try:
            files = read(self._path, node_name=self._node_name, seen=self._clock.wall(), known=self._files)
        except FileNotFoundError:
            self._complain("path does not exist, ignoring")
            files = {}
        except OSError as error:
            self._complain(f"open {self._path}: {_reason(error)}")
            return
        else:
            self._trouble = ""
        self._names, self._by_name = {}, {}
        for path, manifest in files.items():
            self._take(path, manifest)
            if isinstance(manifest.outcome, ManifestError) and manifest is not self._files.get(path):
                log.error(manifest.outcome, "Could not process manifest file", path=path)
        self._files = files
        self._announce()

    def _look_at(self, path: str) -> None:
        known = self._files.pop(path, None)
        manifest = read_file(path, node_name=self._node_name, seen=self._clock.wall(), known=known)
        if manifest is None:
            self._by_name.pop(self._names.pop(path, _NOBODY), None)
            return
        self._files[path] = manifest
        self._take(path, manifest)
        if isinstance(manifest.outcome, ManifestError) and manifest is not known:
            reason = f"can't process config file {json.dumps(path, ensure_ascii=False)}: {manifest.outcome}"
            log.error(reason, "Unable to process watch event")

    def _take(self, path: str, manifest: Manifest) -> None:
        """Let a file have its say: of those that make a pod of one name, it is the last one's."""
        if isinstance(pod := manifest.outcome, Pod):
            self._names[path] = (pod.namespace, pod.name)
            self._by_name[pod.namespace, pod.name] = pod

    def _announce(self) -> None:
        pods = {pod.uid: pod for pod in self._by_name.values()}
        removed, added = difference(self.pods, pods)
        if removed or added:
            self.pods = pods
            self._changed()

    def _watch(self) -> None:
        assert self._watches is not None
        try:
            watch = self._watches.add(os.path.realpath(self._path), self, contents_too=True)
        except (FileNotFoundError, NotADirectoryError):
            watch = None
        self._watches.keep(self, () if watch is None else (watch,))

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.error(trouble, "Unable to read config path", path=self._path)


def _content(path: str) -> bytes | None:
    """Read a file; None where there is none.

    Raises:
        ManifestError: It cannot be read.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ManifestError("provided manifest path is a directory, not recursing into manifest path")
        if not stat.S_ISREG(mode):
            raise ManifestError(f"manifest path is not a directory or file: {stat.filemode(mode)}")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if not os.path.islink(path):
            return None
        raise ManifestError(f"stat {path}: no such file or directory") from None
    except OSError as error:
        raise ManifestError(f"open {path}: {_reason(error)}") from None
    if len(content) > MAX_BYTES:
        raise ManifestError(f"the read limit is reached: {MAX_BYTES} bytes")
    return content


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
