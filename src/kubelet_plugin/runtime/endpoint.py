"""Our socket file in the plugin directory: claimed without taking anybody else's."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from kubelet_plugin import liveness
from kubelet_plugin.errors import ConfigurationError, DirectoryLockedError, PluginDirError, SocketInUseError

_PATH_LIMIT = 107  # sun_path, without its terminator


def socket_name(resource_name: str, plugin_dir: str) -> str:
    """Return the file name of a resource's socket: `vendor.class.sock`, or shorter where the path would be too long.

    Raises:
        ConfigurationError: The directory's path leaves no room for any socket.
    """
    room = _PATH_LIMIT - len(os.fsencode(plugin_dir)) - 1
    name = resource_name.replace("/", ".") + ".sock"
    if len(name) > room:
        digest = f"-{zlib.crc32(resource_name.encode()):08x}.sock"
        name = name[: max(0, room - len(digest))] + digest
    if len(name) > room:
        raise ConfigurationError(f"the path of {plugin_dir} is too long for a unix socket in it ({_PATH_LIMIT} bytes)")
    return name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket file that is ours.

    Attributes:
        path: Where it is.
        listener: The listening socket behind it. While it is open its inode number cannot be another file's.
    """

    path: str
    listener: socket.socket
    _inode: tuple[int, int]

    @classmethod
    def claim(cls, path: str) -> "Endpoint":
        """Make the socket file, listening already when it becomes visible.

        A file of that name is removed only when it is a socket that nobody answers. Instances that claim the same name
        at the same moment are kept apart by a lock on the directory.

        Args:
            path: The file to make.

        Raises:
            PluginDirError: The directory is absent or not writable, or something else than a socket is in the way.
            SocketInUseError: Somebody answers there.
            DirectoryLockedError: Somebody is claiming a socket in that directory just now.
        """
        directory = os.path.dirname(path)
        with _reported(directory), _locked(directory):
            _remove_if_dead(path)
            own = os.path.join(directory, f".{os.urandom(4).hex()}.sock")
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                os.fchmod(listener.fileno(), 0o600)
                listener.bind(own)
                try:
                    listener.listen(100)
                    os.link(own, path)
                    status = os.lstat(path)
                finally:
                    os.unlink(own)
            except BaseException:
                listener.close()
                raise
        return cls(path, listener, (status.st_dev, status.st_ino))

    def is_in_place(self) -> bool:
        """Tell whether the file at our path is still ours."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def release(self) -> None:
        """Remove the file, if it is still ours. While the listener answers, nobody takes it for dead meanwhile."""
        if self.is_in_place():
            with contextlib.suppress(OSError):
                os.unlink(self.path)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DirectoryLockedError(f"another process keeps the directory {directory} locked") from error
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _reported(directory: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise PluginDirError(
            f"the plugin directory {directory} does not exist: waiting for it; is this a node with a kubelet, "
            "and is the directory mounted here?"
        ) from error
    except NotADirectoryError as error:
        raise PluginDirError(f"the plugin directory {directory} is not a directory") from error
    except OSError as error:
        what = f"cannot make a socket in the plugin directory {directory}: {error.strerror or error}"
        raise PluginDirError(f"{what}; {_advice(error, directory)}") from error


def _advice(error: OSError, directory: str) -> str:
    match error.errno:
        case errno.EROFS:
            return f"mount {directory} read-write"
        case errno.EACCES | errno.EPERM:
            return f"run as a user who may write there{_owner(directory)}; this is user {os.geteuid()}"
        case errno.ENOSPC | errno.EDQUOT:
            return "make room on that file system"
        case _:
            return "trying again"


def _owner(directory: str) -> str:
    try:
        status = os.stat(directory)
    except OSError:
        return " (a directory on the way is closed)"
    return f" (mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}:{status.st_gid})"


def _remove_if_dead(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise PluginDirError(f"{path} is in the way and is no socket: remove it")
    try:
        if not liveness.is_answered(path):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    raise SocketInUseError(
        f"another process answers at {path}: leaving it alone; is a second instance of this plugin running?"
    )
