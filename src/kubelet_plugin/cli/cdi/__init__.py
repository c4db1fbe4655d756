"""`kubelet-plugin cdi`: what container runtimes know of this host's devices, and the files they know it from."""

import os

import click

from kubelet_plugin.cli import Verbs

_VERBS = frozenset(
    {
        "classes",
        "devices",
        "dirs",
        "generate",
        "inject",
        "install",
        "monitor",
        "remove",
        "resolve",
        "specs",
        "validate",
        "vendors",
    }
)

_HELP = """Look at, make and check the files of the Container Device Interface (CDI).

A spec, a file in /etc/cdi or /var/run/cdi, says what a container gets that is given a device: device nodes, mounts,
variables, hooks. A device is asked for by its qualified name, vendor/class=name. Container runtimes read these files;
what they make of them, this command shows.

\b
Begin with:
  kubelet-plugin cdi devices                    what there is
  kubelet-plugin cdi resolve vendor/class=name  what a container gets, or why it gets nothing
  kubelet-plugin cdi validate                   what is wrong, and how to mend it

\b
Exit codes:
  0  fine, warnings included
  1  something is wrong, or a name is not that of a device; with --strict, a warning, too
  2  the command line is wrong
"""


@click.group(
    "cdi", cls=Verbs, package=__name__, verbs=_VERBS, help=_HELP, short_help="Look at, make and check CDI specs."
)
@click.pass_context
def command(ctx: click.Context) -> None:
    if os.environ.get("NO_COLOR"):
        ctx.color = False
