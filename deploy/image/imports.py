"""Which modules Python files import, found in their text: nothing is run."""

import ast
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Import:
    """A module that a file may import.

    Attributes:
        name: Its full name.
        certain: Does the import fail where there is no such module? Not for one that is tried, nor for a name that
            may be a module or something in one.
    """

    name: str
    certain: bool


def imports_of(source: bytes, package: str) -> list[Import]:
    """The modules that a file imports, but for what is checked for types, run as a program or for Windows.

    Args:
        source: The file's content.
        package: The package that it is in, or is; for relative imports.
    """
    return list(_imports_of(source, package))


@functools.cache  # a file is the same on every platform
def _imports_of(source: bytes, package: str) -> tuple[Import, ...]:
    found = _statements(ast.parse(source), tried=False)
    return tuple(each for node, tried in found for each in _named(node, package, tried))


_PARTS = (ast.stmt, ast.excepthandler, ast.match_case)  # what has statements in it


def _statements(node: ast.AST, *, tried: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, tried
        return
    skipped: list[ast.stmt] = node.body if isinstance(node, ast.If) and _never_here(node.test) else []
    guarded: list[ast.stmt] = (
        node.body if isinstance(node, ast.Try) and any(map(_is_for_imports, node.handlers)) else []
    )
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _PARTS) and child not in skipped:
            yield from _statements(child, tried=tried or child in guarded)


def _never_here(test: ast.expr) -> bool:
    text = ast.unparse(test)
    return text.endswith("TYPE_CHECKING") or text in {"__name__ == '__main__'", "sys.platform == 'win32'"}


def _is_for_imports(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or any(
        name in ast.unparse(handler.type) for name in ("ImportError", "ModuleNotFoundError", "Exception")
    )


def _named(node: ast.Import | ast.ImportFrom, package: str, tried: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, not tried)
        return
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
    yield Import(base, not tried)
    for alias in node.names:
        yield Import(f"{base}.{alias.name}", certain=False)


@dataclass(frozen=True, slots=True)
class Closure:
    """What some modules import, and what that imports, and so on.

    Attributes:
        modules: All modules that were found, the first ones included.
        missing: What is certain to be imported but is not there, by who imports it.
    """

    modules: frozenset[str]
    missing: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Module:
    """A module that can be imported.

    Attributes:
        source: Its text; empty for one that is not written in Python.
        package: The package that it is in, or is.
    """

    source: bytes
    package: str


def closure(roots: Iterable[str], modules: Mapping[str, Module], left_out: Collection[str] = ()) -> Closure:
    """Follow imports from the roots.

    Args:
        roots: Names of modules to begin with.
        modules: All that can be imported.
        left_out: Modules that are not followed, each with all below it.
    """
    found: set[str] = set()
    missing: dict[str, set[str]] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name not in modules:
            continue
        found.add(name)
        module = modules[name]
        waiting.extend(_ancestors(name))
        for imported in imports_of(module.source, module.package) if module.source else ():
            if imported.name in modules and not _is_below(imported.name, left_out):
                waiting.append(imported.name)
            elif imported.certain:
                missing.setdefault(name, set()).add(imported.name)
    return Closure(frozenset(found), {name: frozenset(absent) for name, absent in missing.items()})


def _is_below(name: str, left_out: Collection[str]) -> bool:
    return name in left_out or any(ancestor in left_out for ancestor in _ancestors(name))


def _ancestors(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
