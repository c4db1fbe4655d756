"""What container runtimes accept of CDI, as data."""

from dataclasses import dataclass

from kubelet_plugin.cdi.version import VERSIONS


@dataclass(frozen=True, slots=True)
class Runtime:
    """A release series of a container runtime.

    Attributes:
        name: Its name and series, such as `containerd-1.7`.
        newest: The newest CDI version that it reads.
        crashes_on_short_kinds: Whether a spec with a vendor or class of one character makes it crash.
    """

    name: str
    newest: str
    crashes_on_short_kinds: bool = True

    def reads(self, version: str) -> bool:
        """Whether it reads specs of a CDI version."""
        version = version.removeprefix("v")
        return version in VERSIONS and VERSIONS.index(version) <= VERSIONS.index(self.newest)


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("containerd-1.7", "0.8.0"),
        Runtime("containerd-2.1", "1.0.0"),
        Runtime("cri-o-1.31", "0.8.0"),
        Runtime("docker-27", "0.7.0"),
        Runtime("podman-4.3", "0.5.0"),
        Runtime("podman-5.2", "0.8.0"),
    )
}
"""The runtimes that are known, by name; a later series reads at least as much."""
