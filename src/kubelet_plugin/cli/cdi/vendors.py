"""`kubelet-plugin cdi vendors`."""

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """List the vendors that have valid specs: the parts of kinds before the slash."""


@click.command("vendors", help=_HELP, short_help="List the vendors of valid specs.")
@options.spec_dirs
@options.output("table", "json", "yaml")
@options.strict
@click.pass_context
def command(ctx: click.Context, *, dirs: tuple[str, ...], form: str, strict: bool) -> None:
    registry = cdi.Registry(dirs)
    files = {vendor: [file.path for file in registry.specs(vendor)] for vendor in registry.vendors()}
    data = [{"vendor": vendor, "specs": paths} for vendor, paths in files.items()]
    output.show(
        form, data, ("VENDOR", "SPECS"), lambda: [(vendor, ", ".join(paths)) for vendor, paths in files.items()]
    )
    ctx.exit(output.complain(registry, strict=strict))
