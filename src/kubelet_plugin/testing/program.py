"""A plugin that is a program of its own, in whatever language."""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kubelet_plugin.errors import ConfigurationError, WaitError
from kubelet_plugin.testing.failures import hides_frames, written

__tracebackhide__ = hides_frames

FAREWELL = 5.0
"""Seconds that a program has after SIGTERM, until it is killed."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """Directories that a program sees under other paths.

    Attributes:
        stage: An empty directory that is mounted on.
        places: The directories, and where they are seen.
    """

    stage: str
    places: tuple[tuple[str, str], ...]


class _Process:
    """A program and all that it has started: a process group.

    Args:
        command: Its command line.
        environment: Its environment.
        mounts: What it sees elsewhere; None: nothing.
        ended: Called when it has ended, in another thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        mounts: Mounts | None,
        ended: Callable[[], None],
    ) -> None:
        self.command = shlex.join(command)
        self._ended = ended
        self._expected = False
        self._is_surprised = self._is_deaf = False
        self._last_words: str | None = None
        self._exited: futures.Future[int] = futures.Future()
        self._exited.set_running_or_notify_cancel()  # from now on nobody who gives up waiting can cancel it
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 -- it lives as long as this
        try:
            self._popen = _start(command, environment, self._output, mounts)
        except BaseException:
            self._output.close()
            raise
        self._watcher = threading.Thread(target=self._watch, name=f"waits for {self.pid}", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        # It is not reaped before `close`: until then no other process can get its id, and a signal cannot go astray.
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert info is not None
        self._exited.set_result(info.si_status if info.si_code == os.CLD_EXITED else -info.si_status)
        self._ended()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative the number of the signal that ended it; None while it runs."""
        return self._exited.result() if self._exited.done() else None

    @property
    def output(self) -> str:
        """What it has written by now, to standard output and standard error."""
        if self._last_words is not None:
            return self._last_words
        descriptor = self._output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def terminate(self) -> None:
        """Send SIGTERM, to it and all that it has started."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, to it and all that it has started."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        self._expected = True
        if self._last_words is None:
            os.killpg(self.pid, number)

    def _awaited(self, timeout: float) -> WaitError:
        return WaitError(f"waited {timeout:g} s for a program to end\n{self.story()}")

    def failure(self) -> BaseException | None:
        """Why it has ended, though the test did not ask for it, or only by SIGKILL; None while neither is so."""
        if self._is_deaf:
            fault = f"a program did not end within {FAREWELL:g} s of SIGTERM and was killed: a plugin has to heed it"
            return WaitError(f"{fault}\n{self.story()}")
        if self.returncode is None or self._expected:
            return None
        return WaitError(f"a program has ended by itself\n{self.story()}")

    def note(self) -> str:
        """What it is and what it has written, too."""
        return self.story()

    def story(self) -> str:
        """What it is and what it has written, for people."""
        state = f"runs as {self.pid}" if self.returncode is None else f"ended with exit code {self.returncode}"
        return f"$ {self.command}\n  {state}; it wrote:\n{written(self.output)}"

    def _dismiss(self) -> None:
        """Let it end."""
        self._is_surprised = not self._expected
        self.terminate()

    def _force(self) -> None:
        """End it, if it has not ended by now."""
        self._is_deaf = self._is_surprised and self.returncode is None
        self.kill()

    def _close(self) -> None:
        """End what is left of the group, once the program itself has ended."""
        os.killpg(self.pid, signal.SIGKILL)
        self._watcher.join()
        self._popen.wait()
        self._last_words = self.output
        self._output.close()


def _start(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes], mounts: Mounts | None
) -> subprocess.Popen[bytes]:
    if mounts is None:
        return _popen(command, environment, output)
    places = [path for place in mounts.places for path in place]
    read, write = os.pipe()
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("mounting.py")), str(write), mounts.stage]
    try:
        process = _popen([*launcher, *places, "--", *command], environment, output, write)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    with open(read, "rb") as pipe:
        fault = pipe.read().decode()
    if fault:
        process.wait()
        raise ConfigurationError(f"{shlex.join(command)} cannot be run with mounts of its own: {fault}")
    return process


def _popen(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes], *descriptors: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 -- to run what the test names is its purpose
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
        pass_fds=descriptors,
    )


class Program(_Process):
    """A running program. It is ended with the block that started it.

    Attributes:
        command: Its command line, as a shell would be given it.
    """

    def wait(self, timeout: float = 10.0) -> int:
        """Wait until it ends, and return its exit code, negative the number of the signal that ended it.

        Args:
            timeout: For how many seconds to wait.

        Raises:
            WaitError: It has not ended by then.
        """
        self._expected = True
        try:
            return self._exited.result(timeout)
        except TimeoutError:
            raise self._awaited(timeout) from None

    def end(self) -> None:
        """End it: SIGTERM, and SIGKILL where that is not heard within `FAREWELL` seconds."""
        self._dismiss()
        futures.wait([self._exited], FAREWELL)
        self._force()
        futures.wait([self._exited])
        self._close()


class AsyncProgram(_Process):
    """A running program. It is ended with the block that started it.

    Attributes:
        command: Its command line, as a shell would be given it.
    """

    async def wait(self, timeout: float = 10.0) -> int:
        """Wait until it ends, and return its exit code, negative the number of the signal that ended it.

        Args:
            timeout: For how many seconds to wait.

        Raises:
            WaitError: It has not ended by then.
        """
        self._expected = True
        await self._has_exited(timeout)
        if self.returncode is None:
            raise self._awaited(timeout)
        return self.returncode

    async def end(self) -> None:
        """End it: SIGTERM, and SIGKILL where that is not heard within `FAREWELL` seconds."""
        self._dismiss()
        await self._has_exited(FAREWELL)
        self._force()
        await self._has_exited(None)
        self._close()

    async def _has_exited(self, timeout: float | None) -> None:
        await asyncio.wait({asyncio.wrap_future(self._exited)}, timeout=timeout)
