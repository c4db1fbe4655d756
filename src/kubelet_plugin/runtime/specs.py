"""The CDI spec file of one resource, kept on disk."""

import os
from collections.abc import Callable, Iterable, Sequence

from kubelet_plugin import cdi
from kubelet_plugin.errors import TransientError
from kubelet_plugin.runtime.device import Device, Health


class SpecFile:
    """Writes the spec of a resource's devices and vouches for it.

    The file stays when the process ends: running pods replay the names in it at each container start.

    Args:
        kind: The CDI kind.
        directory: The spec directory that the container runtime reads.
        may_write: Tells whether the file is ours to write: not while another instance may serve in our place.
    """

    def __init__(self, kind: str, directory: str, may_write: Callable[[], bool]) -> None:
        self.kind = kind
        self.directory = directory
        self._vendor, self._class = kind.split("/", 1)
        self._edits: dict[str, cdi.ContainerEdits] = {}
        self.path = cdi.spec_path(kind, directory)
        self._may_write = may_write
        self._written: tuple[int, int, int] | None = None

    def write(self, devices: Iterable[Device]) -> None:
        """Bring the file in line with these devices; it is written only where it differs.

        An Unhealthy device keeps the edits it is written with, unless a Healthy share of it has others: they cannot be
        handed out, and the bad news is not to wait for a disk.

        Raises:
            cdi.Error: It could not be written; the file that was there is unharmed.
            TransientError: It differs, and is not ours to write.
        """
        healthy: dict[str, cdi.ContainerEdits] = {}
        edits: dict[str, cdi.ContainerEdits] = {}
        for device in devices:
            if device.edits:
                if device.health == Health.HEALTHY:
                    healthy[device.cdi_name] = device.edits
                edits.setdefault(device.cdi_name, self._edits.get(device.cdi_name, device.edits))
        edits |= healthy
        if edits != self._edits:
            self._edits = edits
            self._written = None
        self.ensure()

    def ensure(self) -> None:
        """Write the file anew unless it is the very one that was written.

        Raises:
            cdi.Error: It could not be written.
            TransientError: It is another one, and not ours to write.
        """
        if self._edits and (self._written is None or self._identity() != self._written):
            self._written = None
            if not self._may_write():
                raise TransientError(f"the CDI spec {self.path} is left alone until our socket is in place")
            devices = tuple(cdi.Device(name, edits) for name, edits in self._edits.items())
            cdi.write(cdi.Spec(self.kind, devices), self.directory)
            self._written = self._identity()

    def names(self, devices: Sequence[Device]) -> tuple[str, ...]:
        """Return the qualified names of devices, once each.

        Raises:
            cdi.Error: The file is not on disk as it must be, and could not be written.
            TransientError: The same, and it is not ours to write; or by now it says something else of a device.
        """
        self.ensure()
        names: dict[str, None] = {}
        for device in devices:
            if device.edits:
                if self._edits.get(device.cdi_name) != device.edits:
                    raise TransientError(f"device {device.id} has changed: {self.path} has other edits for it")
                names[device.cdi_name] = None
        return tuple(cdi.qualified_name(self._vendor, self._class, name) for name in names)

    def _identity(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return (status.st_ino, status.st_ctime_ns, status.st_size)
