"""Where the host's files are seen from here."""

import errno
import os
from dataclasses import dataclass

_HERE = frozenset({"", "."})
_DIRECTORIES = _HERE | {".."}  # what only a directory has
_MAX_LINKS = 40  # as many symbolic links as the kernel follows in one path


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the host's files are seen from here; in a container they may be mounted elsewhere.

    Attributes:
        host: The host's root directory.
        sysfs: Its sysfs.
        udev: Its udev's runtime directory; it need not exist.
    """

    host: str = "/"
    sysfs: str = "/sys"
    udev: str = "/run/udev"

    def real(self, path: str) -> str:
        """Return where a path of the host is seen from here; its symbolic links are another matter."""
        return self.host.rstrip("/") + path

    def resolve(self, path: str) -> str:
        """Follow the symbolic links of a path as the host would: an absolute one leads from the host's root on.

        Args:
            path: An absolute path on the host.

        Returns:
            What it leads to, as a path on the host; empty where that is not there.
        """
        reached, parts, links = "", path.split("/")[::-1], 0
        while parts:
            name = parts.pop()
            if name in _HERE:
                continue
            if name == "..":
                reached = os.path.dirname(reached).rstrip("/")
                continue
            try:
                target = os.readlink(self.real(f"{reached}/{name}"))
            except OSError as error:
                if error.errno != errno.EINVAL:  # which says that it is there, and no link
                    return ""
                reached = f"{reached}/{name}"
                if parts and parts[-1] in _DIRECTORIES and not os.path.isdir(self.real(reached)):
                    return ""
                continue
            links += 1
            if links > _MAX_LINKS:
                return ""
            parts += target.split("/")[::-1]
            reached = "" if target.startswith("/") else reached
        return reached or "/"
