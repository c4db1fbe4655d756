"""A tree as the layers of an image: tar archives in which nothing depends on when and where they were made."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from deploy.image.cache import digest
from deploy.image.recorded_python import RecordedPython
from deploy.image.tree import DEBIAN, OURS, PYTHON, Entry, Tree, parents

ORDER = (DEBIAN, PYTHON, OURS)
_DIRECTORY, _PROGRAM, _FILE = 0o555, 0o555, 0o444  # nobody may write anything, root included once it has no capability


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer.

    Attributes:
        name: What it holds.
        data: Its archive, compressed.
        diff_id: The checksum of the archive, uncompressed.
    """

    name: str
    data: bytes
    diff_id: str


def archive(tree: Tree, layer: str, mtime: int) -> bytes:
    """The entries of one layer, and the directories above them.

    Args:
        tree: The whole image.
        layer: Which layer.
        mtime: The time of all files, in seconds since 1970.
    """
    members: Tree = {}
    for entry in tree.values():
        if entry.layer == layer:
            members |= {path: Entry(path, entry.owner, layer) for path in parents(entry.path) if path not in members}
            members[entry.path] = entry
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(members):
            tar.addfile(_header(members[path], mtime), io.BytesIO(members[path].data or b""))
    return buffer.getvalue()


def _header(entry: Entry, mtime: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(entry.path)
    header.mtime = mtime
    if entry.target:
        header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.target, 0o777
    elif entry.data is None:
        header.type, header.mode = tarfile.DIRTYPE, _DIRECTORY
    else:
        header.size, header.mode = entry.size, _PROGRAM if entry.executable else _FILE
    return header


def layers(tree: Tree, python: RecordedPython, directory: Path, mtime: int) -> list[Layer]:
    """All layers of a tree.

    Args:
        tree: The whole image.
        python: Compresses them.
        directory: For files in between.
        mtime: The time of all files, in seconds since 1970.
    """
    archives = {name: archive(tree, name, mtime) for name in ORDER}
    files = [directory / f"{name}.tar" for name in ORDER]
    for file, data in zip(files, archives.values(), strict=True):
        file.write_bytes(data)
    python.compress(files)
    compressed = {name: file.with_suffix(".tar.gz").read_bytes() for name, file in zip(ORDER, files, strict=True)}
    return [Layer(name, compressed[name], f"sha256:{digest(archives[name])}") for name in ORDER]
