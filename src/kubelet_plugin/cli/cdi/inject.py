"""`kubelet-plugin cdi inject`."""

import json
from typing import Any, NoReturn

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output
from kubelet_plugin.cli.cdi.explaining import explain

_HELP = """Print the OCI runtime configuration of a container that is given devices.

CONFIG is a config.json, or - for standard input; it is not changed. What is printed is what a container runtime would
hand to runc or crun. If a name cannot be resolved, nothing is printed but the reason.

\b
Examples:
  kubelet-plugin cdi inject config.json github.com.ihcsim/kvm=kvm0
  runc spec && kubelet-plugin cdi inject config.json nvidia.com/gpu=all > with-gpu.json
"""


@click.command("inject", help=_HELP, short_help="Print a container's OCI configuration.")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@options.spec_dirs
@options.host_root
@options.output("json", "yaml")
@click.pass_context
def command(
    ctx: click.Context, *, config: str, names: tuple[str, ...], dirs: tuple[str, ...], host_root: str, form: str
) -> None:
    registry = cdi.Registry(dirs)
    try:
        oci = registry.inject(_read(config), *names, host_root=host_root)
    except cdi.UnresolvableError as error:
        output.fail(ctx, *explain(registry, error))
    except cdi.Error as error:
        output.fail(ctx, str(error))
    output.say(output.serialized(form, oci))


def _read(path: str) -> dict[str, Any]:
    try:
        with click.open_file(path, "rb") as file:
            oci = json.loads(file.read(), parse_constant=_refuse)
    except OSError as error:
        raise cdi.Error(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise cdi.Error(f"{path} is no JSON: {error}") from error
    if not isinstance(oci, dict):
        raise cdi.Error(f"{path} is no OCI runtime configuration: it holds no object")
    return oci


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
