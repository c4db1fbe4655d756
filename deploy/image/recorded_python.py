"""The image's own Python, run here: byte code and compressed layers are the same whichever Python builds the image."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from deploy.image.errors import ImageError
from deploy.image.platforms import Platform
from deploy.image.selection import INTERPRETER
from deploy.image.tree import Tree, put

_TASK = Path(__file__).with_name("inside.py")
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}


class RecordedPython:
    """The Python of some Debian packages, as a program of this machine.

    Args:
        tree: What the packages install; for the platform of this machine.
        platform: That platform.
        directory: An empty directory to put it into.
    """

    def __init__(self, tree: Tree, platform: Platform, directory: Path) -> None:
        put(tree, directory)
        libraries = ":".join(str(directory / parent / platform.triplet) for parent in ("lib", "usr/lib"))
        loader = str((directory / platform.loader).resolve())
        # -P and -s, not -I: that would also drop the hash seed, on which the order in sets depends.
        self._command = [loader, "--library-path", libraries, str(directory / INTERPRETER), "-s", "-S", "-P", "-B"]

    def builtin_modules(self) -> frozenset[str]:
        """The modules that are part of the interpreter."""
        return frozenset(self._run("builtin").split())

    def compile(self, directory: Path) -> None:
        """Write byte code beside each Python file below a directory, for files that stand at the same paths below /.

        Raises:
            ImageError: It cannot; a file that is not for this Python gets none.
        """
        self._run("compile", str(directory))

    def compress(self, files: Iterable[Path]) -> None:
        """Write FILE.gz for each file."""
        self._run("compress", *map(str, files))

    def _run(self, *arguments: str) -> str:
        command = [*self._command, str(_TASK), *arguments]
        done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise ImageError(f"the image's Python failed to {arguments[0]}: {done.stderr.strip()}")
        return done.stdout
