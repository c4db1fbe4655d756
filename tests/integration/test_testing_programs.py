"""Plugins that are programs of their own: found by the kubelet, watched, and ended with all that they have started."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.testing import AsyncKubelet, Kubelet, Program, WaitError, pod
from tests.mounts import needs_mounts

RESOURCE = "foreign.example.com/thing"
FOREIGN = [sys.executable, str(Path(__file__).parents[1] / "foreign/plugin.py")]
STAYS = ["sleep", "60"]


def until_ended(program: Program) -> None:
    """Wait in a way that the kubelet knows nothing of."""
    while program.returncode is None:
        pass


def test_a_program_finds_the_kubelet_by_its_environment(kubelet: Kubelet) -> None:
    with kubelet.command(FOREIGN):
        kubelet.wait_for(RESOURCE, allocatable=2)


@needs_mounts
def test_a_program_that_knows_only_a_nodes_own_directories_finds_the_kubelet_there(kubelet: Kubelet) -> None:
    with kubelet.command(FOREIGN, mounted=True, env={"KUBELET_PLUGIN_PLUGIN_DIR": ""}):
        kubelet.wait_for(RESOURCE, allocatable=2)
        assert kubelet.admit(pod({RESOURCE: 1})).container().devices[RESOURCE]


@needs_mounts
def test_mounts_hide_nothing_else_from_a_program(kubelet: Kubelet) -> None:
    with kubelet.command(["sh", "-c", "ls /var/lib /run"], mounted=True) as program:
        assert program.wait() == 0
        seen = set(program.output.split())
    assert set(os.listdir("/var/lib")) | set(os.listdir("/run")) <= seen


@needs_mounts
def test_mounts_of_a_program_show_nowhere_else(kubelet: Kubelet) -> None:
    with kubelet.command(["touch", "/var/run/cdi/thing.json"], mounted=True) as program:
        assert program.wait() == 0
    assert [path.name for path in kubelet.cdi_dir.iterdir()] == ["thing.json"]
    assert not os.path.exists("/var/run/cdi/thing.json")


@needs_mounts
def test_a_program_that_is_not_there_is_named(kubelet: Kubelet) -> None:
    with pytest.raises(ConfigurationError, match="nonsense: No such file or directory"):
        kubelet.command(["nonsense"], mounted=True).__enter__()


def test_what_a_program_has_written_can_be_read(kubelet: Kubelet) -> None:
    with kubelet.command(["sh", "-c", "echo out; echo err >&2"]) as program:
        program.wait()
    assert program.output == "out\nerr\n"


def test_the_environment_of_a_program_can_be_changed(kubelet: Kubelet) -> None:
    with kubelet.command(["sh", "-c", "echo $COLOUR"], env={"COLOUR": "green"}) as program:
        program.wait()
    assert program.output == "green\n"


def test_options_of_the_user_do_not_reach_a_program(kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELET_PLUGIN_DOMAIN", "mine.example.com")
    with kubelet.command(["sh", "-c", "echo [$KUBELET_PLUGIN_DOMAIN]"]) as program:
        program.wait()
    assert program.output == "[]\n"


def test_a_program_that_ends_by_itself_fails_the_wait_at_once(kubelet: Kubelet) -> None:
    begun = time.monotonic()
    with pytest.raises(WaitError) as caught, kubelet.command(["sh", "-c", "echo no such driver; exit 3"]):
        kubelet.wait_for(RESOURCE)
    assert time.monotonic() - begun < 5
    assert "ended with exit code 3; it wrote:\n  no such driver" in str(caught.value)
    assert caught.value.__notes__ == [f"The test was waiting for {RESOURCE}: a first list."]


def test_a_program_that_ends_by_itself_fails_the_test_that_waits_for_nothing(kubelet: Kubelet) -> None:
    with pytest.raises(WaitError, match="a program has ended by itself"), kubelet.command(["true"]) as program:
        until_ended(program)


def test_a_wait_that_fails_says_what_the_program_has_written(kubelet: Kubelet) -> None:
    with kubelet.command(["sh", "-c", "echo looking around; sleep 60"]) as program:
        kubelet.wait_until(lambda: program.output)
        with pytest.raises(WaitError, match=r"\$ sh -c .*\n  runs as \d+; it wrote:\n  looking around"):
            kubelet.wait_for(RESOURCE, timeout=0)


def test_a_program_that_the_test_has_ended_fails_nothing(kubelet: Kubelet) -> None:
    with kubelet.command(STAYS) as program:
        program.kill()
        assert program.wait() == -signal.SIGKILL
        assert program.returncode == -signal.SIGKILL


def test_a_program_that_does_not_end_fails_the_wait_for_it(kubelet: Kubelet) -> None:
    with kubelet.command(STAYS) as program, pytest.raises(WaitError, match="waited 0 s for a program to end"):
        program.wait(0)


def test_at_the_end_of_the_block_a_program_is_terminated(kubelet: Kubelet) -> None:
    script = "trap 'echo bye; exit' TERM; echo ready; sleep 60 & wait"
    with kubelet.command(["sh", "-c", script]) as program:
        kubelet.wait_until(lambda: program.output)
    assert program.output == "ready\nbye\n"


def test_what_a_program_has_started_ends_with_it(kubelet: Kubelet) -> None:
    script = "(trap '' TERM; echo $(exec sh -c 'echo $PPID'); while :; do sleep 60; done) & wait"
    with kubelet.command(["sh", "-c", script]) as program:
        kubelet.wait_until(lambda: program.output.endswith("\n"))
    child = int(program.output)
    kubelet.wait_until(lambda: not os.path.exists(f"/proc/{child}") or _is_dead(child))


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


DEAF = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done"]
UNHEEDED = r"a program did not end within 0\.05 s of SIGTERM and was killed(.|\n)*exit code -9; it wrote:\n  ready"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs have little time to end."""
    monkeypatch.setattr("kubelet_plugin.testing.program.FAREWELL", 0.05)


@pytest.mark.usefixtures("short")
def test_a_program_that_ignores_sigterm_is_killed_and_fails_the_test(kubelet: Kubelet) -> None:
    with pytest.raises(WaitError, match=UNHEEDED), kubelet.command(DEAF) as program:
        kubelet.wait_until(lambda: program.output)
    assert program.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("short")
def test_a_program_that_ignores_what_the_test_itself_has_sent_fails_nothing(kubelet: Kubelet) -> None:
    with kubelet.command(DEAF) as program:
        kubelet.wait_until(lambda: program.output)
        program.terminate()
    assert program.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("short")
def test_where_the_test_has_failed_a_program_that_ignores_sigterm_does_not_hide_that(kubelet: Kubelet) -> None:
    with pytest.raises(ZeroDivisionError), kubelet.command(DEAF) as program:
        1 / (not kubelet.wait_until(lambda: program.output))


def test_a_program_that_ends_badly_by_itself_fails_the_test(kubelet: Kubelet) -> None:
    words = "ended by itself\n.*\n  ended with exit code 3"
    with pytest.raises(WaitError, match=words), kubelet.command(["sh", "-c", "exit 3"]) as program:
        until_ended(program)


@pytest.mark.asyncio
@pytest.mark.usefixtures("short")
async def test_in_a_coroutine_test_a_program_that_ignores_sigterm_fails_the_test(kubelet: AsyncKubelet) -> None:
    with pytest.raises(WaitError, match=UNHEEDED):
        async with kubelet.command(DEAF) as program:
            await kubelet.wait_until(lambda: program.output)


@pytest.mark.asyncio
async def test_in_a_coroutine_test_a_program_is_awaited(kubelet: AsyncKubelet) -> None:
    async with kubelet.command(FOREIGN) as program:
        await kubelet.wait_for(RESOURCE, allocatable=2)
        program.kill()
        assert await program.wait() == -signal.SIGKILL


@pytest.mark.asyncio
async def test_in_a_coroutine_test_a_program_that_does_not_end_fails_the_wait_for_it(kubelet: AsyncKubelet) -> None:
    async with kubelet.command(STAYS) as program:
        with pytest.raises(WaitError, match="waited 0 s"):
            await program.wait(0)


@pytest.mark.asyncio
async def test_in_a_coroutine_test_a_program_that_ends_by_itself_fails_the_wait(kubelet: AsyncKubelet) -> None:
    with pytest.raises(WaitError, match="exit code 3"):
        async with kubelet.command(["sh", "-c", "exit 3"]):
            await kubelet.wait_for(RESOURCE)
