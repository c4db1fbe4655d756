"""Files kept by their checksum, so that a build needs the network once: `~/.cache/kubelet-plugin/image`."""

import hashlib
import os
import tempfile
from pathlib import Path

DEFAULT = Path.home() / ".cache" / "kubelet-plugin" / "image"


class Cache:
    """Files by their SHA-256.

    Args:
        directory: Where they are kept; it is made where it is not there.
    """

    def __init__(self, directory: Path = DEFAULT) -> None:
        self._directory = directory

    def get(self, sha256: str) -> bytes | None:
        """The content with that checksum; None where it is not kept, or is no longer what it was."""
        try:
            data = (self._directory / sha256).read_bytes()
        except FileNotFoundError:
            return None
        return data if digest(data) == sha256 else None

    def keep(self, data: bytes) -> str:
        """Keep a content; return its checksum."""
        sha256 = digest(data)
        self._directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as part:
            part.write(data)
        os.replace(part.name, self._directory / sha256)  # complete or not at all, for builds that run beside this one
        return sha256


def digest(data: bytes) -> str:
    """The SHA-256 of a content, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
