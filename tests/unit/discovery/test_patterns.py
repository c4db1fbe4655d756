import os
from pathlib import Path

import pytest

from kubelet_plugin.discovery.patterns import expand, is_glob, parse


@pytest.mark.parametrize(
    ("pattern", "glob"), [("/dev/kvm", False), ("/dev/crand*", True), ("/dev/crand?", True), ("/dev/[ab]", True)]
)
def test_a_wildcard_makes_a_glob(pattern: str, glob: bool) -> None:
    assert is_glob(pattern) is glob


@pytest.mark.parametrize("pattern", ["/dev/kvm", "//dev//kvm/", "/dev/./kvm", "/dev/dri/../kvm"])
def test_a_path_is_the_same_however_it_is_written(pattern: str) -> None:
    assert parse(pattern) == ("dev", "kvm")


def test_the_root_in_front_is_literal() -> None:
    assert parse("/dev/kvm", "/h*st/") == ("h*st", "dev", "kvm")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/*", {"bus1", "bus2", "dangling", "file"}),
        ("/.*", {".hidden"}),
        ("/bus*/node", {"bus1/node"}),
        ("/*/node", {"bus1/node"}),
        ("/dang*", {"dangling"}),
        ("/file/*", set()),
        ("/absent/*", set()),
        ("/BUS*", set()),
    ],
)
def test_expanding_finds_what_glob_finds(pattern: str, found: set[str], tmp_path: Path) -> None:
    (tmp_path / "bus1").mkdir()
    (tmp_path / "bus2").mkdir()
    (tmp_path / "bus1/node").touch()
    (tmp_path / "file").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    paths = expand(str(tmp_path), parse(pattern))
    assert {str(Path(path).relative_to(tmp_path)) for path in paths} == found
    assert len(paths) == len(found)


def large(tmp_path: Path) -> Path:
    for number in range(1200):
        (tmp_path / f"x{number}").touch()
    os.utime(tmp_path, (0, 0))
    return tmp_path


def test_a_large_directory_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    pattern = parse(f"{large(tmp_path)}/x11?")
    first = expand("/", pattern)
    (tmp_path / "x11a").touch()
    os.utime(tmp_path, (0, 0))  # as if nothing had happened
    assert expand("/", pattern) == first
    os.utime(tmp_path)
    assert {*expand("/", pattern)} == {*first, f"{tmp_path}/x11a"}


def test_a_large_directory_that_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    pattern = parse(f"{large(tmp_path)}/x11?")
    (tmp_path / "x11a").touch()
    status = os.stat(tmp_path)
    assert f"{tmp_path}/x11a" in expand("/", pattern)
    (tmp_path / "x11b").touch()
    os.utime(tmp_path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if within one tick of the clock
    assert f"{tmp_path}/x11b" in expand("/", pattern)
