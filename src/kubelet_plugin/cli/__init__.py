"""The command line: one module per verb."""

import importlib

import click

_VERBS = frozenset({"demo", "kubelet", "run"})


class _Verbs(click.Group):
    """Loads a verb's module only when it is used: the daemon pays for no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(f"kubelet_plugin.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 -- heavy, and the daemon has no use for it

        click.echo(f"kubelet-plugin {version('kubelet-plugin')}")
        ctx.exit()


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Offer a node's devices to pods through the kubelet and CDI."""
