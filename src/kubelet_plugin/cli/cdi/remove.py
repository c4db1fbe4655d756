"""`kubelet-plugin cdi remove`."""

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """Remove installed specs by their kind.

Removed is the file that `install` makes for the kind, with the same options, and only if it is a spec of that kind.
Files of other names and kinds are never touched. To remove what is not there is no error.

\b
Example:
  kubelet-plugin cdi remove example.com/fuse
"""


def _kinds(_: click.Context, parameter: click.Parameter, kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        try:
            cdi.validate_kind(kind)
        except cdi.Error as error:
            raise click.BadParameter(str(error), param=parameter) from None
    return kinds


@click.command("remove", help=_HELP, short_help="Remove installed specs.")
@click.argument("kinds", metavar="KIND...", nargs=-1, required=True, callback=_kinds)
@options.spec_dir
@options.transient_id
@options.as_yaml
@click.pass_context
def command(ctx: click.Context, *, kinds: tuple[str, ...], directory: str, id_: str, yaml: bool) -> None:
    try:
        for kind in kinds:
            path = cdi.spec_path(kind, directory, id=id_, yaml=yaml)
            was_there = cdi.remove(kind, directory, id=id_, yaml=yaml)
            output.say(f"{path}: {'removed' if was_there else 'is not there'}")
    except cdi.Error as error:
        output.fail(ctx, str(error))
