"""What of the packages goes into the image: what is imported, what that links with, and what the law asks for."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from deploy.image import elf
from deploy.image.errors import ImageError
from deploy.image.imports import closure
from deploy.image.modules import EXTENSIONS, STDLIB, modules_of, texts
from deploy.image.platforms import Platform
from deploy.image.tree import DEBIAN, Entry, Tree, resolved, tree_of
from deploy.image.wheels import DIRECTORY

INTERPRETER = "usr/bin/python3.11"
PACKAGE = "kubelet_plugin"

PACKAGES = (
    "base-files", "gcc-12-base", "libc6", "libexpat1", "libffi8", "libgcc-s1", "libpython3.11-minimal",
    "libpython3.11-stdlib", "python3.11-minimal", "zlib1g",
)  # fmt: skip
DEBUG_PACKAGES = ("busybox-static", "libstdc++6")
DEBUG_REQUIREMENTS = ("debugpy",)

_BY_NAME = (  # what no import statement says: the interpreter, codecs and C code import these
    "site", "runpy", "_strptime", "_compat_pickle", "copyreg", "stringprep", "unicodedata",
    *(f"encodings.{name}" for name in ("aliases", "ascii", "idna", "latin_1", "punycode", "utf_8", "utf_8_sig")),
    *(f"encodings.{name}" for name in ("utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le")),
)  # fmt: skip
_LEFT_OUT = frozenset({
    "doctest", "test", "unittest", "_testcapi", "_testinternalcapi",  # tests
    "pdb", "pydoc", "pydoc_data", "readline", "rlcompleter", "webbrowser",  # a person at the interpreter
    "distutils", "lib2to3", "tkinter",  # building and windows
    "multiprocessing", "_multiprocessing", "_posixshmem", "concurrent.futures.process",  # one process
    "ssl", "_ssl", "_hashlib",  # TLS, and with it 2 MB of OpenSSL: hashlib has its algorithms without
    "bz2", "_bz2", "lzma", "_lzma", "_uuid",  # each a library more, for what nobody packs or asks here
})  # fmt: skip
_NOT_SHIPPED = (f"{PACKAGE}.testing",)  # fixtures: they need pytest
_HELPERS = f"{DIRECTORY}/debugpy/_vendored/pydevd/pydevd_attach_to_process/"  # for every system there is
_LOADED_BY_NAME = ("libgcc_s.so.1",)  # by libc, when a thread ends with the process
_USELESS = ("test/", "idlelib/", "lib2to3/", "tkinter/", "turtledemo/", "pydoc_data/", "ensurepip/", "distutils/")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the two images is wanted.

    Attributes:
        platform: For which platform.
        debug: The one with a shell, a debugger and the whole standard library?
        builtin: The modules that are part of the interpreter itself.
    """

    platform: Platform
    debug: bool
    builtin: Collection[str]


def selected(tree: Tree, wanted: Wanted) -> Tree:
    """The part of all that the packages and wheels install that goes into the image.

    Args:
        tree: All of it.
        wanted: For what.

    Raises:
        ImageError: Something that is needed is not in the packages.
    """
    chosen = tree_of(
        [
            *(replace(entry, executable=False) for entry in _modules(tree, wanted)),
            *(entry for entry in tree.values() if entry.layer != DEBIAN and not _not_shipped(entry, wanted.platform)),
            tree[INTERPRETER],
            *_papers(tree),
        ]
    )
    if wanted.debug:
        chosen |= tree_of(tree[path] for path in ("bin/busybox",))
    return chosen | _libraries(tree, chosen.values(), wanted)


def _modules(tree: Tree, wanted: Wanted) -> Iterator[Entry]:
    """Modules of the standard library."""
    files = modules_of(tree, (EXTENSIONS, STDLIB, DIRECTORY))
    ours = [name for name in files if name.split(".")[0] == PACKAGE and not name.startswith(_NOT_SHIPPED)]
    found = closure([*ours, *_BY_NAME], texts(files), _LEFT_OUT)
    for name in ours:
        absent = {each for each in found.missing.get(name, ()) if each not in wanted.builtin}
        if absent:
            raise ImageError(
                f"{name} imports {', '.join(sorted(absent))}, which is not in the image: see _LEFT_OUT and PACKAGES in "
                "deploy/image/selection.py"
            )
    yield from (files[name] for name in found.modules if files[name].layer == DEBIAN)
    if wanted.debug:
        yield from (entry for entry in tree.values() if entry.path.startswith(f"{STDLIB}/") and _is_of_use(entry, tree))


def _is_of_use(entry: Entry, tree: Tree) -> bool:
    """May somebody who looks for a fault want this file of the standard library?"""
    if entry.path.startswith(EXTENSIONS):
        return "test" not in entry.path and all(_found(tree, name) for name in _needed(entry))
    return entry.data is not None and not entry.path[len(STDLIB) + 1 :].startswith(_USELESS)


def _not_shipped(entry: Entry, platform: Platform) -> bool:
    if entry.path.startswith(_HELPERS):
        return not entry.path.endswith(".py") and _machine(entry) != platform.elf_machine
    return entry.path.startswith(tuple(f"{DIRECTORY}/{name.replace('.', '/')}/" for name in _NOT_SHIPPED))


def _papers(tree: Tree) -> Iterator[Entry]:
    """Who has the copyright of what, under which licence, and which release of Debian it is."""
    yield Entry("etc/os-release", "base-files", DEBIAN, tree["usr/lib/os-release"].data)
    for package in sorted({entry.owner for entry in tree.values() if entry.layer == DEBIAN}):
        path = f"usr/share/doc/{package}/copyright"
        if (text := resolved(tree, path)) and text.data is not None:
            yield Entry(path, package, DEBIAN, text.data)
        else:
            raise ImageError(f"Debian package {package} has no copyright file at /{path}")


def _libraries(tree: Tree, chosen: Iterable[Entry], wanted: Wanted) -> Tree:
    """The libraries that programs and libraries need, and the dynamic loader."""
    loader = wanted.platform.loader
    found = {loader: Entry(loader, tree[loader].owner, DEBIAN, _file(tree, loader).data, executable=True)}
    waiting = [*_LOADED_BY_NAME]
    for entry in chosen:
        if _machine(entry) not in {None, wanted.platform.elf_machine}:
            raise ImageError(f"/{entry.path} of {entry.owner} is not for {wanted.platform.name}")
        waiting.extend(_needed(entry))
    while waiting:
        name = waiting.pop()
        if name in {path.rpartition("/")[2] for path in found}:
            continue
        library = _found(tree, name)
        if library is None:
            raise ImageError(
                f"{name} is needed on {wanted.platform.name}, and in none of the packages: add its package"
            )
        found[library.path] = library
        waiting.extend(_needed(library))
    return found


def _needed(entry: Entry) -> tuple[str, ...]:
    described = elf.read(entry.data) if entry.data else None
    return described.needed if described else ()


def _machine(entry: Entry) -> int | None:
    described = elf.read(entry.data) if entry.data else None
    return described.machine if described else None


def _found(tree: Tree, name: str) -> Entry | None:
    """A library by the name that programs need it by, where the loader looks; not a link, but the file itself."""
    for path in tree:
        if path.endswith(f"-linux-gnu/{name}") and (library := resolved(tree, path)):
            return Entry(path, library.owner, DEBIAN, library.data)
    return None


def _file(tree: Tree, path: str) -> Entry:
    file = resolved(tree, path)
    if file is None or file.data is None:
        raise ImageError(f"/{path} is in none of the packages")
    return file
