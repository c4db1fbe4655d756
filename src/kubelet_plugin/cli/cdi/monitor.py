"""`kubelet-plugin cdi monitor`."""

import asyncio
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """Show the devices that there are, and then every change, until Ctrl-C or SIGTERM.

\b
  + a device that can now be resolved
  ~ a device that is now made of something else, or taken from another file
  - a device that can no longer be resolved
  ! something that is now wrong with a file

Directories that do not exist yet are waited for. With --output json each change is an object on a line of its own.
"""

_SIGNS = {"added": "+", "changed": "~", "removed": "-", "error": "!"}
_COLOURS = {"added": "green", "changed": "yellow", "removed": "red", "error": "red"}


@dataclass(frozen=True, slots=True)
class _Change:
    """One change.

    Attributes:
        event: `added`, `changed`, `removed` or `error`.
        subject: The device, or the file.
        text: The device's file, or the error.
    """

    event: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class _State:
    """What a registry knows at a time: the devices with their files, and the errors of files."""

    devices: dict[str, tuple[str, cdi.Device]]
    errors: dict[str, list[str]]

    @classmethod
    def of(cls, registry: cdi.Registry) -> "_State":
        """Take down what a registry knows."""
        return cls(
            {name: (registry.spec_path_of(name), registry.device(name)) for name in registry.devices()},
            {path: [str(error) for error in errors] for path, errors in registry.errors.items()},
        )

    def changes_since(self, before: "_State") -> Iterator[_Change]:
        """What is different from another state."""
        for name, (path, _) in before.devices.items():
            if name not in self.devices:
                yield _Change("removed", name, path)
        for name, device in self.devices.items():
            if before.devices.get(name) != device:
                yield _Change("changed" if name in before.devices else "added", name, device[0])
        for path, errors in self.errors.items():
            for error in errors:
                if error not in before.errors.get(path, ()):
                    yield _Change("error", path, error)


@click.command("monitor", help=_HELP, short_help="Show the devices, and every change.")
@options.spec_dirs
@options.output("table", "json")
@click.pass_context
def command(ctx: click.Context, *, dirs: tuple[str, ...], form: str) -> None:
    try:
        asyncio.run(_monitor(dirs, form))
    except cdi.Error as error:
        output.fail(ctx, str(error))


async def _monitor(dirs: tuple[str, ...], form: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    registry = cdi.Registry(dirs)
    state = _State({}, {})
    try:
        state = _show_changes(registry, state, form)
        async for _ in registry.watch():
            state = _show_changes(registry, state, form)
    except asyncio.CancelledError:
        return  # as was asked for


def _show_changes(registry: cdi.Registry, before: _State, form: str) -> _State:
    state = _State.of(registry)
    line = _object if form == "json" else _line
    # A conflict is an error of two files, and for people the same line twice.
    for each in dict.fromkeys(map(line, state.changes_since(before))):
        output.say(each)
    return state


def _object(change: _Change) -> str:
    key, value = ("path", "message") if change.event == "error" else ("device", "spec")
    return json.dumps({"event": change.event, key: change.subject, value: change.text})


def _line(change: _Change) -> str:
    sign = click.style(_SIGNS[change.event], fg=_COLOURS[change.event], bold=True)
    # An error names its file itself.
    return f"{sign} {output.visible(change.text if change.event == 'error' else f'{change.subject}  {change.text}')}"
