"""`kubelet-plugin cdi classes`."""

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """List the classes of the valid specs: the parts of kinds after the slash."""


@click.command("classes", help=_HELP, short_help="List the classes of valid specs.")
@options.spec_dirs
@options.output("table", "json", "yaml")
@options.strict
@click.pass_context
def command(ctx: click.Context, *, dirs: tuple[str, ...], form: str, strict: bool) -> None:
    registry = cdi.Registry(dirs)
    vendors: dict[str, list[str]] = {class_: [] for class_ in registry.classes()}
    for kind in sorted({file.spec.kind for file in registry.specs()}):
        vendor, class_ = kind.split("/")
        vendors[class_].append(vendor)
    data = [{"class": class_, "vendors": names} for class_, names in vendors.items()]
    output.show(
        form, data, ("CLASS", "VENDORS"), lambda: [(class_, ", ".join(names)) for class_, names in vendors.items()]
    )
    ctx.exit(output.complain(registry, strict=strict))
