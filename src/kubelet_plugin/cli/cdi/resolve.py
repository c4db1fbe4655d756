"""`kubelet-plugin cdi resolve`."""

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output
from kubelet_plugin.cli.cdi.explaining import explain

_HELP = """Show what a container gets that is given devices, and from which files; or why a name is no device's.

The edits are printed in the order in which a runtime applies them: those of a whole spec once, before those of its
first device. If one name cannot be resolved, nothing is printed but the reason.

\b
Examples:
  kubelet-plugin cdi resolve github.com.ihcsim/kvm=kvm0
  kubelet-plugin cdi resolve nvidia.com/gpu=0 nvidia.com/gpu=1 --output json
"""


@click.command("resolve", help=_HELP, short_help="Show what a container gets, or why not.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@options.spec_dirs
@options.output("yaml", "json", "table")
@click.pass_context
def command(ctx: click.Context, *, names: tuple[str, ...], dirs: tuple[str, ...], form: str) -> None:
    registry = cdi.Registry(dirs)
    try:
        edits = [each for each in registry.resolve(*names) if each]
    except cdi.UnresolvableError as error:
        output.fail(ctx, *explain(registry, error))
    data = {
        "devices": [{"name": name, "spec": registry.spec_path_of(name)} for name in names],
        "edits": [cdi.edits_document(each) for each in edits],
    }
    output.show(
        form,
        data,
        ("DEVICE", "GIVES", "SPEC"),
        lambda: [
            (name, output.summary(registry.device(name).container_edits), registry.spec_path_of(name)) for name in names
        ],
    )
