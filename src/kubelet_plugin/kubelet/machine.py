"""What a kubelet says of the machine it runs on."""

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine. A text is empty where the machine does not tell.

    Attributes:
        cpus: How many CPUs it has.
        memory: How much memory it has, in bytes.
        architecture: What Go calls its architecture, such as `amd64`.
        kernel: The release of its kernel.
        os_image: The name of its operating system, for people.
        machine_id: The id of this installation.
        boot_id: The id of this boot.
    """

    cpus: int
    memory: int
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str

    @classmethod
    def read(cls, root: str = "/") -> Self:
        """Return what this machine is; its files are read under `root`."""

        def content(path: str) -> str:
            try:
                with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                    return file.read().strip()
            except OSError:
                return ""

        architecture = os.uname().machine
        return cls(
            cpus=os.cpu_count() or 1,
            memory=_memory(content("proc/meminfo")),
            architecture=_GO_ARCHITECTURES.get(architecture, architecture),
            kernel=content("proc/sys/kernel/osrelease"),
            os_image=_pretty_name(content("etc/os-release") or content("usr/lib/os-release")),
            machine_id=content("etc/machine-id"),
            boot_id=content("proc/sys/kernel/random/boot_id"),
        )


def _memory(meminfo: str) -> int:
    """Return the `MemTotal` of /proc/meminfo, which counts in KiB, in bytes."""
    return next((int(value.split()[0]) << 10 for value in _values(meminfo, "MemTotal", ":")), 0)


def _pretty_name(os_release: str) -> str:
    return next((" ".join(shlex.split(value)) for value in _values(os_release, "PRETTY_NAME", "=")), "")


def _values(text: str, key: str, separator: str) -> Iterator[str]:
    for line in text.splitlines():
        name, _, value = line.partition(separator)
        if name == key:
            yield value
