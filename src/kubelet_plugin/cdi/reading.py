"""Reading CDI spec files."""

import os
import stat

from kubelet_plugin.cdi.errors import Error
from kubelet_plugin.cdi.parsing import SIZE_LIMIT, Warn, parse
from kubelet_plugin.cdi.spec import Spec


def read(path: str, *, warn: Warn | None = None) -> Spec:
    """Read the spec in a file, which may be a link to one.

    Args:
        path: The file. Its name does not matter: what starts with `{` is JSON, all else YAML.
        warn: As in `parse`.

    Raises:
        Error: The system refused, or it is no file; a `ParseError`: it holds no valid spec (see `parse`).
    """
    return parse(content(path), path=path, warn=warn)


def content(path: str) -> bytes:
    """The content of a spec file; of one that is too large to be a spec, a part that is.

    Raises:
        Error: The system refused, or it is no file.
    """
    try:
        # A FIFO of the name is not waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(SIZE_LIMIT + 1) if is_regular else b""
    except OSError as error:
        raise Error(f"cannot read CDI spec {path}: {error.strerror}") from error
    if not is_regular:
        raise Error(f"cannot read CDI spec {path}: it is no regular file")
    return data
