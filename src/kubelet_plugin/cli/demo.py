"""`kubelet-plugin demo`: the whole way of a device, from its node to a container, on any machine."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from kubelet_plugin.cli import lean  # noqa: F401 -- lean comes before all that imports asyncio
from kubelet_plugin.discovery import probes
from kubelet_plugin.errors import Error
from kubelet_plugin.kubelet import VERSIONS, DeviceManager, DryRuntime, NodeResource, Phase, PodStatus, Profile, Runc
from kubelet_plugin.plugins import DOMAIN

T = TypeVar("T")

_PATIENCE = 20.0
_TITLE, _TIME = 24, 10
_INSIDE = {
    "kvm": ["sh", "-c", "ls -l /dev/kvm && exec 3<>/dev/kvm && echo '/dev/kvm opens'"],
    "crand": ["sh", "-c", "ls -l /dev/crand0 && head -c 8 /dev/crand0 | od -An -tx1"],
}

_HELP = """Show what this project does, step by step: no cluster, no root, nothing left behind.

It starts an embedded kubelet in a temporary directory, and beside it the kvm plugin as a process of its own (the
sample plugin over /dev/random, where /dev/kvm cannot be used). A pod asks for the device, and what its container
would get is shown. The device is taken away and brought back (a stand-in: the machine's own is not touched), the
kubelet is restarted, and the plugin is ended. All times are measured as they happen.

In a terminal, kubelet and plugin go on until Ctrl-C before the last step; with --once, or where the output is no
terminal, nothing waits. The exit code is 1 when a step failed.
"""


class StepError(Exception):
    """A step of the demo did not do what it is to show."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The device that is shown.

    Attributes:
        plugin: The plugin's name.
        device: The id of its device.
        node: The node's path, in the container and on the node.
        source: What it stands for on this machine.
        why: Why it is not the kvm device; empty where it is.
    """

    plugin: str
    device: str
    node: str
    source: str
    why: str = ""

    @property
    def resource(self) -> str:
        """The resource's name."""
        return f"{DOMAIN}/{self.plugin}"

    @classmethod
    def here(cls) -> "Subject":
        """Choose what this machine can show."""
        _, finding = probes.look("/dev/kvm")
        if finding.healthy and probes.kvm.test is not None:
            finding = probes.kvm.test("/dev/kvm")
        if finding.healthy:
            return cls("kvm", "kvm0", "/dev/kvm", "/dev/kvm")
        return cls("crand", "crand0", "/dev/crand0", "/dev/random", finding.reason)


@click.command("demo", help=_HELP, context_settings={"show_default": True})
@click.option("--once", is_flag=True, help="End after the last step, in a terminal too.")
@click.option("--run", is_flag=True, help="Run the container as well, with runc and busybox, and look inside (root).")
@click.option("--profile", type=click.Choice(VERSIONS), default=VERSIONS[-1], help="The kubelet's version.")
@click.pass_context
def command(ctx: click.Context, *, once: bool, run: bool, profile: str) -> None:
    if run and (why := Runc.unavailable()):
        raise click.UsageError(f"--run: {why}")
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        ctx.color = False
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that what was made is taken away
        signal.signal(number, lambda *_: sys.exit(1))
    logging.getLogger("kubelet_plugin").addHandler(logging.NullHandler())  # what it logs is no part of the story
    with tempfile.TemporaryDirectory(prefix="kubelet-plugin-demo-") as directory:
        demo = _Demo(Subject.here(), Path(directory), profile, runs=run)
        try:
            asyncio.run(demo.tell(stays=not once and sys.stdout.isatty()))
        except (StepError, Error) as error:
            click.echo(f"  {click.style('✗', fg='red', bold=True)} {error}")
            ctx.exit(1)
        except OSError as error:
            raise click.ClickException(f"the demo cannot go on: {error}") from error


class _Demo:
    def __init__(self, subject: Subject, directory: Path, profile: str, *, runs: bool) -> None:
        self._subject = subject
        self._plugins = directory / "device-plugins"
        self._cdi = directory / "cdi"
        self._log = directory / "plugin.log"
        self._stand_in = directory / "host" / subject.node.lstrip("/")
        cdi_dirs = [str(self._cdi)]
        self._runc = Runc(cdi_dirs) if runs else None
        self._manager = DeviceManager(str(self._plugins), profile, runtime=self._runc or DryRuntime(cdi_dirs))
        self._profile = profile
        self._process: asyncio.subprocess.Process | None = None

    async def tell(self, *, stays: bool) -> None:
        """Tell the story, from beginning to end.

        Raises:
            StepError: A step failed; the others are left out.
        """
        subject = self._subject
        click.echo(f"A kubelet {self._profile}, the {subject.plugin} plugin and a pod, on this machine alone.")
        if subject.why:
            click.echo(f"The sample plugin stands in for kvm: {subject.why}.")
        click.echo()
        self._stand_in.parent.mkdir(parents=True)
        self._plug()
        async with contextlib.AsyncExitStack() as stack:
            await _step("kubelet ready", stack.enter_async_context(self._manager))
            _say(f"plugins register at {self._plugins}/kubelet.sock")
            plugin = await stack.enter_async_context(self._plugin())
            await self._come()
            await self._allocate()
            await self._lose()
            await self._restart_kubelet()
            if stays:
                await self._stay(stack)
            await self._end(plugin)
        click.echo(f"\nNext: {_command()} run --help")

    # The steps.

    async def _come(self) -> None:
        resource = self._subject.resource
        registered = self._manager.until(lambda: self._manager.endpoint(resource))
        await _step("plugin registered", self._while_it_runs(registered))
        _say(f"as {resource}, from the start of its process")
        await _step("devices listed", self._until(NodeResource(1, 1)))
        _say(f"{self._subject.device} is Healthy; the node offers {resource}: 1")

    async def _allocate(self) -> None:
        resource = self._subject.resource
        status = await _step("pod admitted", self._admit("vm"))
        if status.phase is not Phase.RUNNING:
            waiting = status.containers[0].message if status.containers else status.message
            raise StepError(f"pod admitted: the pod is {status.phase}: {waiting}")
        container = status.containers[0]
        _say(f"it asked for {resource}: 1 and holds {', '.join(container.devices[resource])}")
        assert container.config is not None
        linux: dict[str, Any] = container.config["linux"]
        for node in linux["devices"]:
            mode = f"mode {node['fileMode'] & 0o7777:04o}" if "fileMode" in node else ""
            _detail("its container gets", f"{node['path']}  {node['type']} {node['major']}:{node['minor']}  {mode}")
        numbers = {(node["major"], node["minor"]) for node in linux["devices"]}
        rules = [rule for rule in linux["resources"]["devices"] if (rule.get("major"), rule.get("minor")) in numbers]
        for text in dict.fromkeys(f"{rule['type']} {rule['major']}:{rule['minor']} {rule['access']}" for rule in rules):
            _detail("and may", f"{text}, by its device cgroup")
        if Profile.of(self._profile).passes_cdi_devices:
            for spec in sorted(self._cdi.glob("*.json")):
                _detail("by the CDI spec", str(spec))
        if self._runc is not None:
            await self._look_inside(status)

    async def _look_inside(self, status: PodStatus) -> None:
        assert self._runc is not None
        container = status.pod.containers[0]
        command = _INSIDE[self._subject.plugin]
        code, output = await _step("looked inside", self._runc.exec(status.pod, container.name, *command))
        if code:
            raise StepError(f"looked inside: {' '.join(command)} ended with {code}: {output.strip()}")
        _say("with runc, busybox in the place of its image")
        for line in output.strip().splitlines():
            _detail("", line)

    async def _lose(self) -> None:
        node = self._subject.node
        self._stand_in.unlink()
        await _step("device lost", self._until(NodeResource(1, 0)))
        _say(f"{node} is gone: Unhealthy at the kubelet; the pod that holds it runs on")
        status = await _step("another pod refused", self._admit("late"))
        if status.phase is not Phase.FAILED:
            raise StepError(f"another pod refused: it is {status.phase} without a device")
        _say(status.reason)
        _detail("", status.message)
        self._plug()
        await _step("device found again", self._until(NodeResource(1, 1)))
        _say(f"{node} is back: Healthy, without any restart")

    async def _restart_kubelet(self) -> None:
        await _step("kubelet restarted", self._manager.restart())
        _say("it removed the plugin's socket, as kubelets do")
        await _step("registered again", self._until(NodeResource(1, 1)))
        status = self._manager.pod_status("vm")
        held = ", ".join(status.containers[0].devices.get(self._subject.resource, ()))
        if status.phase is not Phase.RUNNING or not held:
            raise StepError(f"registered again: the pod of before is {status.phase}: {status.message}")
        _say(f"by itself; the pod still holds {held}")

    async def _stay(self, stack: contextlib.AsyncExitStack) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, stop.set)
        stack.callback(loop.remove_signal_handler, signal.SIGINT)
        click.echo(f"\nKubelet and plugin go on until Ctrl-C. Try, in another terminal:\n  rm {self._stand_in}")
        click.echo(f"  ln -s {self._subject.source} {self._stand_in}\n")
        ending = asyncio.ensure_future(stop.wait())
        shown = self._state()
        while not stop.is_set():
            changed = asyncio.ensure_future(self._state_after(shown))
            await asyncio.wait({ending, changed}, return_when=asyncio.FIRST_COMPLETED)
            if changed.done():
                shown = changed.result()
                click.echo(f"  {time.strftime('%H:%M:%S')}  {shown}")
            changed.cancel()
        click.echo()

    async def _end(self, plugin: asyncio.subprocess.Process) -> None:
        plugin.terminate()
        code = await _step("plugin ended", plugin.wait())
        if code:
            raise StepError(f"plugin ended: its exit code is {code}\n{self._log.read_text()}")
        _say("on SIGTERM, exit code 0")

    # The actors.

    async def _while_it_runs(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something that the plugin does, but not for a plugin that has ended."""
        assert self._process is not None
        done = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({done, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise StepError(f"the plugin has ended with exit code {self._process.returncode}")
            return done.result()
        finally:
            done.cancel()
            ended.cancel()

    def _plug(self) -> None:
        self._stand_in.symlink_to(os.path.relpath(self._subject.source, os.path.realpath(self._stand_in.parent)))

    @contextlib.asynccontextmanager
    async def _plugin(self) -> AsyncIterator[asyncio.subprocess.Process]:
        options = {"plugin-dir": self._plugins, "cdi-dir": self._cdi, "host-root": self._stand_in.parents[1]}
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBELET_PLUGIN_")}
        with self._log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kubelet_plugin", "run", self._subject.plugin, *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        self._process = process
        try:
            yield process
        except StepError as error:
            raise StepError(f"{error}\nThe plugin's log:\n{self._log.read_text()}") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _admit(self, name: str) -> PodStatus:
        container = {
            "name": "main",
            "image": "busybox",
            "command": ["sleep", "infinity"],
            "resources": {"limits": {self._subject.resource: 1}},
        }
        return await self._manager.admit(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
        )

    async def _until(self, wanted: NodeResource) -> NodeResource:
        def look() -> NodeResource | None:
            offered = self._manager.resources().get(self._subject.resource)
            return offered if offered == wanted else None

        return await self._manager.until(look)

    async def _state_after(self, before: str) -> str:
        return await self._manager.until(lambda: state if (state := self._state()) != before else None)

    def _state(self) -> str:
        resource = self._subject.resource
        offered = self._manager.resources().get(resource, NodeResource(0, 0))
        devices = ", ".join(f"{name} {health}" for name, health in self._manager.devices(resource).items())
        return f"{resource}: capacity {offered.capacity}, allocatable {offered.allocatable}; {devices}"


def _command() -> str:
    """How this command is called here."""
    program = os.path.relpath(sys.argv[0])
    return "kubelet-plugin" if shutil.which("kubelet-plugin") or "__main__" in program else program


async def _step(title: str, work: Awaitable[T]) -> T:
    """Do a step, and begin its line with how long it took.

    Raises:
        StepError: It failed, or did not end in time.
    """
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            result = await work
    except TimeoutError:
        raise StepError(f"{title}: it did not happen within {_PATIENCE:g} s") from None
    except (Error, StepError) as error:
        raise StepError(f"{title}: {error}") from error
    took = f"{(time.perf_counter() - began) * 1000:.1f} ms"
    mark = click.style("✓", fg="green", bold=True)
    click.echo(
        f"  {mark} {click.style(f'{title:<{_TITLE}}', bold=True)}{click.style(f'{took:>{_TIME}}', fg='cyan')}", nl=False
    )
    return result


def _say(text: str) -> None:
    """End the line of a step with what it means."""
    click.echo(f"   {text}")


def _detail(label: str, text: str) -> None:
    """Show more of a step."""
    indent = 4 + _TITLE + _TIME + 3
    room = max(40, shutil.get_terminal_size((120, 24)).columns - indent)
    for line in textwrap.wrap(text, room, break_long_words=False):
        click.echo(f"    {click.style(f'{label:>{_TITLE + _TIME}}', dim=True)}   {line}")
        label = ""
