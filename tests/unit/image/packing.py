"""Debian packages, wheels and images, small enough to be made in a test."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from deploy.image import oci
from deploy.image.layers import Layer
from deploy.image.platforms import PLATFORMS


def tar(files: Mapping[str, bytes | str]) -> bytes:
    """A tar archive; text is where a symbolic link leads."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            elif name.endswith("/"):
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size, member.mode = len(content), 0o755 if "/bin/" in name else 0o644
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def deb(files: Mapping[str, bytes | str], control: str = "Package: thing\nVersion: 1:2.0-3\n") -> bytes:
    """A Debian package."""
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": tar({"control": control.encode()}),
        "data.tar.xz": tar(files),
    }
    data = b"!<arch>\n"
    for name, content in members.items():
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    return data


def wheel(files: Mapping[str, bytes], metadata: str = "Name: Some.Thing\nVersion: 1.0\n") -> bytes:
    """A wheel."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**files, "thing-1.0.dist-info/METADATA": metadata.encode()}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def image(path: Path, tag: str = "1.0") -> oci.Archive:
    """An image for all platforms, written to an archive."""
    blobs = oci.Blobs()
    settings = oci.Settings(["/usr/bin/thing"], ["run"], {"org.opencontainers.image.version": "1.0"}, 0)
    manifests = [
        oci.add_platform(blobs, each, [Layer("all", f"layer of {each.name}".encode(), "sha256:0")], settings)
        for each in PLATFORMS
    ]
    oci.write(path, blobs, oci.add_index(blobs, manifests, {}), "localhost/thing", tag)
    return oci.read(path)
