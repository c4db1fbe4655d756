import struct
import sys
from pathlib import Path

from deploy.image import elf
from deploy.image.platforms import of_this_machine


def test_a_program_names_its_machine_its_loader_and_its_libraries() -> None:
    found = elf.read(Path(sys.executable).resolve().read_bytes())

    assert found is not None
    assert found.machine == of_this_machine().elf_machine
    assert found.interpreter == f"/{of_this_machine().loader}"
    assert "libc.so.6" in found.needed


def test_a_script_is_no_elf_file() -> None:
    assert elf.read(b"#!/bin/sh\n") is None


def test_a_file_of_32_bits_is_not_read() -> None:
    assert elf.read(b"\x7fELF\x01\x01" + bytes(200)) is None


def test_names_are_found_in_a_program_that_is_loaded_elsewhere_than_it_stands_in_its_file() -> None:
    base, names, dynamic = 0x400000, 176, 200
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 183, 1, base, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, base, base, 248, 248, 4096)
    described = struct.pack("<IIQQQQQQ", 2, 4, dynamic, base + dynamic, base + dynamic, 48, 48, 8)
    text = b"\0libthing.so.1\0".ljust(dynamic - names, b"\0")
    entries = struct.pack("<qQqQqQ", 1, 1, 5, base + names, 0, 0)

    assert elf.read(header + load + described + text + entries) == elf.Elf(183, "", ("libthing.so.1",))
