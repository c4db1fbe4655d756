"""The demo, as a process of its own."""

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "kubelet_plugin", "demo"]
STEPS = [
    "kubelet ready",
    "plugin registered",
    "devices listed",
    "pod admitted",
    "device lost",
    "another pod refused",
    "device found again",
    "kubelet restarted",
    "registered again",
    "plugin ended",
]


def run(*arguments: str, temporary: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | {"TMPDIR": str(temporary), "COLUMNS": "200"} | environment,  # nothing is wrapped
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory with a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="d-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def told() -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory(prefix="d-") as directory:
        return run(temporary=Path(directory))


def test_without_a_terminal_it_ends_well(told: "subprocess.CompletedProcess[str]") -> None:
    assert (told.returncode, told.stderr) == (0, "")


def test_each_step_is_told_in_order_with_its_time(told: "subprocess.CompletedProcess[str]") -> None:
    assert re.findall(r"^  ✓ (.+?) +\d+\.\d ms", told.stdout, re.MULTILINE) == STEPS


def test_what_the_container_gets_is_shown(told: "subprocess.CompletedProcess[str]") -> None:
    assert re.search(r"its container gets   /dev/(kvm|crand0)  c \d+:\d+  mode 0\d{3}", told.stdout)


def test_a_refused_pod_is_shown_with_the_kubelets_words(told: "subprocess.CompletedProcess[str]") -> None:
    assert "Pod was rejected: Allocate failed due to no healthy devices present" in told.stdout


def test_nothing_is_written_in_colour_without_a_terminal(told: "subprocess.CompletedProcess[str]") -> None:
    assert "\x1b" not in told.stdout


def test_nothing_is_left_behind(temporary: Path) -> None:
    assert run("--once", temporary=temporary).returncode == 0
    assert list(temporary.iterdir()) == []


def test_an_older_kubelet_can_be_shown(temporary: Path) -> None:
    done = run("--profile", "1.20", temporary=temporary)
    assert done.returncode == 0
    assert "A kubelet 1.20" in done.stdout
    assert "requested number of devices unavailable" in done.stdout
    assert "by the CDI spec" not in done.stdout  # of which such a kubelet knows nothing


def test_a_step_that_fails_is_named_and_the_exit_code_is_1(temporary: Path) -> None:
    deep = temporary / ("d" * 100)  # no socket's path fits there
    deep.mkdir()
    done = run(temporary=deep)
    assert done.returncode == 1
    assert "✗ kubelet ready: the plugin directory" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def on_a_terminal(environment: Mapping[str, str]) -> tuple[int, str]:
    """Run it on a terminal, press Ctrl-C once it waits; its exit code and what it wrote."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environment)
    os.close(theirs)
    written = b""
    try:
        while True:
            data = os.read(ours, 65536)
            if b"go on until Ctrl-C" not in written and b"go on until Ctrl-C" in written + data:
                process.send_signal(signal.SIGINT)
            written += data
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    return process.wait(20), written.decode()


def test_on_a_terminal_it_goes_on_until_ctrl_c(temporary: Path) -> None:
    code, written = on_a_terminal({"TMPDIR": str(temporary)})
    assert code == 0, written
    assert "Kubelet and plugin go on until Ctrl-C" in written
    assert "plugin ended" in written
    assert "\x1b[32m" in written


def test_a_plugin_that_ends_by_itself_is_a_step_that_failed_and_its_log_is_shown(temporary: Path) -> None:
    (temporary / "sitecustomize.py").write_text(
        "import sys\nif 'run' in sys.orig_argv: raise SystemExit('no such luck')\n"
    )
    done = run(temporary=temporary, PYTHONPATH=str(temporary))
    assert done.returncode == 1
    assert "✗ plugin registered: the plugin has ended with exit code" in done.stdout
    assert "no such luck" in done.stdout


def test_sigterm_leaves_nothing_behind(temporary: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--once"], env=os.environ | {"TMPDIR": str(temporary)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    with process.stdout as lines:
        next(line for line in lines if "plugin registered" in line)
        process.terminate()
        lines.read()
    process.wait(20)
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may run containers")
def test_running_the_container_without_root_is_refused_with_the_reason(temporary: Path) -> None:
    done = run("--run", temporary=temporary)
    assert done.returncode == 2
    assert "--run: " in done.stderr
