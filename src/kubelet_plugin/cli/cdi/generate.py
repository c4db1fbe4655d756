"""`kubelet-plugin cdi generate`."""

import os
import stat
from collections.abc import Iterable

import click

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import options, output

_HELP = """Make a spec, of device nodes of this host or of what a plugin of `kubelet-plugin run` offers here.

Each node gets the mode it has on the host, and no owner, so that the container's own user can open it; if its path is
a symbolic link, runtimes are shown to what it leads. The version is the lowest that expresses the spec.

\b
Examples:
  kubelet-plugin cdi generate --kind example.com/fuse --device fuse=/dev/fuse
  kubelet-plugin cdi generate --kind example.com/gpu --device 0=/dev/dri/card0,/dev/dri/renderD128 \\
    --env GPU=yes --mount /usr/lib/gpu:/usr/lib/gpu --output gpu.yaml
  kubelet-plugin cdi generate --plugin kvm | kubelet-plugin cdi install -
"""


@click.command("generate", help=_HELP, short_help="Make a spec of device nodes.")
@click.option("--kind", metavar="KIND", help="What the devices are: vendor/class. [default: that of --plugin]")
@click.option(
    "--device",
    "nodes",
    metavar="NAME=PATH[,PATH...]",
    multiple=True,
    help="A device and its nodes; repeat it for more.",
)
@click.option("--plugin", type=click.Choice(["kvm", "crand"]), help="Take the devices that this plugin offers now.")
@click.option("--env", metavar="NAME=VALUE", multiple=True, help="A variable that comes with any of the devices.")
@click.option(
    "--mount",
    "mounts",
    metavar="HOST:CONTAINER[:OPTIONS]",
    multiple=True,
    help="A mount that comes with any of the devices; OPTIONS are separated by commas.  [default: ro,bind]",
)
@click.option("--version", metavar="V", default="", help="The CDI version.  [default: the lowest that will do]")
@click.option(
    "--output",
    "path",
    metavar="FILE",
    default="-",
    show_default=True,
    help="Where it is written, as YAML if the name ends in .yaml; - is standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "yaml"]),
    default="json",
    show_default=True,
    help="What is written to standard output.",
)
@options.host_root
@click.pass_context
def command(
    ctx: click.Context,
    *,
    kind: str | None,
    nodes: tuple[str, ...],
    plugin: str | None,
    env: tuple[str, ...],
    mounts: tuple[str, ...],
    version: str,
    path: str,
    form: str,
    host_root: str,
) -> None:
    if not (plugin or (kind and nodes)):
        raise click.UsageError("Give --kind and --device, or --plugin.")
    edits = cdi.ContainerEdits(env=env, mounts=tuple(map(_mount, mounts)))
    try:
        devices = [_device(each, host_root) for each in nodes]
        if plugin:
            offered_kind, offered = _offered(plugin, host_root)
            kind, devices = kind or offered_kind, devices + offered
        spec = cdi.Spec(kind or "", tuple(devices), container_edits=edits, version=version)
        if path == "-":
            cdi.validate_spec(spec)
            output.say(output.serialized(form, cdi.document(spec)))
        else:
            cdi.write_file(spec, path)
    except cdi.Error as error:
        output.fail(ctx, str(error))


def _device(text: str, host_root: str) -> cdi.Device:
    name, _, paths = text.partition("=")
    if not name or not paths:
        raise click.BadParameter(f"{text!r} has not the form NAME=PATH[,PATH...]", param_hint="--device")
    nodes = tuple(_node(path, host_root) for path in paths.split(","))
    return cdi.Device(name, cdi.ContainerEdits(device_nodes=nodes))


def _node(path: str, host_root: str) -> cdi.DeviceNode:
    if not os.path.isabs(path):
        raise click.BadParameter(f"{path!r} is not an absolute path", param_hint="--device")
    seen = os.path.join(host_root, path.lstrip("/"))
    try:
        status = os.stat(seen)
    except OSError as error:
        raise cdi.Error(f"cannot look at {seen}: {error.strerror}") from error
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise cdi.Error(f"{seen} is no device node: use --mount for files and directories")
    host_path = os.path.realpath(path) if host_root == "/" and os.path.islink(path) else ""
    return cdi.DeviceNode(path, host_path=host_path, permissions="rw", file_mode=stat.S_IMODE(status.st_mode))


def _mount(text: str) -> cdi.Mount:
    host, _, rest = text.partition(":")
    container, _, words = rest.partition(":")
    if not host or not container:
        raise click.BadParameter(f"{text!r} has not the form HOST:CONTAINER[:OPTIONS]", param_hint="--mount")
    given = tuple(filter(None, words.split(","))) or ("ro",)
    return cdi.Mount(host, container, options=given if {"bind", "rbind"} & {*given} else (*given, "bind"))


def _offered(name: str, host_root: str) -> tuple[str, list[cdi.Device]]:
    """The kind and the devices of a plugin that ships with this package."""
    import asyncio  # noqa: PLC0415  # as is the framework, of use to this option alone

    from kubelet_plugin.plugins.crand import CrandPlugin  # noqa: PLC0415
    from kubelet_plugin.plugins.kvm import KvmPlugin  # noqa: PLC0415
    from kubelet_plugin.runtime import Device, Health  # noqa: PLC0415

    plugin = (KvmPlugin if name == "kvm" else CrandPlugin)(host_root=host_root)

    async def first() -> Iterable[Device]:
        return await anext(plugin.devices())

    devices = asyncio.run(first())
    lost = [f"{device.id}: {device.reason}" for device in devices if device.health != Health.HEALTHY]
    if lost or not devices:
        raise cdi.Error(f"the {name} plugin has nothing to offer here{': ' if lost else ''}{', '.join(lost)}")
    return cdi.kind_of(plugin.resource_name), [cdi.Device(device.cdi_name, device.edits) for device in devices]
