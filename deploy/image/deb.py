"""What is in a Debian package: an `ar` archive of two tar archives."""

import io
import tarfile
from collections.abc import Iterator

from deploy.image.errors import ImageError
from deploy.image.tree import DEBIAN, Entry

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes before each member


def entries(data: bytes, package: str) -> Iterator[Entry]:
    """The files and links that a package installs, and its directories.

    Raises:
        ImageError: It is no Debian package, or has a kind of file that an image of ours has no use for.
    """
    with tarfile.open(fileobj=io.BytesIO(_member(data, "data.tar"))) as archive:
        for member in archive:
            path = member.name.removeprefix("./").strip("/")
            if not path or path == ".":
                continue
            if member.isdir():
                yield Entry(path, package, DEBIAN)
            elif member.issym():
                yield Entry(path, package, DEBIAN, target=member.linkname)
            else:
                file = archive.extractfile(member)  # of a hard link, the file that it is another name of
                if file is None:
                    raise ImageError(f"{package}: /{path} is neither a file nor a link nor a directory")
                yield Entry(path, package, DEBIAN, file.read(), executable=bool(member.mode & 0o111))


def control(data: bytes, name: str = "control") -> str:
    """A control file of a package; empty where it has none of that name."""
    with tarfile.open(fileobj=io.BytesIO(_member(data, "control.tar"))) as archive:
        for member in archive:
            if member.name.removeprefix("./") == name and (file := archive.extractfile(member)):
                return file.read().decode("utf-8")
    return ""


def field(control_file: str, name: str) -> str:
    """The value of a field of a control file, its first line; empty where it has no such field."""
    for line in control_file.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


def _member(data: bytes, stem: str) -> bytes:
    if not data.startswith(_MAGIC):
        raise ImageError("this is no Debian package: it does not begin as an `ar` archive does")
    offset = len(_MAGIC)
    while offset < len(data):
        name = data[offset : offset + 16].decode("ascii").strip().rstrip("/")
        size = int(data[offset + 48 : offset + 58])
        offset += _HEADER
        if name.startswith(stem):
            return data[offset : offset + size]
        offset += size + size % 2
    raise ImageError(f"this Debian package has no {stem}")
