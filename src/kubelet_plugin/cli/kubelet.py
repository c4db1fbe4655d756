"""`kubelet-plugin kubelet`: an embedded kubelet, as a program."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
from typing import Any

import click

from kubelet_plugin.cli import lean  # noqa: F401 -- lean comes before all that imports asyncio
from kubelet_plugin.errors import Error
from kubelet_plugin.kubelet import VERSIONS, Clock, DeviceManager, DryRuntime, Policy, Runc, Standalone, log

_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_CHECKPOINT = b'{"Data":'
_LEFT_BY_KUBELETS = frozenset({"kubelet_internal_checkpoint", "DEPRECATION"})

_HELP = """Run a kubelet's device manager, to try device plugins on without a cluster, until SIGTERM or Ctrl-C.

Plugins register at kubelet.sock in the plugin directory, as with any kubelet. Static pods come from a directory of
manifests; they are admitted or refused as a kubelet would, with its words. Nothing is run unless --run is given: what
a container would be is composed and shown. Write a manifest under a name that begins with a dot and rename it into
place: one that is still being written is read as it stands.

\b
Over --listen:
  /pods        a PodList with statuses, as on a kubelet's read-only port
  /node        the Node, with capacity and allocatable
  /containers  the OCI runtime configuration of each container
  /metrics     the kubelet's metrics of device plugins
  /logs        with --run, what each container has written

\b
Examples:
  kubelet-plugin kubelet --plugin-dir /tmp/plugins --manifests /tmp/pods --listen 127.0.0.1:10255
  kubelet-plugin kubelet --profile 1.31 -v 4
  kubelet-plugin kubelet --numa-nodes 0,1 --topology-policy single-numa-node
"""


def _numa_nodes(_: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(node) for node in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers, such as 0,1", param=parameter) from None


class _Path(click.Path):
    """A path that is not empty: a variable that is not set must not mean the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


_PATH = _Path(path_type=str, resolve_path=True)
_FILE = _Path(path_type=str, resolve_path=True, dir_okay=False)
_DIRECTORY = _Path(path_type=str, resolve_path=True, file_okay=False)
_THERE = _Path(path_type=str, resolve_path=True, file_okay=False, exists=True)


def _node_name(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", value):
        what = f"{value!r} is no name of a node: give letters in lower case, digits, '-' and '.'"
        raise click.BadParameter(what, param=parameter)
    return value


def _checkpoint(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a file that never was a checkpoint: it is written over."""
    if value is not None and os.path.isfile(value):
        with open(value, "rb") as file:
            if file.read(len(_CHECKPOINT)) not in (b"", _CHECKPOINT):
                raise click.BadParameter(f"{value} is no checkpoint of a kubelet; give another file", param=parameter)
    return value


def _plugin_dir(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a directory that holds what is no kubelet's: some kubelets remove every file there is."""
    if value is not None and os.path.isdir(value):
        with contextlib.suppress(OSError):  # who may not read it is told so when it is cleaned
            for entry in os.scandir(value):
                ours = entry.name.startswith(".") or entry.name in _LEFT_BY_KUBELETS
                if not ours and entry.is_file(follow_symlinks=False):
                    what = f"{value} holds {entry.name}, which is none of a kubelet's files, and kubelets clean up"
                    raise click.BadParameter(f"{what}; give a directory of its own", param=parameter)
    return value


@click.command("kubelet", help=_HELP, context_settings={"show_default": True})
@click.option(
    "--plugin-dir",
    type=_DIRECTORY,
    metavar="DIR",
    callback=_plugin_dir,
    help="The device-plugin directory; what an earlier kubelet left there is removed, as a kubelet does. "
    "[default: a new temporary one]",
)
@click.option(
    "--manifests", type=_DIRECTORY, metavar="DIR", help="A directory of static pods, as YAML or JSON, watched."
)
@click.option("--listen", metavar="ADDRESS", help="Serve the read-only port at HOST:PORT or unix:PATH.")
@click.option("--profile", type=click.Choice(VERSIONS), default=VERSIONS[-1], help="The version it behaves like.")
@click.option(
    "--topology-policy",
    type=click.Choice([policy.value for policy in Policy]),
    default=Policy.NONE.value,
    help="What becomes of a container whose devices are far from each other.",
)
@click.option("--numa-nodes", default="0", callback=_numa_nodes, help="The machine's NUMA nodes.", metavar="N,...")
@click.option(
    "--checkpoint",
    type=_FILE,
    callback=_checkpoint,
    metavar="FILE",
    help="The checkpoint. [default: as of a kubelet, in --plugin-dir]",
)
@click.option("--pod-resources", type=_PATH, metavar="SOCKET", help="Serve the pod-resources API there.")
@click.option("--plugins-registry", type=_DIRECTORY, metavar="DIR", help="Find plugins that announce themselves there.")
@click.option(
    "--cdi-dir",
    "cdi_dirs",
    type=_DIRECTORY,
    metavar="DIR",
    multiple=True,
    default=["/etc/cdi", "/var/run/cdi"],
    help="Where the container runtime finds CDI specs; later ones win.",
)
@click.option("--no-cdi", is_flag=True, help="A container runtime with CDI off: names are ignored in silence.")
@click.option("--host-root", type=_THERE, metavar="DIR", default="/", help="Where the host's device nodes are seen.")
@click.option(
    "--run", is_flag=True, help="Run the containers, with runc and busybox in the place of their images (root)."
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 1e9),
    default=300.0,
    metavar="SECONDS",
    help="How long a lost plugin's capacity stays.",
)
@click.option("--seed", type=int, metavar="N", help="Repeat the same random order of ids and resources.")
@click.option(
    "--node-name",
    default=lambda: socket.gethostname().lower(),
    show_default="this host's name",
    callback=_node_name,
    help="The node's name; static pods carry it at the end of theirs.",
)
@click.option("-v", "--verbosity", type=click.IntRange(0, 10), default=2, metavar="N", help="Of the log; 4 shows all.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    plugin_dir: str | None,
    manifests: str | None,
    listen: str | None,
    profile: str,
    topology_policy: str,
    numa_nodes: tuple[int, ...],
    checkpoint: str | None,
    pod_resources: str | None,
    plugins_registry: str | None,
    cdi_dirs: tuple[str, ...],
    no_cdi: bool,
    host_root: str,
    run: bool,
    grace: float,
    seed: int | None,
    node_name: str,
    verbosity: int,
) -> None:
    for number in _ENDINGS:
        signal.signal(number, lambda *_: sys.exit(0))  # until the event loop takes them over
    log.configure(verbosity)
    if run and (why := Runc.unavailable()):
        raise click.UsageError(f"--run: {why}")
    where = None if no_cdi else cdi_dirs
    with tempfile.TemporaryDirectory(prefix="kubelet-") as temporary:
        directory = plugin_dir or os.path.join(temporary, "device-plugins")
        try:
            runtime = Runc(where, host_root=host_root) if run else DryRuntime(where, host_root=host_root)
            manager = DeviceManager(
                directory,
                profile,
                grace=grace,
                numa_nodes=numa_nodes,
                topology_policy=topology_policy,
                seed=seed,
                checkpoint=checkpoint or "",
                pod_resources=pod_resources or "",
                plugins_registry=plugins_registry or "",
                runtime=runtime,
            )
            node = Standalone(
                manager,
                clock=Clock(),
                node_name=node_name,
                manifests=manifests or "",
                listen=listen or "",
                output=runtime.output if isinstance(runtime, Runc) else None,
            )
            asyncio.run(_run(node, directory))
        except Error as error:
            raise click.ClickException(str(error)) from error
    ctx.exit(0)


async def _run(node: Standalone, plugin_dir: str) -> None:
    stop = asyncio.Event()
    for number in _ENDINGS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with node:
        click.echo(f"ready: plugins register at {os.path.join(plugin_dir, 'kubelet.sock')}", err=True)
        if node.address:
            unix = node.address.removeprefix("unix:")
            where = f"curl --unix-socket {unix} http://localhost" if unix != node.address else f"http://{node.address}"
            click.echo(f"ready: {where}/pods", err=True)
        await stop.wait()
