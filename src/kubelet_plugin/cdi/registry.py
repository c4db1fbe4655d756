"""The CDI specs of a host, as its container runtimes know them."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubelet_plugin.cdi.edits import ContainerEdits
from kubelet_plugin.cdi.errors import Error, ParseError, UnresolvableError
from kubelet_plugin.cdi.injection import apply_edits
from kubelet_plugin.cdi.names import split_kind
from kubelet_plugin.cdi.reading import read
from kubelet_plugin.cdi.spec import Device, Spec

DEFAULT_DIRS = ("/etc/cdi", "/var/run/cdi")
"""Where container runtimes look for specs, the lowest priority first."""

ENDINGS = (".json", ".yaml")
"""Of the names of spec files."""


class ConflictError(Error):
    """A device is in two specs of one directory, so no runtime resolves it.

    Attributes:
        name: The device's qualified name.
        paths: The two specs.
    """

    def __init__(self, name: str, *paths: str) -> None:
        self.name, self.paths = name, paths
        super().__init__(
            f"device {name} is in {' and in '.join(paths)}, files of one directory, so no runtime resolves it: "
            "remove it from one of them"
        )


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A valid spec of a directory.

    Attributes:
        path: The file.
        priority: Which of the directories it is in, from 0 on.
        spec: What it says.
    """

    path: str
    priority: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of reading a file, and by what a change of it is noticed."""

    version: tuple[int, ...]
    spec: Spec | None
    errors: tuple[Error, ...] = ()
    warnings: tuple[ParseError, ...] = ()


class Registry:
    """The valid specs of some directories.

    Of a device that several directories have, the one of the highest priority counts. One that two files of a single
    directory have is not resolved at all, whatever the other directories say. A file that cannot be read, or is not
    valid, takes nothing from the others.

    It knows the files as they were when it was made, and after that as they were at the last `refresh`.

    Attributes:
        dirs: The directories, lowest priority first.
    """

    def __init__(self, dirs: Sequence[str] = DEFAULT_DIRS) -> None:
        """Read the specs.

        Args:
            dirs: The directories, lowest priority first. One that is not there is as good as empty.
        """
        self.dirs = tuple(os.path.normpath(each) for each in dirs)
        self._outcomes: dict[str, _Outcome] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take notice of what has changed: new files and changed ones are read, all others are only looked at."""
        before, self._outcomes = self._outcomes, {}
        self._errors: dict[str, list[Error]] = {}
        self._files: list[SpecFile] = []
        self._devices: dict[str, tuple[Device, SpecFile]] = {}
        conflicts: set[str] = set()
        for priority, directory in enumerate(self.dirs):
            for path in self._paths_in(directory):
                outcome = self._outcomes[path] = _read(path, before.get(path))
                self._errors.setdefault(path, []).extend(outcome.errors)
                if outcome.spec:
                    file = SpecFile(path, priority, outcome.spec)
                    self._files.append(file)
                    conflicts.update(self._add_devices_of(file))
        for name in conflicts:
            del self._devices[name]

    async def watch(self, *, interval: float = 60.0) -> AsyncIterator[frozenset[str]]:
        """Refresh whenever something changes, and tell what has: `async for paths in registry.watch()`.

        A directory that does not exist is waited for. A change is noticed at once by inotify; where that cannot see it
        (the target of a link lies elsewhere, a directory above was moved), after `interval` seconds. Changes that come
        together are told together. Nothing is read while nobody asks for the next item.

        Args:
            interval: Seconds after which everything is looked at anyway.

        Yields:
            The files, and unreadable directories, that are new, changed or gone, or have errors that they had not
            before; the first at once, if there are any, in comparison with what the registry knew.

        Raises:
            Error: The system grants no inotify instance or watch; the message says which limit to raise.
        """
        from kubelet_plugin.cdi.watching import DirectoryWatch  # noqa: PLC0415  # it brings asyncio along

        with DirectoryWatch(self.dirs) as directories:
            known = self._state()
            while True:
                directories.renew()
                self.refresh()
                before, known = known, self._state()
                if changed := frozenset(path for path in {*before, *known} if before.get(path) != known.get(path)):
                    yield changed
                await directories.wait(interval)

    @property
    def errors(self) -> dict[str, list[Error]]:
        """What is wrong, by file (the conflicts it is part of included), or by directory where that is unreadable."""
        return {path: list(errors) for path, errors in self._errors.items() if errors}

    @property
    def warnings(self) -> dict[str, list[ParseError]]:
        """What is odd in files, by file: a reader other than the container runtimes' would refuse or mistake it."""
        return {path: list(each.warnings) for path, each in self._outcomes.items() if each.warnings}

    def devices(self) -> list[str]:
        """The qualified names of the devices that can be resolved, sorted."""
        return sorted(self._devices)

    def vendors(self) -> list[str]:
        """The vendors of the valid specs, sorted."""
        return sorted({split_kind(file.spec.kind)[0] for file in self._files})

    def classes(self) -> list[str]:
        """The classes of the valid specs, sorted."""
        return sorted({split_kind(file.spec.kind)[1] for file in self._files})

    def specs(self, vendor: str | None = None, class_: str | None = None) -> list[SpecFile]:
        """The valid specs, all or those of a vendor, a class or both, in the order of directories, then of names."""
        wanted = (vendor, class_)
        return [
            file
            for file in self._files
            if all(want in (None, part) for want, part in zip(wanted, split_kind(file.spec.kind), strict=True))
        ]

    def device(self, name: str) -> Device:
        """The device of a qualified name.

        Raises:
            UnresolvableError: There is none.
        """
        return self._resolve(name)[0][0]

    def spec_path_of(self, name: str) -> str:
        """The file that the device of a qualified name is taken from.

        Raises:
            UnresolvableError: There is none.
        """
        return self._resolve(name)[0][1].path

    def resolve(self, *names: str) -> tuple[ContainerEdits, ...]:
        """What a container gets that is given the devices of these qualified names, in the order it is applied.

        The edits of a whole spec come before those of its first device, once. A device that is named twice is there
        twice.

        Raises:
            UnresolvableError: There are names of no device.
        """
        edits: list[ContainerEdits] = []
        seen: set[str] = set()
        for device, file in self._resolve(*names):
            if file.path not in seen:
                edits.append(file.spec.container_edits)
            seen.add(file.path)
            edits.append(device.container_edits)
        return tuple(edits)

    def inject(self, oci: dict[str, Any], *names: str, host_root: str = "/") -> dict[str, Any]:
        """Make the OCI runtime configuration of a container that is given the devices of these qualified names.

        Args:
            oci: The configuration without them. It stays as it is.
            names: The devices.
            host_root: Where the host's `/` is, for device nodes whose type, numbers or mode a spec leaves to the host.

        Raises:
            UnresolvableError: There are names of no device.
            Error: The host lacks a device node, or `oci` is no OCI runtime configuration.
        """
        return apply_edits(oci, *self.resolve(*names), host_root=host_root)

    def _state(self) -> Mapping[str, tuple[tuple[int, ...], list[str]]]:
        """Of each file and unreadable directory, what tells its state from another."""
        none = _Outcome((), None)
        return {
            path: (self._outcomes.get(path, none).version, [str(error) for error in errors])
            for path, errors in self._errors.items()
        }

    def _resolve(self, *names: str) -> list[tuple[Device, SpecFile]]:
        unresolvable = tuple(name for name in names if name not in self._devices)
        if unresolvable:
            raise UnresolvableError(unresolvable)
        return [self._devices[name] for name in names]

    def _paths_in(self, directory: str) -> list[str]:
        try:
            return spec_paths(directory)
        except Error as error:
            self._errors[directory] = [error]
            return []

    def _add_devices_of(self, file: SpecFile) -> Iterator[str]:
        """Take the devices of a file; what comes back are the names of those in conflict."""
        for device in file.spec.devices:
            name = f"{file.spec.kind}={device.name}"
            other = self._devices.get(name)
            if other and other[1].priority == file.priority:
                conflict = ConflictError(name, file.path, other[1].path)
                for path in conflict.paths:
                    self._errors[path].append(conflict)
                yield name
            else:
                self._devices[name] = (device, file)


def spec_paths(directory: str) -> list[str]:
    """The spec files of a directory, in the order in which they are read; of a spec file in its place, that file.

    Raises:
        Error: The directory cannot be read.
    """
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        if os.path.isfile(directory):
            return [directory] if directory.endswith(ENDINGS) else []
        raise Error(f"cannot read CDI directory {directory}: one above it is no directory") from None
    except OSError as error:
        raise Error(f"cannot read CDI directory {directory}: {error.strerror}") from error
    paths = [os.path.join(directory, name) for name in names if name.endswith(ENDINGS)]
    return [path for path in paths if os.path.islink(path) or not os.path.isdir(path)]


def _read(path: str, before: _Outcome | None) -> _Outcome:
    """Read a file, or find that it is still as before."""
    version = _version(path)
    if before and version and before.version == version:
        return before
    warnings: list[ParseError] = []
    try:
        spec = read(path, warn=warnings.append)
    except Error as error:
        return _Outcome(version, None, (error,))
    return _Outcome(version, spec, warnings=tuple(warnings))


def _version(path: str) -> tuple[int, ...]:
    """By what a change of the file shows; empty: it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
