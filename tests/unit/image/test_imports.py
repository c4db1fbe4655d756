import textwrap

import pytest

from deploy.image.imports import Import, Module, closure, imports_of


def certain(text: str, package: str = "p.q") -> set[str]:
    return {found.name for found in imports_of(textwrap.dedent(text).encode(), package) if found.certain}


def module(text: str, package: str = "") -> Module:
    return Module(text.encode(), package)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import a, b.c as d", {"a", "b.c"}),
        ("from a.b import c", {"a.b"}),
        ("from . import c", {"p.q"}),
        ("from .x import c", {"p.q.x"}),
        ("from ..x import c", {"p.x"}),
        ("def f():\n  if a:\n    with b:\n      import c", {"c"}),
        ("match a:\n  case 1:\n    import b", {"b"}),
        ("try:\n  a()\nexcept ValueError:\n  import b", {"b"}),
    ],
)
def test_an_import_is_found_wherever_it_stands(text: str, names: set[str]) -> None:
    assert certain(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "if TYPE_CHECKING:\n  import a",
        "if typing.TYPE_CHECKING:\n  import a",
        "if __name__ == '__main__':\n  import a",
        "if sys.platform == 'win32':\n  import a",
    ],
)
def test_what_never_happens_in_the_image_is_no_import(text: str) -> None:
    assert imports_of(text.encode(), "p") == []


def test_the_other_branch_of_what_never_happens_counts() -> None:
    assert certain("if sys.platform == 'win32':\n  import a\nelse:\n  import b") == {"b"}


@pytest.mark.parametrize("error", ["ImportError", "(ModuleNotFoundError, OSError)", ""])
def test_an_import_that_is_tried_is_not_certain(error: str) -> None:
    assert imports_of(f"try:\n  import a\nexcept {error}:\n  pass".encode(), "p") == [Import("a", certain=False)]


def test_what_is_imported_from_a_package_may_be_a_module_of_it() -> None:
    assert Import("a.b", certain=False) in imports_of(b"from a import b", "p")


def test_imports_are_followed_with_the_packages_that_modules_are_in() -> None:
    modules = {
        "main": module("import a.b"),
        "a": module("import c"),
        "a.b": module(""),
        "c": module(""),
        "d": module(""),
    }
    assert closure(["main"], modules).modules == {"main", "a", "a.b", "c"}


def test_what_is_left_out_is_not_followed_nor_what_is_below_it() -> None:
    modules = {
        "main": module("try:\n  import a.b\nexcept ImportError:\n  pass"),
        "a": module(""),
        "a.b": module("import c"),
        "c": module(""),
    }
    assert closure(["main"], modules, {"a"}).modules == {"main"}


def test_what_is_certain_to_be_imported_and_not_there_is_named() -> None:
    found = closure(["main"], {"main": module("import gone\ntry:\n  import x\nexcept ImportError:\n  pass")})
    assert found.missing == {"main": {"gone"}}


def test_modules_that_import_each_other_end() -> None:
    assert closure(["a"], {"a": module("import b"), "b": module("import a")}).modules == {"a", "b"}
