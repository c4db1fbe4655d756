"""What is done by the image's own Python: it is run as a file, and knows nothing of this project.

inside.py builtin               print the names of the built-in modules
inside.py compile DIRECTORY     write __pycache__/NAME.cpython-311.pyc for each .py file below DIRECTORY
inside.py compress FILE...      write FILE.gz for each file
"""

import ast
import importlib.util
import marshal
import os
import sys
import zlib
from collections.abc import Iterator
from types import CodeType

_GZIP = 31  # zlib's window bits for the gzip format, whose header then has no time and no name
_OWN = "kubelet_plugin"  # its docstrings stay: some are what a command says for --help
_UNCHECKED = (1).to_bytes(4, "little")  # a .pyc file's flags: by the source's hash, which is not compared
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sources(directory: str) -> Iterator[str]:
    """The paths of all Python files, in an order that does not depend on the file system."""
    for parent, directories, files in os.walk(directory):
        directories.sort()
        yield from (os.path.join(parent, name) for name in sorted(files) if name.endswith(".py"))


def undocumented(tree: ast.Module) -> ast.Module:
    """The same without docstrings, 1 MiB of the daemon's memory. Assertions stay, unlike with -OO."""
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            if len(node.body) > 1:
                del node.body[0]
            else:
                node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
    return tree


def compiled(source: bytes, path: str) -> CodeType | None:
    """The code of a file; None where it is not for this Python."""
    try:
        tree = ast.parse(source, path)
    except SyntaxError:
        return None
    if f"/{_OWN}/" not in path:
        tree = undocumented(tree)
    code = compile(tree, path, "exec", dont_inherit=True, optimize=0)
    assert isinstance(code, CodeType)
    return code


def compile_all(directory: str) -> None:
    """Write the byte code of all files; it is never compared with its source."""
    for file in sources(directory):
        with open(file, "rb") as opened:
            source = opened.read()
        code = compiled(source, file.removeprefix(directory))
        if code is None:
            continue
        target = importlib.util.cache_from_source(file, optimization="")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        header = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source)
        with open(target, "wb") as out:
            out.write(header + marshal.dumps(code))


def compress(file: str) -> None:
    """Write FILE.gz."""
    with open(file, "rb") as opened:
        data = opened.read()
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    with open(f"{file}.gz", "wb") as out:
        out.write(packer.compress(data) + packer.flush())


def main(verb: str, *arguments: str) -> None:
    if verb == "builtin":
        print(*sys.builtin_module_names)  # noqa: T201 -- that is what it is asked for
    elif verb == "compile":
        compile_all(*arguments)
    else:
        for file in arguments:
            compress(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
