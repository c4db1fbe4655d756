"""Files that are to be, by their paths without a leading slash; nothing of them is on disk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

DEBIAN, PYTHON, OURS = "debian", "python", "kubelet-plugin"  # the layers, from what changes least to what changes most


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a symbolic link or a directory.

    Attributes:
        path: Without a leading slash.
        owner: The Debian package or the distribution that it is from.
        layer: The layer that it goes into.
        data: A file's content; None where it is no file.
        executable: May the file be run?
        target: Where a link leads; empty where it is no link.
    """

    path: str
    owner: str
    layer: str
    data: bytes | None = None
    executable: bool = False
    target: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data or b"")


Tree = dict[str, Entry]


def tree_of(entries: Iterable[Entry]) -> Tree:
    """The entries by their paths; of two with one path, the last."""
    return {entry.path: entry for entry in entries}


def resolved(tree: Tree, path: str) -> Entry | None:
    """The entry that a path leads to through links of its own and of its directories; None where there is none."""
    for _ in range(40):
        entry = tree.get(path)
        if entry is not None and not entry.target:
            return entry
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            link = tree.get("/".join(parts[:depth]))
            if link is not None and link.target:
                path = _joined("/".join(parts[: depth - 1]), link.target, parts[depth:])
                break
        else:
            return None
    return None


def _joined(directory: str, target: str, rest: list[str]) -> str:
    start = [] if target.startswith("/") else directory.split("/")
    parts: list[str] = []
    for part in (*start, *target.split("/"), *rest):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def parents(path: str) -> Iterator[str]:
    """The directories above a path, from the top."""
    for parent in reversed(PurePosixPath(path).parents[:-1] if "/" in path else ()):
        yield str(parent)


def put(tree: Tree, directory: Path) -> None:
    """Write a tree below a directory of this machine, for its programs to be run or its sources to be read."""
    for entry in tree.values():
        path = directory / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.target:
            target = entry.target
            # an absolute link would lead to this machine's own file
            path.symlink_to(directory / target[1:] if target.startswith("/") else target)
        elif entry.data is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(entry.data)
            path.chmod(0o755 if entry.executable else 0o644)
