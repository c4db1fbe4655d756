"""The CDI spec file of one resource, kept on disk."""

import os
from collections.abc import Iterable, Sequence

from kubelet_plugin import cdi
from kubelet_plugin.runtime.device import Device


class SpecFile:
    """Writes the spec of a resource's devices and vouches for it.

    The file stays when the process ends: running pods replay the names in it at each container start.

    Args:
        kind: The CDI kind.
        directory: The spec directory that the container runtime reads.
    """

    def __init__(self, kind: str, directory: str) -> None:
        self.kind = kind
        self.directory = directory
        self._vendor, self._class = kind.split("/", 1)
        self._spec: cdi.Spec | None = None
        self.path = cdi.spec_path(kind, directory)
        self._written: tuple[int, int, int] | None = None

    def write(self, devices: Iterable[Device]) -> None:
        """Bring the file in line with these devices. A file that says the same already is left alone.

        Raises:
            cdi.Error: It could not be written; the file that was there is unharmed.
        """
        edits = {device.cdi_name: device.edits for device in devices if device.edits}
        self._spec = cdi.Spec(self.kind, tuple(cdi.Device(name, edits) for name, edits in edits.items()))
        self._written = None
        self.ensure()

    def ensure(self) -> None:
        """Write the file anew unless it is the very one that was written.

        Raises:
            cdi.Error: It could not be written.
        """
        if self._spec is None or not self._spec.devices:
            return
        if self._written is None or self._identity() != self._written:
            self._written = None
            cdi.write(self._spec, self.directory)
            self._written = self._identity()

    def names(self, devices: Sequence[Device]) -> tuple[str, ...]:
        """Return the qualified names of devices, once each.

        Raises:
            cdi.Error: The file is not on disk as it must be, and could not be written.
        """
        self.ensure()
        names = dict.fromkeys(device.cdi_name for device in devices if device.edits)
        return tuple(cdi.qualified_name(self._vendor, self._class, name) for name in names)

    def _identity(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self.path)
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_ctime_ns, status.st_size)
