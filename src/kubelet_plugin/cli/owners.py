"""Names of the host's users and groups."""

from kubelet_plugin.discovery import Roots


class Owners:
    """Names of the host's users and groups, as its `/etc/passwd` and `/etc/group` have them.

    Args:
        roots: Where the host's files are seen.
    """

    def __init__(self, roots: Roots) -> None:
        self._users = _names(roots, "passwd")
        self._groups = _names(roots, "group")

    def user(self, uid: int) -> str:
        """The user's name, or else the number."""
        return self._users.get(uid, str(uid))

    def group(self, gid: int) -> str:
        """The group's name, or else the number."""
        return self._groups.get(gid, str(gid))


def _names(roots: Roots, file: str) -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        with open(f"{roots.host.rstrip('/')}/etc/{file}", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, rest = line.partition(":")
                number = rest.split(":", 2)[1] if rest.count(":") else ""
                if number.isdecimal():
                    names.setdefault(int(number), name)
    except OSError:
        pass  # numbers will do
    return names
