"""The CDI specs that a container runtime knows, looked at before each container and read when they have changed."""

import os
from collections.abc import Iterator, Sequence

from kubelet_plugin import cdi


class CdiCache:
    """The CDI specs of some directories.

    Args:
        dirs: The directories, lowest priority first; they need not exist.
    """

    def __init__(self, dirs: Sequence[str]) -> None:
        self._dirs = tuple(dirs)
        self._registry: cdi.Registry | None = None
        self._signs: dict[str, tuple[int, ...]] = {}

    def registry(self) -> cdi.Registry:
        """Return the specs as they are now."""
        signs = dict(self._look())
        if self._registry is None:
            self._registry = cdi.Registry(self._dirs)
        elif signs != self._signs:
            self._registry.refresh()
        self._signs = signs
        return self._registry

    def _look(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """What differs when a spec has changed, come or gone, by path."""
        for directory in self._dirs:
            yield directory, _sign(directory)
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        yield entry.path, _sign(entry.path)
            except OSError:
                pass  # what the directory is instead is told by its own sign


def _sign(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
