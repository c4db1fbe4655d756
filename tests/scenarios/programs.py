"""Plugins that are programs, on a stage: whoever wrote them, and in whatever language."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.scenarios.calls import Ids
from tests.scenarios.observed import Delivered, Resource
from tests.scenarios.stage import Stage
from tests.scenarios.versions import NONE_HEALTHY

DEPRECATION = "DEPRECATION"  # where kubelet 1.20 has put this file, upstream's sample plugin does not register
ENDS_WITHIN = 10.0


@dataclass(frozen=True)
class Program:
    """A plugin that is a program.

    Attributes:
        name: What it is called here.
        resource: What it offers.
        devices: The ids of its devices.
        command: How it is started.
        registers_again: Whether it notices a new kubelet.
    """

    name: str
    resource: str
    devices: Ids
    command: Sequence[str]
    registers_again: bool

    @property
    def whole(self) -> Resource:
        """The resource while all is well."""
        return Resource(len(self.devices), len(self.devices))

    @property
    def lost(self) -> Resource:
        """The resource when the program has ended."""
        return Resource(len(self.devices), 0)


def its_devices_go_to_pods_until_none_is_left(stage: Stage, program: Program) -> None:
    with _running(stage, program):
        pods = [stage.ask(f"pod-{number}", program.resource, 1).running() for number in range(len(program.devices))]

        given = sorted(id_ for pod in pods for id_ in _given(pod.delivered(naming="", record=False), program))
        assert given == list(program.devices)
        assert stage.ask("late", program.resource, 1).refused() == stage.refusal(_unavailable(program, 1, 0))


def all_its_devices_go_to_one_pod(stage: Stage, program: Program) -> None:
    with _running(stage, program):
        pod = stage.ask("all", program.resource, len(program.devices)).running()

        assert _given(pod.delivered(naming="", record=False), program) == list(program.devices)


def it_has_too_few_devices_for_a_pod(stage: Stage, program: Program) -> None:
    with _running(stage, program):
        count = len(program.devices)

        refused = stage.ask("greedy", program.resource, count + 1).refused()

        assert refused == stage.refusal(_unavailable(program, count + 1, count))


def it_is_killed_and_started_again(stage: Stage, program: Program) -> None:
    """Its pod runs on, and keeps its device."""
    with _running(stage, program) as process:
        pod = stage.ask("holder", program.resource, 1).running()
        process.kill()
        stage.until(program.resource, program.lost)
        text = stage.by_version(NONE_HEALTHY).format(resource=program.resource, asked=1)
        assert stage.ask("meanwhile", program.resource, 1).refused() == stage.refusal(text)

    with _running(stage, program):
        pod.running()
        count = len(program.devices)
        refused = stage.ask("greedy", program.resource, count).refused()
        assert refused == stage.refusal(_unavailable(program, count, count - 1))


def it_is_told_to_end(stage: Stage, program: Program) -> None:
    with _running(stage, program) as process:
        process.terminate()

        stage.until(program.resource, program.lost)


def the_kubelet_restarts_under_it(stage: Stage, program: Program) -> None:
    """Its pod runs on; a program that does not look after its registration is lost."""
    with _running(stage, program):
        pod = stage.ask("holder", program.resource, 1).running()

        stage.kubelet.restart()

        pod.running()
        stage.until(program.resource, program.whole if program.registers_again else Resource(0, 0))


@contextlib.contextmanager
def _running(stage: Stage, program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """The program, once it has registered; what it says is shown where the test fails."""
    (stage.kubelet.plugin_dir / DEPRECATION).unlink(missing_ok=True)
    with tempfile.TemporaryFile() as log:
        command = stage.kubelet.launch(program.command)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            stage.until(program.resource, program.whole)
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDS_WITHIN)
            process.kill()
            process.wait()
            log.seek(0)
            sys.stdout.write(log.read().decode(errors="replace"))


def _given(delivered: Delivered, program: Program) -> list[str]:
    """The devices that a container got: each is a path in it, and the path ends in its id."""
    names = {path.rpartition("/")[2] for path in (*delivered.devices, *delivered.mounts)}
    return sorted(names.intersection(program.devices))


def _unavailable(program: Program, asked: int, available: int) -> str:
    return f"requested number of devices unavailable for {program.resource}. Requested: {asked}, Available: {available}"
