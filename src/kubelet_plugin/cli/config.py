"""`kubelet-plugin config`: the configuration file, before it is used."""

import json
from collections.abc import Sequence
from typing import Any, get_args

import click
import msgspec

from kubelet_plugin.cli import choosing
from kubelet_plugin.cli.cdi import output
from kubelet_plugin.config.loading import Form, load_all
from kubelet_plugin.config.schema import Device, Member, Resource
from kubelet_plugin.errors import ConfigurationFileError, Problem

_HELP = """Check, convert and describe configuration files.

\b
A file says which devices pods can ask for:
  version: v1
  resources:
  - name: vendor.example/serial
    devices:
    - path: /dev/serial/by-id/*

\b
Begin with:
  kubelet-plugin config check FILE            is it right, and where not?
  kubelet-plugin config schema > schema.json  for editors
  kubelet-plugin config convert FILE          from the file of generic-device-plugin
"""

_CHECK_HELP = """Say what is wrong in configuration files, where, and what to write; or else what they offer.

FILE is a file, or a directory: its .yaml, .yml and .json files, without those whose name starts with a dot. Several are
taken together: a name may be there but once. Nothing of this host is looked at.

\b
Examples:
  kubelet-plugin config check devices.yaml
  kubelet-plugin config check /etc/kubelet-plugin/ more.yaml --domain vendor.example
  kubelet-plugin config check devices.yaml --output json | jq '.problems[].line'

\b
Exit codes:
  0  all is well
  1  something is wrong
  2  the command line is wrong
"""


class _Group(click.Group):
    """Loads what converts only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "convert"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "convert":
            from kubelet_plugin.cli.config_convert import convert  # noqa: PLC0415 -- of use only here

            return convert
        return super().get_command(ctx, cmd_name)


@click.group("config", cls=_Group, help=_HELP, short_help="Check, convert and describe configuration files.")
def command() -> None:
    pass


@command.command("check", help=_CHECK_HELP, short_help="Say what is wrong with files, or else what they offer.")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@choosing.domain
@click.option(
    "--config-format",
    "form",
    type=click.Choice(get_args(Form)),
    help="Whose vocabulary the files are written in; found out, if not given.",
)
@click.option(
    "--output",
    "printed",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What is printed.",
)
@click.pass_context
def _check(ctx: click.Context, *, paths: tuple[str, ...], domain: str, form: Form | None, printed: str) -> None:
    resources: Sequence[Resource] = ()
    notes: Sequence[Problem] = ()
    problems: Sequence[Problem] = ()
    try:
        loaded = load_all(paths, domain=domain, form=form)
        resources, notes = loaded.resources, loaded.notes
    except ConfigurationFileError as error:
        problems = error.problems
    if printed == "json":
        output.say(json.dumps(_document(resources, notes, problems), indent=2))
    else:
        _print(resources, notes, problems)
    ctx.exit(int(bool(problems)))


@command.command("schema", short_help="Print the JSON Schema of configuration files.")
def _schema() -> None:
    """Print the JSON Schema of configuration files, which editors use to complete and check them.

    \b
    Examples:
      kubelet-plugin config schema > kubelet-plugin.schema.json
      sed -i '1i # yaml-language-server: $schema=kubelet-plugin.schema.json' devices.yaml
    """  # noqa: D301 -- click's mark for a paragraph that keeps its lines
    from kubelet_plugin.config.json_schema import schema  # noqa: PLC0415 -- of use only here

    output.say(json.dumps(schema(), indent=2, ensure_ascii=False))


def _print(resources: Sequence[Resource], notes: Sequence[Problem], problems: Sequence[Problem]) -> None:
    for problem in problems:
        output.say(output.visible(str(problem)))
    for note in notes:
        output.say(f"{output.label('warning')} {output.visible(str(note))}", err=True)
    if problems:
        output.say(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}")
    elif resources:
        output.show("table", None, ("RESOURCE", "COUNT", "DEVICES"), lambda: map(_row, resources))
    else:
        output.say("all is well, but no resource is in it")


def _row(resource: Resource) -> tuple[str, str, str]:
    counts = dict.fromkeys(str(device.count or resource.count or 1) for device in resource.devices)
    return resource.name or "", ", ".join(counts), ", ".join(map(_described, resource.devices))


def _described(entry: Device | Member) -> str:
    """What an entry matches, in a few words."""
    if isinstance(entry, Device) and entry.group:
        return f"({' + '.join(map(_described, entry.group))})"
    words = entry.path or ""
    if entry.usb:
        words = f"usb {entry.usb.vendor}:{entry.usb.product}" + (f" {entry.usb.serial}" if entry.usb.serial else "")
    elif entry.pci:
        words = f"pci {entry.pci.vendor}:{entry.pci.device or '*'}"
    elif entry.sysfs:
        words = f"{entry.sysfs.subsystem} {entry.sysfs.name or '*'}"
    return words + (f" ({' '.join(entry.nodes)})" if entry.nodes else "")


def _document(resources: Sequence[Resource], notes: Sequence[Problem], problems: Sequence[Problem]) -> dict[str, Any]:
    return {
        "valid": not problems,
        "problems": [msgspec.to_builtins(problem) for problem in problems],
        "notes": [msgspec.to_builtins(note) for note in notes],
        "resources": [msgspec.to_builtins(resource, enc_hook=_encoded) for resource in resources],
    }


def _encoded(value: Any) -> Any:
    """A duration in seconds, a mode as chmod has it."""
    return f"{value:04o}" if isinstance(value, int) else float(value) if isinstance(value, float) else str(value)
