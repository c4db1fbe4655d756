"""What to say of a test that did not see what it waited for."""

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from kubelet_plugin.errors import Error
from kubelet_plugin.kubelet import DeviceManager, log
from kubelet_plugin.kubelet.journal import Journal

_LINES = 20  # of a log, at the end of a message
_VERBOSITY = 2
_DEVICES = 10  # of a resource, by name


def hides_frames(info: Any) -> bool:
    """Tell pytest to leave the frames of a module out of its report: the message of an error of ours says it all.

    It is the `__tracebackhide__` of the modules between a test and its kubelet.
    """
    return issubclass(info.type, Error)


class Actor(Protocol):
    """A plugin that takes part in a test."""

    def failure(self) -> BaseException | None:
        """What went wrong with it, such as that it has ended by itself; None while nothing has."""

    def note(self) -> str:
        """What to add to any failure of the test; empty: nothing."""

    def story(self) -> str:
        """What it is and what it has written, for people."""


class Log(logging.Handler):
    """The last lines of the kubelet's log, and of our runtime's."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_LINES)
        self._forces_level = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        resource = getattr(record, "resource", "")
        self.lines.append(f"{record.getMessage()} resource={resource}" if resource else record.getMessage())

    def open(self) -> None:
        """Listen; the kubelet's log is made to say what it does, unless somebody chose its level."""
        self._forces_level = log.logger.level == logging.NOTSET
        if self._forces_level:
            log.logger.setLevel(log.level(_VERBOSITY))
        logging.getLogger("kubelet_plugin").addHandler(self)

    def close(self) -> None:
        """Stop listening."""
        logging.getLogger("kubelet_plugin").removeHandler(self)
        if self._forces_level:
            log.logger.setLevel(logging.NOTSET)
            self._forces_level = False
        super().close()


def report(what: str, manager: DeviceManager, journal: Journal, lines: Sequence[str], actors: Iterable[Actor]) -> str:
    """Say what was waited for, and what there is.

    Args:
        what: What was waited for, and for how long.
        manager: The kubelet.
        journal: Who has registered with it.
        lines: What it logged last.
        actors: The plugins that take part in the test.
    """
    sections = {
        "Calls that are not answered": list(_calls(manager)),
        "The node offers": list(_resources(manager)) or ["nothing"],
        "Registrations": list(_registrations(journal)) or ["none"],
        "Pods": list(_pods(manager)),
        "The log ends with": list(lines),
    }
    text = "\n".join(
        f"{title}:\n" + "\n".join(f"  {entry}" for entry in entries) for title, entries in sections.items() if entries
    )
    return "\n".join([what, text, *(actor.story() for actor in actors)])


def _calls(manager: DeviceManager) -> Iterator[str]:
    for resource in manager.resources():
        if endpoint := manager.endpoint(resource):
            yield from (f"{call} of {resource}" for call in endpoint.calls)


def _resources(manager: DeviceManager) -> Iterator[str]:
    for resource, of in manager.resources().items():
        devices = manager.devices(resource)
        named = [f"{name} {health}" for name, health in list(devices.items())[:_DEVICES]]
        more = [f"and {len(devices) - _DEVICES} more"] if len(devices) > _DEVICES else []
        listed = ", ".join([*named, *more]) or "no device"
        odd = sorted({*devices.values()} - {"Healthy", "Unhealthy"})
        hint = f"; only 'Healthy' counts as such, not {', '.join(map(repr, odd))}" if odd else ""
        yield f"{resource}: capacity {of.capacity}, allocatable {of.allocatable}; last listed: {listed}{hint}"


def _registrations(journal: Journal) -> Iterator[str]:
    for registered in journal.registrations:
        outcome = f"failed: {registered.failure}" if registered.failure else "went through"
        yield f"{registered.resource} at {registered.endpoint!r} {outcome}"
    for endpoint in journal.dialled:
        state = f"{', '.join(endpoint.calls)} is not answered" if endpoint.calls else "being dialled"
        yield f"{endpoint.resource} at {os.path.basename(endpoint.path)!r}: {state}"


def _pods(manager: DeviceManager) -> Iterator[str]:
    return map(str, manager.pods())


def written(output: str) -> str:
    """The end of what a program has written, indented."""
    lines = output.strip().splitlines()[-_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (nothing)"
