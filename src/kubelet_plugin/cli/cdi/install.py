"""`kubelet-plugin cdi install`."""

import os
from collections.abc import Iterable

import click

from kubelet_plugin import cdi
from kubelet_plugin.cdi.parsing import SIZE_LIMIT
from kubelet_plugin.cli.cdi import options, output

_HELP = """Put specs where container runtimes find them.

Each FILE, JSON or YAML, or - for standard input, is checked, and written to vendor-class.json in the directory:
atomically, readable by all. An earlier spec of the kind is replaced. What would make a runtime crash, or refuse the
spec, is not installed; nor is what would make a device unresolvable because another file there has it, too.

/etc/cdi is for specs that are to stay; /var/run/cdi is empty after a restart of the host.

\b
Examples:
  kubelet-plugin cdi install fuse.yaml
  kubelet-plugin cdi generate --kind example.com/fuse --device fuse=/dev/fuse | kubelet-plugin cdi install -
"""


@click.command("install", help=_HELP, short_help="Put specs where runtimes find them.")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@options.spec_dir
@options.transient_id
@options.as_yaml
@click.pass_context
def command(ctx: click.Context, *, files: tuple[str, ...], directory: str, id_: str, yaml: bool) -> None:
    try:
        for path, spec in _checked(files, directory, id_, yaml=yaml).items():
            cdi.write_file(spec, path)
            output.say(f"{path}: installed")
    except cdi.Error as error:
        output.fail(ctx, str(error))


def _checked(files: Iterable[str], directory: str, id_: str, *, yaml: bool) -> dict[str, cdi.Spec]:
    """What is to be written, by path: all are checked before the first is written."""
    specs: dict[str, cdi.Spec] = {}
    for file in files:
        spec = _read(file)
        cdi.validate_spec(spec)
        path = cdi.spec_path(spec.kind, directory, id=id_, yaml=yaml)
        if path in specs:
            raise cdi.Error(f"{file} and another of the files would both be {path}: make one spec of them")
        _check_neighbours(spec, path, directory)
        specs[path] = spec
    return specs


def _read(path: str) -> cdi.Spec:
    if path == "-":
        with click.open_file(path, "rb") as file:
            return cdi.parse(file.read(SIZE_LIMIT + 1), path="standard input")
    return cdi.read(path)


def _check_neighbours(spec: cdi.Spec, path: str, directory: str) -> None:
    """Refuse to replace another kind's file, and to offer what another file of the directory offers already."""
    names = {device.name for device in spec.devices}
    for file in cdi.Registry([directory]).specs():
        if os.path.basename(file.path) == os.path.basename(path):
            if file.spec.kind != spec.kind:
                raise cdi.Error(f"{path} is of the kind {file.spec.kind}: it is not replaced by one of {spec.kind}")
        elif file.spec.kind == spec.kind and (twice := names & {device.name for device in file.spec.devices}):
            raise cdi.Error(
                f"{file.path} has {', '.join(sorted(twice))} of {spec.kind} already: with two files in one directory "
                "no runtime would resolve them; remove that file first, or choose another directory"
            )
