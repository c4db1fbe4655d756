"""The device-plugin directory: cleaned at each start, and the socket that plugins register at."""

import contextlib
import os
import socket
import stat

from kubelet_plugin import liveness
from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.profile import Profile

SOCKET = "kubelet.sock"
CHECKPOINT = "kubelet_internal_checkpoint"
_DEPRECATION = "DEPRECATION"


class PluginDirectory:
    """The directory.

    Args:
        path: Where it is; it is made where it does not exist.
        profile: How it is cleaned.
    """

    def __init__(self, path: str, profile: Profile) -> None:
        self.path = path
        self._profile = profile

    def clean(self, checkpoint: str) -> None:
        """Make the directory, and remove what an earlier start has left: plugins know by it that they must come again.

        Args:
            checkpoint: The path of the checkpoint, which stays.

        Raises:
            ConfigurationError: It cannot be made or read or cleaned, or another kubelet is at work there.
        """
        try:
            os.makedirs(self.path, 0o755, exist_ok=True)
            self._check_vacant()
            entries = list(os.scandir(self.path))
        except OSError as error:
            raise self._unusable(error) from error
        checkpoint = os.path.abspath(checkpoint)
        for entry in entries:
            try:
                is_stale = self._is_stale(entry) and os.path.abspath(entry.path) != checkpoint
            except OSError as error:  # it is a dangling link
                log.error(error, "Failed to stat file", path=entry.path)
            else:
                if is_stale:
                    self._remove(entry.path)

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError as error:
            log.error(error, "Failed to remove file", path=path)
            if not self._profile.starts_unclean:
                raise ConfigurationError(
                    f"{path} cannot be removed, and a kubelet does not start before it is gone: "
                    f"{error.strerror}; remove it, or give another plugin directory"
                ) from error

    def _check_vacant(self) -> None:
        """Leave the directory of a living kubelet alone: cleaning it would cut off all its plugins."""
        with contextlib.suppress(FileNotFoundError):
            if liveness.is_answered(os.path.join(self.path, SOCKET)):
                raise ConfigurationError(f"another kubelet answers in {self.path}: give a directory of its own")

    def _is_stale(self, entry: os.DirEntry[str]) -> bool:
        if not self._profile.removes_every_file:
            return stat.S_ISSOCK(entry.stat().st_mode)
        return not stat.S_ISDIR(entry.stat().st_mode)

    def delete_sockets(self) -> None:
        """Remove all sockets, as somebody does who tidies up in the wrong place."""
        for entry in os.scandir(self.path):
            if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                os.unlink(entry.path)

    def listen(self) -> socket.socket:
        """Make the socket of the registration service.

        Raises:
            ConfigurationError: It cannot be made.
        """
        path = os.path.join(self.path, SOCKET)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(path)
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise self._unusable(error) from error
        return listener

    def leave_note(self) -> None:
        """Leave the empty file that tells plugins of the newer directory, plugins_registry."""
        try:
            with open(os.path.join(self.path, _DEPRECATION), "wb"):
                pass
        except OSError as error:
            log.error(error, "Failed to create deprecation file at socket dir", path=self.path)

    def remove_socket(self) -> None:
        """Remove the socket of the registration service."""
        path = os.path.join(self.path, SOCKET)
        if os.path.lexists(path):
            os.unlink(path)

    def _unusable(self, error: OSError) -> ConfigurationError:
        advice = "give one that this user may write to" if error.errno else "give one with a shorter path"
        return ConfigurationError(
            f"the plugin directory {self.path} cannot be used: {error.strerror or error}; {advice}"
        )
