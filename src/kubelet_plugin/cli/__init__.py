"""The command line: one module per verb."""

import importlib
from collections.abc import Iterable
from typing import Any

import click

_VERBS = frozenset({"cdi", "config", "demo", "devices", "explain", "kubelet", "run"})


class Verbs(click.Group):
    """Loads a verb's module only when it is used: the daemon pays for no other.

    Args:
        package: The package whose modules the verbs are; each has a `command`.
        verbs: Their names.
    """

    def __init__(self, *args: Any, package: str, verbs: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = package
        self._verbs = sorted(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return self._verbs

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self._verbs:
            return None
        command = importlib.import_module(f"{self._package}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 -- heavy, and the daemon has no use for it

        click.echo(f"kubelet-plugin {version('kubelet-plugin')}")
        ctx.exit()


@click.group(cls=Verbs, package=__name__, verbs=_VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Offer a node's devices to pods through the kubelet and CDI."""
