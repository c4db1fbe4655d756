"""What udev found out about devices, from its database in /run/udev."""

import os
from dataclasses import dataclass, field
from typing import Literal

_LIMIT = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Record:
    """What udev knows of one device.

    Attributes:
        properties: Such as `ID_SERIAL`.
        links: The symbolic links to its node.
    """

    properties: dict[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()


def record(
    numbers: tuple[Literal["char", "block"], int, int] | None,
    subsystem: str,
    name: str,
    directory: str,
    *,
    ifindex: str = "",
) -> Record:
    """Read the record of a device; an empty one where udev has none.

    Args:
        numbers: The kind and the numbers of its node; None where it has none.
        subsystem: Its subsystem.
        name: The kernel's name of it.
        directory: udev's runtime directory.
        ifindex: Its index, where it is a network interface.
    """
    if numbers:
        key = f"{numbers[0][0]}{numbers[1]}:{numbers[2]}"
    else:
        key = f"n{ifindex}" if ifindex else f"+{subsystem}:{name}"
    try:
        with open(os.path.join(directory, "data", key), "rb") as file:
            lines = file.read(_LIMIT).decode(errors="replace").split("\n")
    except OSError:
        return Record()
    properties = dict(line[2:].split("=", 1) for line in lines if line.startswith("E:") and "=" in line)
    return Record(properties, tuple(f"/dev/{line[2:]}" for line in lines if line.startswith("S:")))
