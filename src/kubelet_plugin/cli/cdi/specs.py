"""`kubelet-plugin cdi specs`."""

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """List the valid specs, all or those of some vendors, the lowest priority first.

LOWEST is the lowest version that expresses the spec: the lower a spec's version, the more runtimes read it.

\b
Examples:
  kubelet-plugin cdi specs
  kubelet-plugin cdi specs nvidia.com --output yaml
"""


@click.command("specs", help=_HELP, short_help="List the valid specs.")
@click.argument("vendors", metavar="[VENDOR]...", nargs=-1)
@options.spec_dirs
@options.output("table", "json", "yaml")
@options.strict
@click.pass_context
def command(ctx: click.Context, *, vendors: tuple[str, ...], dirs: tuple[str, ...], form: str, strict: bool) -> None:
    registry = cdi.Registry(dirs)
    files = [file for file in registry.specs() if not vendors or file.spec.kind.split("/")[0] in vendors]
    data = [
        {"path": file.path, "minimumVersion": cdi.minimum_version(file.spec), "spec": cdi.document(file.spec)}
        for file in files
        if form != "table"
    ]
    output.show(
        form,
        data,
        ("SPEC", "KIND", "VERSION", "LOWEST", "DEVICES"),
        lambda: [
            (
                file.path,
                file.spec.kind,
                file.spec.version,
                cdi.minimum_version(file.spec),
                str(len(file.spec.devices)),
            )
            for file in files
        ],
    )
    ctx.exit(output.complain(registry, strict=strict))
