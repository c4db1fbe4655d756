"""`kubelet-plugin cdi devices`."""

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """List the devices that a container can be given.

A file that cannot be read, or is not valid, is an error; the devices of all others are listed nevertheless. A device
that two files of one directory have is not listed, since no runtime resolves it: it is an error, too.

\b
Examples:
  kubelet-plugin cdi devices
  kubelet-plugin cdi devices --spec-dir ./specs --output json
"""


@click.command("devices", help=_HELP, short_help="List the devices that can be had.")
@options.spec_dirs
@options.output("table", "json", "yaml")
@options.strict
@click.pass_context
def command(ctx: click.Context, *, dirs: tuple[str, ...], form: str, strict: bool) -> None:
    registry = cdi.Registry(dirs)
    found = [(name, registry.spec_path_of(name), registry.device(name).container_edits) for name in registry.devices()]
    data = (
        [{"name": name, "spec": path, "containerEdits": cdi.edits_document(edits)} for name, path, edits in found]
        if form != "table"
        else None
    )
    output.show(
        form,
        data,
        ("DEVICE", "GIVES", "SPEC"),
        lambda: [(name, output.summary(edits), path) for name, path, edits in found],
    )
    ctx.exit(output.complain(registry, strict=strict))
