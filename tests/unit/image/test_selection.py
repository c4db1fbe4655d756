import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.image import elf
from deploy.image.errors import ImageError
from deploy.image.platforms import PLATFORMS, of_this_machine
from deploy.image.selection import Wanted, selected
from deploy.image.tree import DEBIAN, OURS, PYTHON, Entry, Tree, tree_of

HERE = of_this_machine()
STDLIB, PACKAGES = "usr/lib/python3.11", "usr/lib/python3/dist-packages"
BUILTIN = {"sys"}
PROGRAM = Path(sys.executable).resolve().read_bytes()  # an ELF file that needs libc.so.6 and more


def needed(program: bytes) -> tuple[str, ...]:
    described = elf.read(program)
    assert described
    return described.needed


def debian(path: str, data: bytes = b"", owner: str = "python", target: str = "") -> Entry:
    return Entry(path, owner, DEBIAN, None if target else data, target=target)


def ours(path: str, text: str = "") -> Entry:
    return Entry(f"{PACKAGES}/{path}", "kubelet-plugin", OURS, text.encode())


def everything(*more: Entry) -> Tree:
    """What is always there, and what a test adds."""
    return tree_of(
        [
            debian("usr/bin/python3.11"),
            debian(HERE.loader),
            debian("usr/lib/os-release", b"ID=debian\n", "base-files"),
            debian("usr/share/doc/python/copyright", b"(c) P"),
            debian("usr/share/doc/base-files/copyright", b"(c) B", "base-files"),
            debian(f"lib/{HERE.triplet}/libgcc_s.so.1"),
            *more,
        ]
    )


def chosen(*more: Entry, debug: bool = False) -> Tree:
    return selected(everything(*more), Wanted(HERE, debug, BUILTIN))


def test_of_the_standard_library_is_taken_what_is_imported() -> None:
    tree = chosen(
        debian(f"{STDLIB}/used.py", b"import deeper"),
        debian(f"{STDLIB}/deeper.py"),
        debian(f"{STDLIB}/idle.py"),
        ours("kubelet_plugin/a.py", "import used, sys"),
    )
    assert f"{STDLIB}/deeper.py" in tree
    assert f"{STDLIB}/idle.py" not in tree


def test_what_the_interpreter_imports_by_name_is_taken() -> None:
    assert f"{STDLIB}/encodings/idna.py" in chosen(debian(f"{STDLIB}/encodings/idna.py"))


def test_fixtures_for_tests_are_not_in_the_image() -> None:
    tree = chosen(ours("kubelet_plugin/testing/a.py", "import pytest"), ours("kubelet_plugin/testing_grounds.py"))
    assert [path for path in tree if "testing" in path] == [f"{PACKAGES}/kubelet_plugin/testing_grounds.py"]


def test_a_module_of_ours_that_needs_what_is_not_there_is_named() -> None:
    with pytest.raises(ImageError, match=r"kubelet_plugin\.a imports gone"):
        chosen(ours("kubelet_plugin/a.py", "import gone"))


def test_a_module_of_ours_that_needs_what_is_left_out_is_named() -> None:
    with pytest.raises(ImageError, match=r"kubelet_plugin\.a imports ssl"):
        chosen(debian(f"{STDLIB}/ssl.py"), ours("kubelet_plugin/a.py", "import ssl"))


def test_libraries_come_with_what_needs_them() -> None:
    names = needed(PROGRAM)
    tree = chosen(
        *(debian(f"lib/{HERE.triplet}/{name}", b"elf") for name in (*names, "libuseless.so.1")),
        Entry(f"{PACKAGES}/fast.so", "fast", PYTHON, PROGRAM),
    )
    assert tree[f"lib/{HERE.triplet}/libc.so.6"].data == b"elf"
    assert f"lib/{HERE.triplet}/libuseless.so.1" not in tree


def test_libraries_come_with_what_they_need_themselves() -> None:
    deeper = {name for name in needed(PROGRAM) if name != "libc.so.6"}
    assert deeper
    tree = chosen(
        debian(f"lib/{HERE.triplet}/libgcc_s.so.1", PROGRAM),
        *(debian(f"lib/{HERE.triplet}/{name}") for name in needed(PROGRAM)),
    )
    assert deeper <= {path.rpartition("/")[2] for path in tree}


def test_a_debuggers_helpers_for_other_machines_are_not_in_the_image() -> None:
    helpers = f"{PACKAGES}/debugpy/_vendored/pydevd/pydevd_attach_to_process"
    tree = chosen(
        *(debian(f"lib/{HERE.triplet}/{name}") for name in needed(PROGRAM)),
        *(
            Entry(f"{helpers}/{name}", "debugpy", PYTHON, data)
            for name, data in {"here.so": PROGRAM, "there.dll": b"MZ", "attach.py": b""}.items()
        ),
    )
    assert {path.rpartition("/")[2] for path in tree if path.startswith(helpers)} == {"here.so", "attach.py"}


def test_a_library_that_is_a_link_is_taken_as_the_file_it_leads_to() -> None:
    path = f"lib/{HERE.triplet}/libgcc_s.so.1"
    tree = chosen(debian(path, target="libgcc_s.so.1.9"), debian(f"{path}.9", b"elf"))
    assert tree[path].data == b"elf"


def test_a_library_that_is_in_no_package_is_named() -> None:
    with pytest.raises(ImageError, match=r"lib\S+ is needed"):
        chosen(Entry(f"{PACKAGES}/fast.so", "fast", PYTHON, PROGRAM))


def test_a_library_for_another_machine_is_refused() -> None:
    other = next(platform for platform in PLATFORMS if platform != HERE)
    tree = everything(debian(other.loader), Entry(f"{PACKAGES}/fast.so", "fast", PYTHON, PROGRAM))
    with pytest.raises(ImageError, match=rf"fast\.so of fast is not for {other.name}"):
        selected(tree, Wanted(other, debug=False, builtin=BUILTIN))


def test_every_package_has_its_copyright_in_the_image() -> None:
    tree = chosen(
        debian("usr/lib/a", owner="a"),
        debian("usr/share/doc/a", owner="a", target="python"),
    )
    assert tree["usr/share/doc/a/copyright"].data == b"(c) P"


def test_a_package_without_its_copyright_is_refused() -> None:
    with pytest.raises(ImageError, match="a has no copyright"):
        chosen(debian("usr/lib/a", owner="a"))


def test_the_debugging_image_has_the_whole_standard_library_but_its_tests() -> None:
    tree = chosen(
        debian("bin/busybox"),
        debian(f"{STDLIB}/idle.py"),
        debian(f"{STDLIB}/test/test_idle.py"),
        replace(debian(f"{STDLIB}/lib-dynload/_x.so"), data=PROGRAM),
        debug=True,
    )
    assert {path for path in tree if path.startswith(STDLIB)} == {f"{STDLIB}/idle.py"}
