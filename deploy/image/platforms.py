"""The platforms that the image is for."""

import platform
from dataclasses import dataclass

from deploy.image.errors import ImageError


@dataclass(frozen=True, slots=True)
class Platform:
    """One of the image's platforms.

    Attributes:
        name: As OCI and Debian call it.
        machine: As the kernel and wheels call it.
        variant: OCI's variant; empty where it has none.
        triplet: The directory of its libraries.
        loader: The dynamic loader, as programs name it.
        elf_machine: The number of the machine in an ELF header.
    """

    name: str
    machine: str
    variant: str
    triplet: str
    loader: str
    elf_machine: int

    @property
    def wheel_tags(self) -> tuple[str, ...]:
        """The tags of wheels that Debian 12's libc (2.36) runs, as pip's `--platform` takes them."""
        return tuple(f"manylinux{age}_{self.machine}" for age in ("2014", "_2_17", "_2_28", "_2_31", "_2_34", "_2_36"))


AMD64 = Platform("amd64", "x86_64", "", "x86_64-linux-gnu", "lib64/ld-linux-x86-64.so.2", 62)
ARM64 = Platform("arm64", "aarch64", "v8", "aarch64-linux-gnu", "lib/ld-linux-aarch64.so.1", 183)
PLATFORMS = (AMD64, ARM64)


def of_this_machine() -> Platform:
    """The platform whose programs run here.

    Raises:
        ImageError: None of them does.
    """
    for each in PLATFORMS:
        if each.machine == platform.machine():
            return each
    raise ImageError(
        f"the image's own Python makes the byte code, and none of {', '.join(p.name for p in PLATFORMS)} runs on this "
        f"{platform.machine()}: build on one of them"
    )
