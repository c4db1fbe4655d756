"""What an ELF file says of itself: for which machine it is, and which libraries it needs."""

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB = 0, 1, 5
_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian


@dataclass(frozen=True, slots=True)
class Elf:
    """A program or a library.

    Attributes:
        machine: The number of the machine it is for.
        interpreter: The dynamic loader it names; empty for a library or a static program.
        needed: The names of the libraries it needs.
    """

    machine: int
    interpreter: str
    needed: tuple[str, ...]


def read(data: bytes) -> Elf | None:
    """What the file says; None where it is no ELF file of 64 bits, little-endian."""
    if not data.startswith(_MAGIC) or len(data) < _HEADER.size:
        return None
    header = _HEADER.unpack_from(data)
    machine, offset, size, count = header[2], header[5], header[9], header[10]
    segments = [_SEGMENT.unpack_from(data, offset + index * size) for index in range(count)]
    interpreter = next((data[s[2] : s[2] + s[5] - 1].decode() for s in segments if s[0] == _PT_INTERP), "")
    dynamic = next((s for s in segments if s[0] == _PT_DYNAMIC), None)
    return Elf(machine, interpreter, _needed(data, segments, dynamic[2]) if dynamic else ())


def _needed(data: bytes, segments: list[tuple[int, ...]], offset: int) -> tuple[str, ...]:
    names, table = [], 0
    while True:
        tag, value = _DYNAMIC.unpack_from(data, offset)
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            names.append(value)
        elif tag == _DT_STRTAB:
            table = _in_file(segments, value)
        offset += _DYNAMIC.size
    return tuple(data[table + name : data.index(b"\0", table + name)].decode() for name in names)


def _in_file(segments: list[tuple[int, ...]], address: int) -> int:
    for kind, _, offset, virtual, _, size, *_ in segments:
        if kind == _PT_LOAD and virtual <= address < virtual + size:
            return offset + address - virtual
    raise ValueError(f"no segment of the ELF file is loaded at {address:#x}")
