"""Byte code for all Python files of a tree."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from deploy.image.recorded_python import RecordedPython
from deploy.image.tree import Entry, Tree, put


def bytecode(tree: Tree, python: RecordedPython) -> Iterator[Entry]:
    """The byte code of a tree's Python files, each in the layer of its source."""
    sources = {path: entry for path, entry in tree.items() if path.endswith(".py")}
    with tempfile.TemporaryDirectory(prefix="kubelet-plugin-image-") as directory:
        put(sources, Path(directory))
        python.compile(Path(directory))
        for path, entry in sorted(sources.items()):
            parent, _, name = path.rpartition("/")
            compiled = f"{parent}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"
            if (file := Path(directory, compiled)).exists():
                yield replace(entry, path=compiled, data=file.read_bytes(), executable=False)
