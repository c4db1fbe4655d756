"""Tables that may be wider than a terminal."""

import os
import shutil
from collections.abc import Sequence

import click

from kubelet_plugin.cli.cdi import output


def show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; one that is too wide for the terminal is left to it to wrap, for narrow columns cannot be read.

    Args:
        header: The names of the columns.
        rows: The rows, one at least.
    """
    shown = [[*map(output.visible, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= shutil.get_terminal_size().columns:
        output.show("table", None, header, lambda: rows)
        return
    for index, row in enumerate((header, *shown)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        output.say(click.style(line, bold=True) if index == 0 and "NO_COLOR" not in os.environ else line)
