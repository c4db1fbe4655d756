"""The Python modules that are in a tree, by their names."""

import re
from collections.abc import Mapping

from deploy.image.imports import Module
from deploy.image.tree import Entry, Tree

STDLIB = "usr/lib/python3.11"
EXTENSIONS = f"{STDLIB}/lib-dynload"
_EXTENSION = re.compile(r"\.(cpython-311-[\w-]+|abi3)\.so$|\.so$")


def named(path: str, roots: tuple[str, ...]) -> str | None:
    """The name of the module that a file is, below one of the roots; None where it is none."""
    for root in roots:
        if path.startswith(f"{root}/"):
            relative = path[len(root) + 1 :]
            if relative.endswith(".py"):
                name = relative.removesuffix(".py").removesuffix("/__init__")
            elif (name := _EXTENSION.sub("", relative)) == relative:
                continue
            name = name.replace("/", ".")
            if all(part.isidentifier() for part in name.split(".")):
                return name
    return None


def modules_of(tree: Tree, roots: tuple[str, ...]) -> dict[str, Entry]:
    """The files that are modules, by name."""
    return {name: entry for entry in tree.values() if entry.data is not None and (name := named(entry.path, roots))}


def texts(files: Mapping[str, Entry]) -> dict[str, Module]:
    """The modules as imports are followed through them."""
    return {name: _module(name, entry) for name, entry in files.items()}


def _module(name: str, entry: Entry) -> Module:
    is_package = entry.path.endswith("/__init__.py")
    source = entry.data if entry.data is not None and entry.path.endswith(".py") else b""
    return Module(source, name if is_package else name.rpartition(".")[0])
