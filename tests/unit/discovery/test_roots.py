"""Paths of the host, seen from here; the kernel itself says where they lead."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from kubelet_plugin.discovery import Roots

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its root directory")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "host/dev/serial/by-id").mkdir(parents=True)
    (tmp_path / "host/dev/ttyUSB0").touch()
    (tmp_path / "secret").touch()
    return tmp_path / "host"


def link(host: Path, name: str, target: str) -> None:
    (host / name).symlink_to(target)


@pytest.mark.parametrize("root", ["/", "/host", "/host/"])
def test_a_path_of_the_host_is_below_its_root(root: str) -> None:
    assert Roots(root).real("/dev/kvm") == f"{root.strip('/') and '/host'}/dev/kvm"


def test_a_path_without_links_leads_to_itself(host: Path) -> None:
    assert Roots(str(host)).resolve("/dev/ttyUSB0") == "/dev/ttyUSB0"


def test_a_relative_link_leads_from_its_directory_on(host: Path) -> None:
    link(host, "dev/serial/by-id/x", "../../ttyUSB0")
    assert Roots(str(host)).resolve("/dev/serial/by-id/x") == "/dev/ttyUSB0"


def test_an_absolute_link_leads_from_the_hosts_root_on(host: Path) -> None:
    link(host, "dev/modem", "/dev/ttyUSB0")
    assert Roots(str(host)).resolve("/dev/modem") == "/dev/ttyUSB0"


def test_links_are_followed_in_the_middle_of_a_path_and_one_after_another(host: Path) -> None:
    link(host, "dev/ours", "/dev/serial")
    link(host, "dev/serial/x", "y")
    link(host, "dev/serial/y", "../ttyUSB0")
    assert Roots(str(host)).resolve("/dev/ours/x") == "/dev/ttyUSB0"


def test_no_link_leads_out_of_the_host(host: Path) -> None:
    link(host, "dev/up", "../../../../../secret")
    link(host, "dev/down", "../../../../../dev/ttyUSB0")
    roots = Roots(str(host))
    assert (roots.resolve("/dev/up"), roots.resolve("/dev/down")) == ("", "/dev/ttyUSB0")


@pytest.mark.parametrize(
    "path", ["/dev/absent", "/dev/dangling", "/dev/circle", "/dev/ttyUSB0/x", "/dev/ttyUSB0/..", "/dev/ttyUSB0/"]
)
def test_what_is_not_there_leads_nowhere(host: Path, path: str) -> None:
    link(host, "dev/dangling", "absent")
    link(host, "dev/circle", "circle")
    assert Roots(str(host)).resolve(path) == ""


def test_as_many_links_are_followed_as_the_kernel_follows(host: Path) -> None:
    for number in range(41):
        link(host, f"dev/l{number + 1}", f"l{number}" if number else "ttyUSB0")
    roots = Roots(str(host))
    assert (roots.resolve("/dev/l40"), roots.resolve("/dev/l41")) == ("/dev/ttyUSB0", "")


KERNEL = """
import os, sys
paths = sys.stdin.read().split("\\n")
descriptors = os.open("/proc/self/fd", os.O_RDONLY)
os.chroot(sys.argv[1])
for path in paths:
    try:
        descriptor = os.open(path, os.O_PATH)
    except OSError:
        print()
    else:
        print(os.readlink(str(descriptor), dir_fd=descriptors))
        os.close(descriptor)
"""


def kernels(host: Path, paths: list[str]) -> list[str]:
    """Where paths lead, as the kernel says to a process whose root the host's is."""
    command = [sys.executable, "-c", KERNEL, str(host)]
    return subprocess.run(
        command, input="\n".join(paths), check=True, capture_output=True, text=True
    ).stdout.splitlines()


@as_root
@pytest.mark.parametrize("seed", range(8))
def test_every_path_leads_where_the_kernel_says(host: Path, seed: int) -> None:
    random = Random(seed)
    names = ["dev", "a", "b", "c"]

    def some(longest: int) -> str:
        return "/".join(random.choice([*names, "..", ".", ""]) for _ in range(random.randint(1, longest)))

    for directory in ("a", "b", "a/b", "a/c", "dev/a"):
        (host / directory).mkdir()
    for place in ("", "a/", "b/", "a/b/", "a/c/", "dev/", "dev/a/"):
        for name in names:
            if not os.path.lexists(host / f"{place}{name}"):
                if random.random() < 0.7:
                    link(host, f"{place}{name}", random.choice(["./", "/"]) + some(3))
                else:
                    (host / f"{place}{name}").touch()
    paths = [f"/{some(5)}" for _ in range(300)]
    roots = Roots(str(host))
    expected = dict(zip(paths, kernels(host, paths), strict=True))
    assert {path: roots.resolve(path) for path in paths} == expected
