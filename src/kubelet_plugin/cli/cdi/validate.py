"""`kubelet-plugin cdi validate`."""

import os

import click
from click.core import ParameterSource

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output, reports

_HELP = """Say what is wrong with spec files and directories, how bad it is, whom it hurts and how to mend it.

Without a FILE or DIR, the directories are looked at that container runtimes read. Several directories are taken
together, the lowest priority first: what one hides of another is found, too.

\b
How bad:
  fatal    container runtimes crash
  error    a device cannot be had, or anybody could change it
  warning  it may be other than one thinks, or some runtime or user cannot have it

\b
Examples:
  kubelet-plugin cdi validate
  kubelet-plugin cdi validate gpu.yaml --no-host --for containerd-1.7 --strict
  kubelet-plugin cdi validate specs/ --no-host --output sarif > cdi.sarif
"""


@click.command("validate", help=_HELP, short_help="Say what is wrong, and how to mend it.")
@click.argument("paths", metavar="[FILE|DIR]...", nargs=-1, type=click.Path(exists=True, readable=False))
@options.spec_dirs
@click.option(
    "--for",
    "runtimes",
    metavar="RUNTIME",
    multiple=True,
    type=click.Choice(sorted(cdi.RUNTIMES)),
    help=f"A runtime that must read the specs; repeat it for several: {', '.join(sorted(cdi.RUNTIMES))}.",
)
@options.host_root
@click.option("--no-host", is_flag=True, help="Do not look at this host's device nodes: the specs are for others.")
@options.output("table", "json", "yaml", "junit", "sarif")
@options.strict
@click.pass_context
def command(
    ctx: click.Context,
    *,
    paths: tuple[str, ...],
    dirs: tuple[str, ...],
    runtimes: tuple[str, ...],
    host_root: str,
    no_host: bool,
    form: str,
    strict: bool,
) -> None:
    if paths and ctx.get_parameter_source("dirs") == ParameterSource.COMMANDLINE:
        raise click.UsageError("Give FILE or DIR, or --spec-dir, not both.")
    wanted = paths or tuple(path for path in dirs if os.path.lexists(path))
    findings, files = cdi.examine(*wanted, runtimes=runtimes, host_root=None if no_host else host_root)
    output.say(_REPORTS[form](findings, files))
    bad = [finding for finding in findings if strict or finding.severity != cdi.Severity.WARNING]
    ctx.exit(int(bool(bad)))


_REPORTS = {
    "table": reports.text,
    "json": lambda findings, files: output.serialized("json", reports.document(findings, files)),
    "yaml": lambda findings, files: output.serialized("yaml", reports.document(findings, files)),
    "junit": reports.junit,
    "sarif": reports.sarif,
}
