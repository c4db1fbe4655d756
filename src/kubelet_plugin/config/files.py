"""Which files are read, and what is in them."""

import errno
import os

from kubelet_plugin.errors import ConfigurationFileError, Problem

SIZE_LIMIT = 2**20
"""The largest file that is read, in bytes: what a ConfigMap can hold."""

_ENDINGS = (".yaml", ".yml", ".json")


def files(path: str) -> list[str]:
    """List the files that a path stands for.

    Raises:
        ConfigurationFileError: There are none.
    """
    try:
        names = os.listdir(path) if os.path.isdir(path) else None
    except OSError as error:
        raise _refused(
            path, f"this directory cannot be read: {error.strerror}; see to its mode and its owner"
        ) from None
    if names is None:
        return [path]
    found = sorted(name for name in names if name.endswith(_ENDINGS) and not name.startswith("."))
    if not found:
        raise _refused(path, "no file in this directory ends in .yaml, .yml or .json; put one there, or name another")
    return [os.path.join(path, name) for name in found]


def content(path: str) -> str:
    """Return the text of a file.

    Raises:
        ConfigurationFileError: It cannot be read, is too large, or is no text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        remedy = "see to its mode and its owner"
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            remedy = "write it, or name another"
        raise _refused(path, f"this file cannot be read: {error.strerror}; {remedy}") from None
    if len(data) > SIZE_LIMIT:
        raise _refused(path, f"this file is larger than {SIZE_LIMIT} bytes; make several files of it, in a directory")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(
            path, "this is no UTF-8; write plain text, or see whether it is the file you mean", line
        ) from None


def _refused(path: str, message: str, line: int | None = None) -> ConfigurationFileError:
    return ConfigurationFileError([Problem(path, message, line)])
