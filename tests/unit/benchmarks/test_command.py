import subprocess
import sys


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], capture_output=True, text=True, check=False, timeout=30
    )


def test_help_gives_examples_and_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "python -m benchmarks --quick" in done.stdout
    assert "exit codes" in done.stdout


def test_an_unknown_option_is_wrong_usage() -> None:
    done = run("--fast")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_wrong_usage_before_anything_runs() -> None:
    done = run("--json", "/proc/none/figures.json")
    assert done.returncode == 2
    assert done.stderr == "benchmarks: cannot write /proc/none/figures.json: No such file or directory\n"
