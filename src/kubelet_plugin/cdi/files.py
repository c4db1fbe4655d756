"""Writing and removing CDI spec files. A reader sees the file of before or the new one, never a part."""

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator

from kubelet_plugin.cdi.document import dumps
from kubelet_plugin.cdi.errors import Error, ParseError
from kubelet_plugin.cdi.spec import Spec
from kubelet_plugin.cdi.validation import validate_spec

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


_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")


def spec_path(kind: str, directory: str, *, id: str = "", yaml: bool = False) -> str:  # noqa: A002  # the field's word
    """Where `write` puts the spec of a kind: `vendor-class.json` in `directory`.

    The name depends on nothing else, so a later spec of the kind takes the place of the earlier. (Two kinds whose
    letters differ only in where the slash stands, `a-b/c` and `a/b-c`, share a file: do not serve both.)

    Args:
        kind: `vendor/class`.
        directory: The spec directory.
        id: What a transient spec is made for, such as a container or a claim: the name is then `vendor-class_id.json`.
        yaml: Whether the name ends in `.yaml`.

    Raises:
        Error: The id does not start and end with a letter or digit, or holds another character than ASCII letters,
            digits, `-`, `_`, `.` and `:`.
    """
    if id and not _ID.fullmatch(id):
        raise Error(
            f"id {id!r} cannot be part of a file name: it must start and end with an ASCII letter or digit, "
            "with letters, digits, -, _, . and : between"
        )
    name = kind.replace("/", "-") + (f"_{id}" if id else "") + (".yaml" if yaml else ".json")
    return os.path.join(directory, name)


def write(spec: Spec, directory: str, *, id: str = "", yaml: bool = False) -> str:  # noqa: A002  # the field's word
    """Write `spec` to its file in `directory`, atomically and durably.

    The file is at `spec_path(spec.kind, directory)`, mode 0644 whatever the umask; a symlink of that name is replaced.
    A file that says the same already is not written again, but its mode is mended. The directory is made, 0755, if it
    is missing. What a writer that was killed left behind is removed. Blocks while the file system does.

    Args:
        spec: The spec; without a version it gets the lowest that expresses it.
        directory: The spec directory.
        id: As in `spec_path`; whoever writes a spec with an id removes it in the end.
        yaml: Whether it is written as YAML, which all runtimes read more slowly.

    Returns:
        The path of the file.

    Raises:
        Error: The spec must not be written (nothing has been touched then), or the system refused: the message has the
            path, the cause and what to do, `__cause__` is the OSError. What was there before is there still, unless
            only the last step failed, which makes the new name outlive a power cut. No temporary file is left.
    """
    path = spec_path(spec.kind, directory, id=id, yaml=yaml)
    write_file(spec, path)
    return path


def write_file(spec: Spec, path: str) -> None:
    """Write `spec` to a file of any name, as `write` does: YAML where it ends in `.yaml` or `.yml`, else JSON.

    Raises:
        Error: As `write`.
    """
    validate_spec(spec)
    directory, name = os.path.split(path)
    try:
        content = _text(spec, is_yaml=name.endswith((".yaml", ".yml"))).encode()
    except UnicodeEncodeError as error:
        raise Error(f"CDI spec {spec.kind!r}: {error.object[error.start :][:1]!r} in it is not UTF-8 text") from error
    try:
        _make_directory(directory)
        with _directory(directory) as folder:
            _remove_leftovers(folder)
            if not _is_there(folder, name, content):
                _replace(folder, name, content)
    except OSError as error:
        raise _refusal("write", path, error) from error


def remove(kind: str, directory: str, *, id: str = "", yaml: bool = False) -> bool:  # noqa: A002  # the field's word
    """Remove the file that `write` made for a kind, if it is there and holds a spec of this kind.

    Args:
        kind: The kind that was written.
        directory: The spec directory.
        id: The id that it was written with.
        yaml: Whether it was written as YAML.

    Returns:
        Whether there was one.

    Raises:
        Error: The file of that name is no spec of the kind, or a symlink, and so was put there by somebody else; it is
            left alone. Or the system refused.
    """
    path = spec_path(kind, directory, id=id, yaml=yaml)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise Error(f"{path} is no regular file, so not what was written for {kind}: it is left alone")
        _check_kind(path, kind)
        with _directory(directory) as folder:
            os.unlink(os.path.basename(path), dir_fd=folder)
            os.fsync(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal("remove", path, error) from error
    return True


def _check_kind(path: str, kind: str) -> None:
    from kubelet_plugin.cdi.parsing import decode  # noqa: PLC0415  # of no use to one who only writes
    from kubelet_plugin.cdi.reading import content  # noqa: PLC0415

    try:
        found = decode(content(path), path=path).kind
    except ParseError as error:
        raise Error(f"{error}; so it cannot be told whether it was written for {kind}: it is left alone") from None
    if found != kind:
        raise Error(f"{path} is of the kind {found}, not {kind}: it is left alone")


def _text(spec: Spec, *, is_yaml: bool) -> str:
    if not is_yaml:
        return dumps(spec)
    from kubelet_plugin.cdi.yaml_output import dumps_yaml  # noqa: PLC0415  # heavy, and few write it

    return dumps_yaml(spec)


def _refusal(verb: str, path: str, error: OSError) -> Error:
    remedy = _REMEDIES.get(error.errno or 0)
    return Error(f"cannot {verb} CDI spec {path}: {error.strerror or error}" + (f"; {remedy}" if remedy else ""))


def _directory(path: str) -> "contextlib.AbstractContextManager[int]":
    return _opened(os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


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
