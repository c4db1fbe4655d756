"""Draws docs/demo.svg: `make demo` as a terminal shows it. Run by `make demo.svg`."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

TARGET = Path(__file__).parents[1] / "docs" / "demo.svg"
_WIDTH = 150

# A picture that loads nothing: the fonts are those of whoever looks at it.
_FORMAT = """<svg viewBox="0 0 {terminal_width} {terminal_height}" xmlns="http://www.w3.org/2000/svg">
<title>kubelet-plugin demo</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>{lines}</defs>
<rect fill="{background}" width="{terminal_width}" height="{terminal_height}" rx="8"/>
<g transform="translate(12, 8)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def recorded(command: list[str]) -> str:
    """What a command writes to a terminal.

    Raises:
        SystemExit: It failed.
    """
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(_WIDTH)}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)  # noqa: S603
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the terminal is closed at the other end
            break
        if not data:
            break
        written += data
    if code := process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{written.decode()}")
    return written.decode().replace("\r\n", "\n")


def drawn(text: str) -> str:
    """A picture of a terminal's output."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=False)
    background = "rgb({},{},{})".format(*DIMMED_MONOKAI.background_color)
    return console.export_svg(
        theme=DIMMED_MONOKAI, code_format=_FORMAT.replace("{background}", background), unique_id="demo"
    )


if __name__ == "__main__":
    shown = recorded([sys.executable, "-m", "kubelet_plugin", "demo", "--once"])
    TARGET.write_text(drawn(f"$ make demo\n{shown}"))
