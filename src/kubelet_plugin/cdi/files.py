"""Writing CDI spec files. A reader sees the file of before or the new one, never a part."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator

from kubelet_plugin.cdi.document import dumps
from kubelet_plugin.cdi.errors import Error
from kubelet_plugin.cdi.spec import Spec
from kubelet_plugin.cdi.validation import check

_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755

# No runtime reads a name that ends so.
_TEMPORARY_PREFIX = ".cdi-"
_TEMPORARY_SUFFIX = ".tmp"

_REMEDIES = {
    errno.EROFS: "the file system is read-only: mount it writable, or give another directory",
    errno.EACCES: "write as a user who may (root), or give a directory that is yours",
    errno.EPERM: "write as a user who may (root), or give a directory that is yours",
    errno.ENOSPC: "free space on that file system",
    errno.EDQUOT: "free space in the quota of that file system",
    errno.ENOENT: "the directory cannot be made there: give another",
    errno.ENOTDIR: "something on the way is no directory: move it away, or give another directory",
    errno.EISDIR: "a directory has the name of the file: move it away",
    errno.ENAMETOOLONG: "choose a shorter vendor, class or directory",
}


def spec_path(kind: str, directory: str) -> str:
    """Where `write` puts the spec of a kind: `vendor-class.json` in `directory`.

    The name depends on nothing else, so a later spec of the kind takes the place of the earlier. (Two kinds whose
    letters differ only in where the slash stands, `a-b/c` and `a/b-c`, share a file: do not serve both.)
    """
    return os.path.join(directory, kind.replace("/", "-") + ".json")


def write(spec: Spec, directory: str) -> str:
    """Write `spec` to its file in `directory`, atomically and durably.

    The file is at `spec_path(spec.kind, directory)`, mode 0644 whatever the umask; a symlink of that name is replaced.
    A file that says the same already is not written again, but its mode is mended. The directory is made, 0755, if it
    is missing. What a writer that was killed left behind is removed. Blocks while the file system does.

    Returns:
        The path of the file.

    Raises:
        Error: The spec must not be written (nothing has been touched then), or the system refused: the message has the
            path, the cause and what to do, `__cause__` is the OSError. What was there before is there still, unless
            only the last step failed, which makes the new name outlive a power cut. No temporary file is left.
    """
    check(spec)
    path = spec_path(spec.kind, directory)
    try:
        content = dumps(spec).encode()
    except UnicodeEncodeError as error:
        raise Error(f"CDI spec {spec.kind!r}: {error.object[error.start :][:1]!r} in it is not UTF-8 text") from error
    try:
        _make_directory(directory)
        with _opened(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder:
            _remove_leftovers(folder)
            if not _is_there(folder, os.path.basename(path), content):
                _replace(folder, os.path.basename(path), content)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        reason = error.strerror or str(error)
        raise Error(f"cannot write CDI spec {path}: {reason}" + (f"; {remedy}" if remedy else "")) from error
    return path


@contextlib.contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make_directory(path: str) -> None:
    missing = []
    while path and not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip("/"))
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(each)
            os.chmod(each, _DIRECTORY_MODE)


def _is_there(folder: int, name: str, content: bytes) -> bool:
    """Whether the file says `content` with the right mode, which is mended where only that is wrong."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    with _opened(descriptor) as file:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(content):
            return False
        if _read(file) != content:
            return False
        if stat.S_IMODE(status.st_mode) != _FILE_MODE:
            try:
                os.fchmod(file, _FILE_MODE)
            except OSError:
                return False  # not our file: a new one can be had
        return True


def _read(file: int) -> bytes:
    with open(file, "rb", closefd=False) as stream:
        return stream.read()


def _replace(folder: int, name: str, content: bytes) -> None:
    temporary, file = _make_temporary(folder)
    with _opened(file):
        try:
            os.fchmod(file, _FILE_MODE)
            with open(file, "wb", closefd=False) as stream:
                stream.write(content)
            os.fsync(file)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
    os.fsync(folder)


def _make_temporary(folder: int) -> tuple[str, int]:
    """Make a temporary file and hold a lock on it, by which other writers know that we live."""
    while True:
        name = f"{_TEMPORARY_PREFIX}{os.urandom(8).hex()}{_TEMPORARY_SUFFIX}"
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return name, file
        except BaseException:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
        os.close(file)  # another writer took it for a leftover before it was locked


def _remove_leftovers(folder: int) -> None:
    """Remove temporary files whose writer is dead. One that cannot be removed does no harm."""
    for name in os.listdir(folder):
        if name.startswith(_TEMPORARY_PREFIX) and name.endswith(_TEMPORARY_SUFFIX):
            with contextlib.suppress(OSError):
                _remove_if_unlocked(folder, name)


def _remove_if_unlocked(folder: int, name: str) -> None:
    with _opened(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
