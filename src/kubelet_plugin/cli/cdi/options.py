"""The options that verbs share."""

import os
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from kubelet_plugin import cdi

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# One that this user may not read is an error of that directory, and hides no other.
_DIRECTORY = click.Path(readable=False)


def _point_out_absent(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Say of directories that were asked for and are not there: nothing is wrong with what a slip of the pen names."""
    if ctx.get_parameter_source(parameter.name or "") == ParameterSource.COMMANDLINE:
        for directory in value:
            if not os.path.lexists(directory):
                click.echo(f"warning: {directory}: there is no such directory", err=True)
    return value


spec_dirs = click.option(
    "--spec-dir",
    "dirs",
    metavar="DIR",
    multiple=True,
    callback=_point_out_absent,
    default=cdi.DEFAULT_DIRS,
    show_default=", ".join(cdi.DEFAULT_DIRS),
    type=_DIRECTORY,
    help="Where specs are; repeat it for several, the lowest priority first. They take the place of the defaults.",
)

spec_dir = click.option(
    "--spec-dir",
    "directory",
    metavar="DIR",
    default=cdi.DEFAULT_DIRS[0],
    show_default=True,
    type=_DIRECTORY,
    help="The spec directory.",
)

transient_id = click.option(
    "--id", "id_", metavar="ID", default="", help="What a transient spec is for: it becomes part of the file's name."
)

as_yaml = click.option("--yaml", is_flag=True, help="The file is YAML, and its name ends in .yaml.")

strict = click.option("--strict", is_flag=True, help="A warning makes the exit code 1, too.")

host_root = click.option(
    "--host-root",
    metavar="DIR",
    default="/",
    show_default=True,
    type=_DIRECTORY,
    help="Where the host's root file system is seen.",
)


def output(*forms: str) -> Decorator:
    """The option `--output`, whose default is the first of the forms."""
    return click.option(
        "--output",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="What is printed.",
    )
