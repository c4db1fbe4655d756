"""Everything that is wrong, or not wise, in spec files and directories: how bad it is, and how to mend it."""

import enum
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from kubelet_plugin.cdi.annotations import key_fault
from kubelet_plugin.cdi.errors import Error, ParseError
from kubelet_plugin.cdi.host import look_below, node_notes
from kubelet_plugin.cdi.lines import Keys, lines_of, place_text
from kubelet_plugin.cdi.notes import Note
from kubelet_plugin.cdi.parsing import decode
from kubelet_plugin.cdi.reading import content
from kubelet_plugin.cdi.registry import ENDINGS, spec_paths
from kubelet_plugin.cdi.runtimes import RUNTIMES, Runtime
from kubelet_plugin.cdi.spec import Spec
from kubelet_plugin.cdi.validation import Fault, faults, refusals
from kubelet_plugin.cdi.version import VERSIONS, version_need


class Severity(enum.StrEnum):
    """How bad a finding is: container runtimes crash; a device cannot be had; it may be other than one thinks."""

    FATAL = "fatal"
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is looked for.

    Attributes:
        severity: How bad it is to break it.
        title: The rule, as a sentence.
        remedy: What to do.
        section: The section of SPEC.md that it comes from; empty: it comes from what runtimes do.
    """

    severity: Severity
    title: str
    remedy: str
    section: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or not wise.

    Attributes:
        rule: The key of the rule in `RULES`.
        severity: How bad it is.
        path: The file or directory.
        message: What it is.
        remedy: What to do.
        line: Where in the file, from 1 on; None: it is about all of it.
        place: Where in the document, such as `devices[0].name`; empty: it is about all of it.
        runtimes: Which of the known runtimes it hurts.
    """

    rule: str
    severity: Severity
    path: str
    message: str
    remedy: str
    line: int | None = None
    place: str = ""
    runtimes: tuple[str, ...] = ()


_FATAL, _ERROR, _WARNING = Severity

RULES = {
    "unreadable": Rule(_ERROR, "Files and directories can be read.", "Mend the path, or give the right to read it."),
    "not-a-spec": Rule(
        _ERROR,
        "A file holds one JSON or YAML document of known fields of the right types.",
        "Correct what the message says.",
        "CDI JSON Specification",
    ),
    "invalid": Rule(
        _ERROR, "What a spec says makes sense.", "Correct what the message says.", "CDI JSON Specification"
    ),
    "short-kind": Rule(
        _FATAL,
        "Vendor and class have two characters or more.",
        "Remove the file at once, and choose a longer name: a runtime that crashed will not start again before.",
    ),
    "version": Rule(
        _ERROR,
        "The declared version exists and has all that the spec uses.",
        "Declare the version that the message says.",
        "Released versions",
    ),
    "prefixed-version": Rule(_WARNING, "A version has no v before it.", "Leave out the v.", "Released versions"),
    "newer-than-needed": Rule(
        _WARNING,
        "A spec declares the lowest version that expresses it.",
        "Declare the lower version.",
        "Released versions",
    ),
    "too-new": Rule(
        _ERROR,
        "The declared version is one that the runtime reads.",
        "Declare a lower version, leave out what needs the newer one, or use a newer runtime.",
        "Released versions",
    ),
    "read-by-none": Rule(
        _WARNING,
        "The declared version is one that some known runtime reads.",
        "Declare a lower version, leave out what needs this one, or make sure that your runtime is newer.",
        "Released versions",
    ),
    "annotation-key": Rule(
        _WARNING,
        "The keys of annotations are ones that Kubernetes allows.",
        "Give it the form [prefix/]name: a DNS subdomain of 253 characters at most, and a name of 63 at most.",
    ),
    "duplicate-device": Rule(
        _ERROR, "A name is that of one device of a spec.", "Rename or remove one of them.", "CDI JSON Specification"
    ),
    "conflict": Rule(_ERROR, "Two files of a directory never have the same device.", "Remove it from one of them."),
    "shadowed": Rule(
        _WARNING, "A device is not hidden by a directory of higher priority.", "Remove the one that is not wanted."
    ),
    "other-ending": Rule(_WARNING, "The name of a spec file ends in .json or .yaml.", "Rename the file."),
    "ambiguous": Rule(_WARNING, "All readers understand a document alike.", "Write it as the message says."),
    "gid-of-no-effect": Rule(_WARNING, "Additional gids are not 0.", "Leave out the 0, which runtimes ignore."),
    "missing-node": Rule(
        _ERROR, "The device nodes of a spec are on the host.", "Load the driver, or remove the device from the spec."
    ),
    "wrong-node": Rule(
        _ERROR, "A host path is that of the device node itself.", "Give the path of the node, and its own type."
    ),
    "closed-to-non-root": Rule(
        _WARNING,
        "A container that does not run as root can open its devices.",
        "Leave out uid and gid, so that the container's own user owns the node, or add the group to additionalGids.",
    ),
    "file-mode": Rule(_WARNING, "A spec file has the mode 0644.", "chmod 0644 the file."),
    "writable": Rule(
        _ERROR,
        "Only their owner can change specs, which make runtimes run commands as root.",
        "chmod go-w the file or directory.",
    ),
    "closed-directory": Rule(
        _WARNING, "Every user can read a spec directory, as rootless runtimes must.", "chmod 0755 the directory."
    ),
}
"""The rules, by the name that findings have."""

_ALL = tuple(RUNTIMES)

# One who has more of them in a file has made one mistake many times.
_FAULTS_LIMIT = 1000


def examine(
    *paths: str, runtimes: Collection[str] = (), host_root: str | None = "/"
) -> tuple[list[Finding], tuple[str, ...]]:
    """Look for all that is wrong in spec files and directories.

    Args:
        paths: Files, each looked at by itself, and directories, the lowest priority first.
        runtimes: The runtimes, keys of `RUNTIMES`, that must be able to read the specs; without any, that one cannot
            is a warning, if a lower version would do or none of them can.
        host_root: Where the host's `/` is, for its device nodes; None: they are not looked at.

    Returns:
        What was found, in the order of the files and lines; and the files that were looked at.
    """
    examiner = _Examiner([RUNTIMES[name] for name in runtimes], host_root)
    for priority, path in enumerate(paths):
        examiner.look_at(path, priority)
    return examiner.sorted_findings(), tuple(examiner.files)


class _Examiner:
    """What was looked at up to now, and what was found."""

    def __init__(self, runtimes: Sequence[Runtime], host_root: str | None) -> None:
        self._findings: list[Finding] = []
        self.files: list[str] = []
        self._runtimes = runtimes
        self._look = None if host_root is None else look_below(host_root)
        self._owners: dict[str, tuple[int, str, Keys]] = {}

    def sorted_findings(self) -> list[Finding]:
        order = {path: place for place, path in enumerate(dict.fromkeys(finding.path for finding in self._findings))}
        return sorted(self._findings, key=lambda finding: (order[finding.path], finding.line or 0))

    def look_at(self, path: str, priority: int) -> None:
        if not os.path.isdir(path):
            self._look_at_file(path, None)
            return
        try:
            paths = spec_paths(path)
            self._add(path, _directory_notes(path))
        except (Error, OSError) as error:
            self._add(path, [Note("unreadable", str(error))])
            return
        for each in paths:
            self._look_at_file(each, priority)

    def _look_at_file(self, path: str, priority: int | None) -> None:
        self.files.append(path)
        try:
            data = content(path)
            notes = [*_mode_notes(path)]
        except (Error, OSError) as error:
            self._add(path, [Note("unreadable", str(error), runtimes=_ALL)])
            return
        try:
            spec = decode(
                data,
                path=path,
                warn=lambda odd: notes.append(Note("ambiguous", odd.reason, line=odd.line, place=odd.place)),
            )
        except ParseError as error:
            notes.append(Note("not-a-spec", error.reason, line=error.line, place=error.place, runtimes=_ALL))
            self._add(path, notes, data)
            return
        wrong = [*islice(faults(spec), _FAULTS_LIMIT)]
        # What may be written and has a version is valid.
        refused = [*islice(refusals(spec), _FAULTS_LIMIT)] if wrong or not spec.version else []
        known = {fault.keys for fault in wrong}
        notes += map(_fault_note, [*wrong, *(fault for fault in refused if fault.keys not in known)])
        notes += _version_notes(spec, self._runtimes)
        notes += islice(_annotation_notes(spec), _FAULTS_LIMIT)
        notes += islice(node_notes(spec, self._look), _FAULTS_LIMIT)
        if not refused and priority is not None:
            notes += self._neighbour_notes(spec, path, priority)
        self._add(path, notes, data)

    def _neighbour_notes(self, spec: Spec, path: str, priority: int) -> Iterator[Note]:
        """Which devices other files have, too: one note for each of these files."""
        others: dict[tuple[int, str], list[tuple[str, Keys, Keys]]] = {}
        for index, device in enumerate(spec.devices):
            name, keys = f"{spec.kind}={device.name}", ("devices", index, "name")
            if owner := self._owners.get(name):
                others.setdefault(owner[:2], []).append((name, keys, owner[2]))
            self._owners[name] = (priority, path, keys)
        for (other_priority, other_path), devices in others.items():
            names = _some([name for name, _, _ in devices])
            _, own_keys, other_keys = devices[0]
            if other_priority == priority:
                yield Note(
                    "conflict", f"{names} is in {other_path}, too: no runtime resolves it", own_keys, runtimes=_ALL
                )
                text = f"{names} is in {path}, too: no runtime resolves it"
                self._add(other_path, [Note("conflict", text, other_keys, runtimes=_ALL)], _data(other_path))
            else:
                text = f"{names} is hidden by {path}, whose directory has a higher priority"
                self._add(other_path, [Note("shadowed", text, other_keys)], _data(other_path))

    def _add(self, path: str, notes: Iterable[Note], data: bytes = b"") -> None:
        """Make findings of notes; their lines are looked up all at once."""
        wanted = [note for note in notes if not self._runtimes or _concerns(note, self._runtimes)]
        lines = lines_of(data, [note.keys for note in wanted if note.keys]) if any(note.keys for note in wanted) else {}
        self._findings += [
            Finding(
                note.rule,
                RULES[note.rule].severity,
                path,
                note.message,
                RULES[note.rule].remedy,
                note.line or lines.get(note.keys),
                note.place or place_text(note.keys),
                note.runtimes,
            )
            for note in wanted
        ]


def _concerns(note: Note, runtimes: Iterable[Runtime]) -> bool:
    return not note.runtimes or any(runtime.name in note.runtimes for runtime in runtimes)


def _fault_note(fault: Fault) -> Note:
    if RULES[fault.rule].severity == Severity.WARNING:
        hurt: tuple[str, ...] = ()
    elif fault.rule == "short-kind":
        hurt = tuple(name for name in _ALL if RUNTIMES[name].crashes_on_short_kinds)
    else:
        hurt = _ALL
    return Note(fault.rule, fault.text, fault.keys, hurt)


def _version_notes(spec: Spec, runtimes: Sequence[Runtime]) -> Iterator[Note]:
    version = spec.version.removeprefix("v")
    if version not in VERSIONS:
        return
    (lowest, feature), keys = version_need(spec), ("cdiVersion",)
    for runtime in runtimes:
        if not runtime.reads(version):
            text = f"version {version} is not read by {runtime.name}: {runtime.newest} is the newest that it knows"
            yield Note("too-new", text, keys, (runtime.name,))
    if runtimes:
        return
    hurt = tuple(each.name for each in RUNTIMES.values() if each.reads(lowest) and not each.reads(version))
    if hurt:
        yield Note("newer-than-needed", f"version {version} is declared where {lowest} would do", keys, hurt)
    if not any(each.reads(version) for each in RUNTIMES.values()):
        needed = f", which {feature} needs," if feature and lowest == version else ""
        newest = ", ".join(f"{each.name} reads {each.newest}" for each in RUNTIMES.values())
        text = f"version {version}{needed} is newer than any known runtime reads: at most, {newest}"
        yield Note("read-by-none", text, keys, _ALL)


def _annotation_notes(spec: Spec) -> Iterator[Note]:
    places: list[tuple[Keys, Iterable[tuple[str, str]]]] = [((), spec.annotations)]
    places += [(("devices", index), device.annotations) for index, device in enumerate(spec.devices)]
    for holder, annotations in places:
        for key, _ in annotations:
            if fault := key_fault(key):
                yield Note("annotation-key", f"annotation key {key!r} {fault}", (*holder, "annotations", key))


def _directory_notes(path: str) -> Iterator[Note]:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Note("writable", f"its mode is {mode:04o}: others than its owner can write to it")
    if mode & 0o055 != 0o055:  # noqa: PLR2004  # to read and to search, for group and others
        yield Note("closed-directory", f"its mode is {mode:04o}")
    for name in sorted(os.listdir(path)):
        if name.endswith((".yml", ".JSON", ".YAML")):
            yield Note("other-ending", f"no runtime reads {name}: a spec's name ends in {' or '.join(ENDINGS)}")


def _mode_notes(path: str) -> Iterator[Note]:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o022:
        yield Note("writable", f"its mode is {mode:04o}: others than its owner can write to it")
    elif mode != 0o644:  # noqa: PLR2004  # what the rule says
        yield Note("file-mode", f"its mode is {mode:04o}")


def _some(names: Sequence[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _data(path: str) -> bytes:
    try:
        return content(path)
    except Error:
        return b""
