"""`kubelet-plugin run`: the daemon."""

import functools
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kubelet_plugin.cli import lean  # noqa: F401 -- lean comes before all that imports asyncio
from kubelet_plugin.cli.parameters import PATHS, Separated, check_host_root
from kubelet_plugin.errors import ConfigurationFileError, Error
from kubelet_plugin.plugins import DOMAIN
from kubelet_plugin.plugins.crand import CrandPlugin
from kubelet_plugin.plugins.kvm import KvmPlugin
from kubelet_plugin.runtime import CDI_DIR, PLUGIN_DIR, DevicePlugin, Fleet, Inject, Settings, logs, run, run_fleet
from kubelet_plugin.runtime.holders import POD_RESOURCES_SOCKET

if TYPE_CHECKING:
    from kubelet_plugin.config.loading import Form
    from kubelet_plugin.plugins.reload import Reload

_HELP = """Serve devices to the kubelet of this node, until SIGTERM or Ctrl-C.

\b
NAME is one or more of these, each offered as DOMAIN/NAME:
  kvm         /dev/kvm, Healthy while KVM answers (the default)
  fuse tun vhost-net vhost-vsock tpm rdma
              nodes that any number of processes may open
  serial video sound input rtc loop dri
              adapters, cameras, cards: each one a device
  crand       each /dev/crand*; a sample

Any other device is offered by a configuration file. A file that changes is applied at once, and so is any at SIGHUP:
resources that it leaves as they are notice nothing, and a file that cannot be used changes nothing. With --config or
--device, only what is named is served.

A kubelet, a directory or a device that is not there is waited for: start this before or after any of them.

\b
Examples:
  kubelet-plugin run
  kubelet-plugin run kvm --count 100
  kubelet-plugin run kvm fuse tun
  kubelet-plugin run --config /etc/kubelet-plugin  # all its *.yaml, *.yml and *.json
  kubelet-plugin run kvm --config modems.yaml
  kubelet-plugin run --device '{name: modem, groups: [{paths: [{path: /dev/ttyUSB0}]}]}'
  kubelet-plugin run kvm --inject cdi-annotation   # a kubelet below 1.28 with CDI
  kubelet-plugin run kvm --host-root /host         # in a container that sees the host's /dev at /host/dev
"""

_BUILT_IN = ("kvm", "crand")


class _Named(click.Parameter):
    """Its errors name the variable of the environment where the value came from there."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT:
            return str(self.envvar or f"KUBELET_PLUGIN_{(self.name or '').upper()}")
        return super().get_error_hint(ctx)


class _Option(_Named, click.Option):
    pass


class _Argument(_Named, click.Argument):
    pass


_option = functools.partial(click.option, cls=_Option, show_envvar=True)


def _absolute(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if not os.path.isabs(value):
        raise click.BadParameter(f"{value!r} is not an absolute path", ctx, parameter)
    return os.path.normpath("/" + value.lstrip("/"))


def _known(ctx: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in _BUILT_IN:
            from kubelet_plugin.config.presets import PRESETS  # noqa: PLC0415 -- what is built in does without msgspec

            if name not in PRESETS:
                names_there_are = ", ".join(map(repr, dict.fromkeys((*_BUILT_IN, *PRESETS))))
                raise click.BadParameter(f"{name!r} is not one of {names_there_are}", ctx, parameter)
    return tuple(dict.fromkeys(names))


@click.command("run", help=_HELP, context_settings={"show_default": True, "auto_envvar_prefix": "KUBELET_PLUGIN"})
@click.argument(
    "names",
    cls=_Argument,
    metavar="[NAME]...",
    nargs=-1,
    type=Separated("name", r"[\s,]+"),
    callback=_known,
    envvar="KUBELET_PLUGIN_PLUGINS",
)
@_option(
    "--config",
    metavar="FILE|DIR",
    multiple=True,
    type=Separated("path", PATHS),
    help="A configuration file, or a directory of them; may be given several times.",
)
@_option(
    "--config-format",
    type=click.Choice(["kubelet-plugin", "generic-device-plugin"]),
    help="Whose vocabulary the files are written in; found out for each, if not given.",
)
@_option(
    "--device",
    metavar="TEXT",
    multiple=True,
    type=Separated("text", ""),
    help="A resource as generic-device-plugin takes it, in YAML or JSON; may be given several times.",
)
@_option(
    "--plugin-dir",
    metavar="DIR",
    default=PLUGIN_DIR,
    callback=_absolute,
    help="The kubelet's device-plugin directory.",
)
@_option(
    "--cdi-dir",
    metavar="DIR",
    default=CDI_DIR,
    callback=_absolute,
    help="Where CDI specs are written, for the container runtime to read.",
)
@_option(
    "--pod-resources",
    metavar="SOCKET",
    default=POD_RESOURCES_SOCKET,
    callback=_absolute,
    help="The kubelet's pod-resources socket, which tells whether a pod holds a lost device; it need not exist.",
)
@_option(
    "--inject",
    type=click.Choice([way.value for way in Inject]),
    default=Inject.BOTH.value,
    help="How a container is told of its devices: by CDI names, by device specs, or by both. "
    "Kubelets below 1.28 know CDI names by annotation alone.",
)
@_option(
    "--domain",
    default=DOMAIN,
    help="The domain of resource names that have none.",
)
@_option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="How many containers may have /dev/kvm at once.",
)
@_option(
    "--host-root",
    metavar="DIR",
    default="/",
    callback=_absolute,
    help="Where the host's root file system is seen.",
)
@_option(
    "--sysfs",
    metavar="DIR",
    callback=_absolute,
    show_default="sys in --host-root where that has one, else /sys",
    help="Where the host's sysfs is seen.",
)
@_option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How log lines are written.",
)
@_option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least level that is logged.",
)
@click.pass_context
def command(ctx: click.Context, /, *, names: tuple[str, ...], log_format: str, log_level: str, **options: Any) -> None:
    logs.configure(log_format, log_level)
    names = names or (() if options["config"] or options["device"] else ("kvm",))
    _see_to(ctx, names, options["host_root"])
    settings = Settings(
        plugin_dir=options["plugin_dir"],
        cdi_dir=options["cdi_dir"],
        inject=Inject(options["inject"]),
        pod_resources=options["pod_resources"],
    )
    try:
        plugins = [
            _built_in(name, options["domain"], options["count"], options["host_root"])
            for name in names
            if name in _BUILT_IN
        ]
        if len(plugins) == len(names) and not options["config"] and not options["device"]:
            ctx.exit(run(*plugins, settings=settings))
        presets = [name for name in names if name not in _BUILT_IN]
        ctx.exit(_run_configured(_reload(presets, plugins, **options), settings))
    except ConfigurationFileError as error:
        from kubelet_plugin.cli.choosing import refuse  # noqa: PLC0415 -- of use only here

        refuse(ctx, error)
    except Error as error:
        raise click.UsageError(str(error)) from error


def _see_to(ctx: click.Context, names: Sequence[str], host_root: str) -> None:
    """Refuse options that would be without effect, or could never have any."""
    if ctx.get_parameter_source("count") is not ParameterSource.DEFAULT and "kvm" not in names:
        raise click.UsageError("--count is about kvm, which is not served here; say `count` in the configuration file")
    check_host_root(host_root)


def _built_in(name: str, domain: str, count: int, host_root: str) -> DevicePlugin:
    if name == "kvm":
        return KvmPlugin(domain=domain, count=count, host_root=host_root)
    return CrandPlugin(domain=domain, host_root=host_root)


def _reload(
    presets: Sequence[str],
    plugins: Sequence[DevicePlugin],
    *,
    config: Sequence[str],
    config_format: "Form | None",
    device: Sequence[str],
    domain: str,
    host_root: str,
    sysfs: str | None,
    **_: object,
) -> "Reload":
    # What is built in does without msgspec and YAML.
    from kubelet_plugin.cli import choosing  # noqa: PLC0415
    from kubelet_plugin.config.presets import preset  # noqa: PLC0415
    from kubelet_plugin.plugins.reload import Reload, logger  # noqa: PLC0415

    resources = [preset(name, domain) for name in presets]
    for text in device:
        loaded = choosing.given(text, domain)
        for note in loaded.notes:
            logger.warning("%s", note)
        resources += loaded.resources
    roots = choosing.roots(host_root, sysfs)
    return Reload(config, domain=domain, form=config_format, roots=roots, resources=resources, plugins=plugins)


def _run_configured(reload: "Reload", settings: Settings) -> int:
    import asyncio  # noqa: PLC0415 -- after `lean`

    reload.read()

    async def keep(fleet: Fleet) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.again)
        await reload.keep(fleet)

    return run_fleet(keep, settings)
