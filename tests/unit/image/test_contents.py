import os
import subprocess
import sys
from pathlib import Path

from deploy.image import contents
from deploy.image.tree import tree_of
from tests.unit.image import packing

FILES = Path(contents.__file__).with_name("files")


def debugged(directory: Path, *arguments: str, wanted: str) -> subprocess.CompletedProcess[str]:
    """Run the debugging image's command with a debugger that says what it is asked, and a program that says it runs."""
    (directory / "debugpy.py").write_text(
        "def listen(address): print('listens', *address)\ndef wait_for_client(): print('waits')\n"
    )
    (directory / "kubelet_plugin").mkdir()
    (directory / "kubelet_plugin" / "__init__.py").touch()
    (directory / "kubelet_plugin" / "cli.py").write_text("def main(prog_name): print('runs')\n")
    environment = {**os.environ, "PYTHONPATH": str(directory), "KUBELET_PLUGIN_DEBUG": wanted}
    command: list[str | Path] = [sys.executable, FILES / "kubelet-plugin.debug", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_daemon_waits_for_a_debugger_on_loopback_where_that_is_asked_for(tmp_path: Path) -> None:
    done = debugged(tmp_path, "run", wanted="wait")
    assert done.stdout.splitlines() == ["listens 127.0.0.1 40000", "waits", "runs"]


def test_the_daemon_waits_for_nobody_unless_that_is_asked_for(tmp_path: Path) -> None:
    assert debugged(tmp_path, "run", wanted="").stdout.splitlines() == ["runs"]


def test_other_verbs_do_not_wait(tmp_path: Path) -> None:
    assert debugged(tmp_path, "cdi", "devices", wanted="wait").stdout.splitlines() == ["runs"]


def test_a_wish_that_is_not_known_is_refused(tmp_path: Path) -> None:
    done = debugged(tmp_path, "run", wanted="yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "KUBELET_PLUGIN_DEBUG=yes" in done.stderr


def test_the_command_is_a_program_and_nothing_else_of_ours_is() -> None:
    tree = tree_of(contents.ours(debug=False))
    assert [path for path, entry in tree.items() if entry.executable] == ["usr/bin/kubelet-plugin"]


def test_the_command_runs_the_images_own_python_in_isolation() -> None:
    tree = tree_of(contents.ours(debug=False))
    assert (tree["usr/bin/kubelet-plugin"].data or b"").startswith(b"#!/usr/bin/python3.11 -IB\n")


def test_scanners_find_what_dpkg_knows_of_each_package() -> None:
    (entry,) = contents.statuses({"thing": packing.deb({"a": b"x"})})
    assert entry.path == "var/lib/dpkg/status.d/thing"
    assert entry.data == b"Package: thing\nVersion: 1:2.0-3\nStatus: install ok installed\n"


def test_busybox_has_its_other_names() -> None:
    links = {entry.path: entry.target for entry in contents.shell(["busybox", "sh", "ls"])}
    assert links == {"bin/sh": "busybox", "bin/ls": "busybox"}
