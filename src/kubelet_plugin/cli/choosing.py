"""Which resources a command is about, and where the host's files are seen: options that verbs share."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from kubelet_plugin.cli.cdi import output
from kubelet_plugin.cli.parameters import PATHS, Separated, check_host_root
from kubelet_plugin.discovery import Roots
from kubelet_plugin.errors import ConfigurationError, ConfigurationFileError, Problem
from kubelet_plugin.plugins import DOMAIN

if TYPE_CHECKING:
    from kubelet_plugin.config.loading import Form, Loaded


files = click.option(
    "--config",
    "files",
    metavar="FILE|DIR",
    multiple=True,
    type=Separated("path", PATHS),
    envvar="KUBELET_PLUGIN_CONFIG",
    help="A configuration file, or a directory of them; may be given several times.",
)

form = click.option(
    "--config-format",
    "form",
    type=click.Choice(["kubelet-plugin", "generic-device-plugin"]),
    envvar="KUBELET_PLUGIN_CONFIG_FORMAT",
    help="Whose vocabulary the files are written in; found out for each, if not given.",
)

texts = click.option(
    "--device",
    "texts",
    metavar="TEXT",
    multiple=True,
    help="A resource as generic-device-plugin takes it, in YAML or JSON; may be given several times.",
)

domain = click.option(
    "--domain",
    default=DOMAIN,
    show_default=True,
    envvar="KUBELET_PLUGIN_DOMAIN",
    help="The domain of resource names that have none, where a file does not say it.",
)

host_root = click.option(
    "--host-root",
    metavar="DIR",
    default="/",
    show_default=True,
    envvar="KUBELET_PLUGIN_HOST_ROOT",
    help="Where the host's root file system is seen.",
)

sysfs = click.option(
    "--sysfs",
    metavar="DIR",
    envvar="KUBELET_PLUGIN_SYSFS",
    show_default="sys in --host-root where that has one, else /sys",
    help="Where the host's sysfs is seen.",
)


def roots(host_root: str, sysfs: str | None) -> Roots:
    """Say where the host's files are seen: sysfs and udev's database below its root, or where we have them ourselves.

    Raises:
        UsageError: There is no such root.
    """
    host = os.path.abspath(host_root)
    check_host_root(host)
    return Roots(
        host=host,
        sysfs=os.path.abspath(sysfs) if sysfs else _seen(host, "sys", "class"),
        udev=_seen(host, "run/udev", "data"),
    )


def resources(
    names: Sequence[str], files: Sequence[str], texts: Sequence[str], *, domain: str, form: "Form | None"
) -> "Loaded":
    """Return the resources that are meant: those of presets, files and texts; where nothing is named, all presets.

    Args:
        names: Names of presets.
        files: Configuration files, and directories of them.
        texts: Resources in the vocabulary of generic-device-plugin.
        domain: The domain of resource names that have none.
        form: Whose vocabulary the files are written in; None: found out for each.

    Raises:
        ConfigurationFileError: With every problem of every file.
        ConfigurationError: There is no such preset, or a name is there twice.
    """
    from kubelet_plugin.config.loading import Loaded, load_all  # noqa: PLC0415 -- heavy
    from kubelet_plugin.config.presets import PRESETS, preset  # noqa: PLC0415 -- the same

    if not (names or files or texts):
        names = sorted(PRESETS)
    chosen = [preset(name, domain) for name in dict.fromkeys(names)]
    notes: list[Problem] = []
    for loaded in ([load_all(files, domain=domain, form=form)] if files else []) + [
        given(each, domain) for each in texts
    ]:
        chosen += loaded.resources
        notes += loaded.notes
    taken: set[str | None] = set()
    for resource in chosen:
        if resource.name in taken:
            raise ConfigurationError(f"the resource {resource.name} is given twice; give it once")
        taken.add(resource.name)
    return Loaded(tuple(chosen), tuple(notes))


def refuse(ctx: click.Context, error: ConfigurationFileError) -> NoReturn:
    """Print all that is wrong with files, and end the program with exit code 2."""
    for problem in error.problems:
        output.say(f"{output.label('error')} {output.visible(str(problem))}", err=True)
    ctx.exit(2)


def given(text: str, domain: str) -> "Loaded":
    """Read what follows a `--device`.

    Raises:
        ConfigurationFileError: It cannot be used.
    """
    from kubelet_plugin.config import generic_device_plugin  # noqa: PLC0415 -- not always used
    from kubelet_plugin.config.completing import completed  # noqa: PLC0415 -- the same
    from kubelet_plugin.config.loading import Loaded  # noqa: PLC0415 -- the same

    converted = generic_device_plugin.device(text, domain)
    named = tuple(completed(resource, domain) for resource in converted.configuration.resources)
    return Loaded(named, converted.left_out)


def _seen(host: str, path: str, inside: str) -> str:
    directory = os.path.join(host, path)
    return directory if os.path.isdir(os.path.join(directory, inside)) else f"/{path}"
