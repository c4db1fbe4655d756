"""`kubelet-plugin cdi dirs`."""

import os

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """List the spec directories, the lowest priority first, and what is in them.

Of a device that several of them have, the last one counts. A directory that does not exist is as good as empty.
"""


@click.command("dirs", help=_HELP, short_help="List the spec directories.")
@options.spec_dirs
@options.output("table", "json", "yaml")
@options.strict
@click.pass_context
def command(ctx: click.Context, *, dirs: tuple[str, ...], form: str, strict: bool) -> None:
    registry = cdi.Registry(dirs)
    data = [
        {
            "path": path,
            "priority": priority,
            "exists": os.path.exists(path),
            "specs": sum(file.priority == priority for file in registry.specs()),
        }
        for priority, path in enumerate(registry.dirs)
    ]
    output.show(
        form,
        data,
        ("PRIORITY", "DIRECTORY", "SPECS"),
        lambda: [
            (str(each["priority"]), str(each["path"]), str(each["specs"]) if each["exists"] else "does not exist")
            for each in data
        ],
    )
    ctx.exit(output.complain(registry, strict=strict))
