"""`kubelet-plugin run`: the daemon."""

import os

import click

from kubelet_plugin.cli import lean  # noqa: F401 -- lean comes before all that imports asyncio
from kubelet_plugin.errors import Error
from kubelet_plugin.plugins import DOMAIN
from kubelet_plugin.plugins.crand import CrandPlugin
from kubelet_plugin.plugins.kvm import KvmPlugin
from kubelet_plugin.runtime import CDI_DIR, PLUGIN_DIR, DevicePlugin, Inject, Settings, logs, run

_HELP = """Serve devices to the kubelet of this node, until SIGTERM or Ctrl-C.

\b
PLUGIN is one or more of these, here or in KUBELET_PLUGIN_PLUGINS:
  kvm    /dev/kvm as DOMAIN/kvm, Healthy while KVM answers (the default)
  crand  each /dev/crand* as a device of DOMAIN/crand; a sample

A kubelet, a directory or a device that is not there is waited for: start this before or after any of them.

\b
Examples:
  kubelet-plugin run
  kubelet-plugin run kvm --count 100
  kubelet-plugin run kvm --inject cdi-annotation   # a kubelet below 1.28 with CDI
  kubelet-plugin run kvm --host-root /host         # in a container that sees the host's /dev at /host/dev
"""


def _absolute(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not os.path.isabs(value):
        raise click.BadParameter(f"{value!r} is not an absolute path", param=parameter)
    return os.path.normpath("/" + value.lstrip("/"))


@click.command("run", help=_HELP, context_settings={"show_default": True, "auto_envvar_prefix": "KUBELET_PLUGIN"})
@click.argument(
    "names", metavar="[PLUGIN]...", nargs=-1, type=click.Choice(["kvm", "crand"]), envvar="KUBELET_PLUGIN_PLUGINS"
)
@click.option(
    "--plugin-dir",
    metavar="DIR",
    default=PLUGIN_DIR,
    callback=_absolute,
    show_envvar=True,
    help="The kubelet's device-plugin directory.",
)
@click.option(
    "--cdi-dir",
    metavar="DIR",
    default=CDI_DIR,
    callback=_absolute,
    show_envvar=True,
    help="Where CDI specs are written, for the container runtime to read.",
)
@click.option(
    "--inject",
    type=click.Choice([way.value for way in Inject]),
    default=Inject.BOTH.value,
    show_envvar=True,
    help="How a container is told of its devices: by CDI names, by device specs, or by both. "
    "Kubelets below 1.28 know CDI names by annotation alone.",
)
@click.option(
    "--domain",
    default=DOMAIN,
    show_envvar=True,
    help="The domain of the resource names.",
)
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_envvar=True,
    help="How many containers may have /dev/kvm at once.",
)
@click.option(
    "--host-root",
    metavar="DIR",
    default="/",
    callback=_absolute,
    show_envvar=True,
    help="Where the host's root file system is seen.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_envvar=True,
    help="How log lines are written.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_envvar=True,
    help="The least level that is logged.",
)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    names: tuple[str, ...],
    plugin_dir: str,
    cdi_dir: str,
    inject: str,
    domain: str,
    count: int,
    host_root: str,
    log_format: str,
    log_level: str,
) -> None:
    logs.configure(log_format, log_level)
    settings = Settings(plugin_dir=plugin_dir, cdi_dir=cdi_dir, inject=Inject(inject))
    try:
        plugins = [_plugin(name, domain, count, host_root) for name in dict.fromkeys(names or ("kvm",))]
        ctx.exit(run(*plugins, settings=settings))
    except Error as error:
        raise click.UsageError(str(error)) from error


def _plugin(name: str, domain: str, count: int, host_root: str) -> DevicePlugin:
    if name == "kvm":
        return KvmPlugin(domain=domain, count=count, host_root=host_root)
    return CrandPlugin(domain=domain, host_root=host_root)
