import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kubelet_plugin import cdi
from tests.unit.cli.cdi_command import NAME, put, spec


@contextmanager
def monitor(directory: Path, *options: str) -> Iterator["tuple[subprocess.Popen[str], IO[str]]"]:
    command = [sys.executable, "-u", "-m", "kubelet_plugin", "cdi", "monitor", "--spec-dir", str(directory), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout
        finally:
            process.terminate()


def test_what_there_is_is_shown_and_then_every_change(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", spec("d"))
    with monitor(tmp_path) as (_, lines):
        assert lines.readline() == f"+ {NAME}  {path}\n"
        cdi.write_file(spec("d", env="A=2"), path)
        assert lines.readline() == f"~ {NAME}  {path}\n"
        cdi.write_file(spec("d"), other := str(tmp_path / "b.json"))
        assert lines.readline() == f"- {NAME}  {path}\n"
        assert lines.readline().startswith(f"! device {NAME} is in ")  # once, though it is an error of both files
        (tmp_path / "a.json").unlink()
        assert lines.readline() == f"+ {NAME}  {other}\n"


def test_changes_are_objects_a_line_for_programs(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", spec("d"))
    broken = put(tmp_path / "b.json", "{")
    with monitor(tmp_path, "--output", "json") as (_, lines):
        assert json.loads(lines.readline()) == {"event": "added", "device": NAME, "spec": path}
        error = json.loads(lines.readline())
        assert (error["event"], error["path"]) == ("error", broken)


def test_it_ends_well_when_it_is_asked_to(tmp_path: Path) -> None:
    put(tmp_path / "a.json", spec("d"))
    for number in (signal.SIGTERM, signal.SIGINT):
        with monitor(tmp_path) as (process, lines):
            lines.readline()
            process.send_signal(number)
            assert process.wait() == 0
