"""What the verbs print: results to standard output, what is wrong to standard error."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import click

from kubelet_plugin import cdi

_COLOURS = {"fatal": "red", "error": "red", "warning": "yellow"}


def say(text: str, *, err: bool = False) -> None:
    """Print a line, colours in it to terminals alone. File names that are no UTF-8 are printed as they are."""
    try:
        click.echo(text if _is_utf_8(text) else click.unstyle(text).encode(errors="surrogateescape"), err=err)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader has seen enough: the program ends in silence
        raise click.ClickException(f"cannot print: {error.strerror}") from error


def visible(text: str) -> str:
    """Text from a file or a file's name, in which what a terminal would obey or hide is written as an escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or _is_byte(each) else repr(each)[1:-1] for each in text)


def _is_byte(character: str) -> bool:
    """Whether it stands for a byte that is no UTF-8."""
    return "\udc80" <= character <= "\udcff"


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def label(severity: str) -> str:
    """A severity, in its colour; where there is no terminal, the colour is dropped in printing."""
    return click.style(f"{severity}:", fg=_COLOURS[severity], bold=True)


def fail(ctx: click.Context, *messages: str) -> NoReturn:
    """Print what is wrong, and end the program with exit code 1."""
    for message in messages:
        say(f"{label('error')} {visible(message)}", err=True)
    ctx.exit(1)


def show(form: str, data: Any, header: Sequence[str], rows: Callable[[], Iterable[Sequence[str]]]) -> None:
    """Print a result.

    Args:
        form: `table`, `json` or `yaml`.
        data: The result for programs.
        header: The names of a table's columns.
        rows: Makes the rows of the table.
    """
    if form == "table":
        _show_table(header, [*rows()])
    else:
        say(serialized(form, data))


def serialized(form: str, data: Any) -> str:
    """Data as JSON or YAML, without a line's end."""
    if form == "json":
        text = json.dumps(data, indent=2, ensure_ascii=False)
        # Half of a surrogate pair, or a byte of a file name, has no UTF-8, but an escape.
        return text if _is_utf_8(text) else json.dumps(data, indent=2)
    from kubelet_plugin.cdi.yaml_output import dump_yaml  # noqa: PLC0415  # heavy

    return dump_yaml(data).rstrip("\n")


def complain(registry: cdi.Registry, *, strict: bool) -> int:
    """Print what is wrong and odd in the specs.

    Returns:
        The exit code that this makes.
    """
    # A conflict is an error of two files.
    errors = dict.fromkeys(str(error) for errors in registry.errors.values() for error in errors)
    warnings = [str(warning) for warnings in registry.warnings.values() for warning in warnings]
    crashes = [*_crashes(registry)]
    for severity, messages in (("fatal", crashes), ("error", errors), ("warning", warnings)):
        for message in messages:
            say(f"{label(severity)} {visible(message)}", err=True)
    return int(bool(crashes or errors) or (strict and bool(warnings)))


def _crashes(registry: cdi.Registry) -> Iterator[str]:
    """Which specs make container runtimes crash, though they can be read."""
    for file in registry.specs():
        try:
            cdi.validate_kind(file.spec.kind)
        except cdi.Error as error:
            yield f"{file.path}: {error}; remove the file at once"


def summary(edits: cdi.ContainerEdits) -> str:
    """What a container gets, in a few words."""
    counts = {
        "env": len(edits.env),
        "mount": len(edits.mounts),
        "hook": len(edits.hooks),
        "gid": len(edits.additional_gids),
        "net device": len(edits.net_devices),
        "RDT class": int(edits.intel_rdt is not None),
    }
    words = [node.path for node in edits.device_nodes]
    words += [f"{count} {what}{'s' if count > 1 and what != 'env' else ''}" for what, count in counts.items() if count]
    return ", ".join(words)


def _show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    rows = [[*map(visible, row)] for row in rows]
    if _has_colours() and all(_is_utf_8(cell) for row in rows for cell in row) and _show_rich_table(header, rows):
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _show_rich_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Print a table in colours; False: the extra `cli` is not installed."""
    try:
        from rich.console import Console  # noqa: PLC0415  # an extra, and heavy
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ImportError:
        return False
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, overflow="fold", style="cyan" if index == 0 else "")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
    return True
