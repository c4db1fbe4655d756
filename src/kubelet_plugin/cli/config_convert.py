"""`kubelet-plugin config convert`: from another's vocabulary to ours."""

from collections.abc import Sequence

import click
from msgspec import structs

from kubelet_plugin.cli.cdi import output
from kubelet_plugin.config.documents import Fault
from kubelet_plugin.config.files import content
from kubelet_plugin.config.generic_device_plugin import DOMAIN, Converted, device, read
from kubelet_plugin.config.writing import write
from kubelet_plugin.errors import ConfigurationFileError

_HELP = """Print the configuration of generic-device-plugin as one of ours.

FILE is its file; --device takes what its option of that name does. What cannot be carried over is told on standard
error, and in comments: where it is, why, and what comes nearest.

\b
Examples:
  kubelet-plugin config convert config.yaml > devices.yaml
  kubelet-plugin config convert --device '{"name": "fuse", "groups": [{"count": 10, "paths": [{"path": "/dev/fuse"}]}]}'
  kubelet-plugin config convert config.yaml --strict > devices.yaml && kubelet-plugin config check devices.yaml

\b
Exit codes:
  0  it is printed
  1  with --strict: something could not be carried over
  2  it cannot be read, or the command line is wrong
"""


@click.command("convert", help=_HELP, short_help="Print another program's configuration as one of ours.")
@click.argument("file", metavar="[FILE]", required=False)
@click.option(
    "--from",
    type=click.Choice(["generic-device-plugin"]),
    expose_value=False,
    help="Whose configuration it is; there is one choice so far.",
)
@click.option("--device", "devices", metavar="TEXT", multiple=True, help="YAML or JSON of one device; repeatable.")
@click.option(
    "--domain", default=DOMAIN, show_default=True, help="The domain of the resources, where the file does not say it."
)
@click.option("--strict", is_flag=True, help="End with exit code 1 where something could not be carried over.")
@click.pass_context
def convert(ctx: click.Context, *, file: str | None, devices: tuple[str, ...], domain: str, strict: bool) -> None:
    if file is None and not devices:
        raise click.UsageError("Give FILE, or --device, or both.", ctx)
    try:
        converted = _converted(file, devices, domain)
        _check_names(converted)
    except ConfigurationFileError as error:
        for problem in error.problems:
            output.say(f"{output.label('error')} {output.visible(str(problem))}", err=True)
        ctx.exit(2)
    left_out = [note for each in converted for note in each.left_out]
    resources = tuple(resource for each in converted for resource in each.configuration.resources)
    joined = structs.replace(converted[0].configuration, resources=resources)
    output.say(write(joined, map(str, left_out)).rstrip("\n"))
    for note in left_out:
        output.say(f"{output.label('warning')} {output.visible(str(note))}", err=True)
    ctx.exit(int(strict and bool(left_out)))


def _converted(file: str | None, devices: Sequence[str], domain: str) -> list[Converted]:
    """Read all that is given; one domain is that of all."""
    of_file = [] if file is None else [read(content(file), file, domain)]
    if of_file:
        domain = of_file[0].configuration.domain or domain
    return [*of_file, *(device(text, domain) for text in devices)]


def _check_names(converted: Sequence[Converted]) -> None:
    taken: set[str | None] = set()
    problems = []
    for each in converted:
        for keys, resource in zip(each.keys, each.configuration.resources, strict=True):
            if resource.name in taken:
                message = f"{resource.name!r} is there twice; put all its groups into one"
                problems.append(each.document.problem(Fault((*keys, "name"), message)))
            taken.add(resource.name)
    if problems:
        raise ConfigurationFileError(problems)
