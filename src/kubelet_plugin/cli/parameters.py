"""What verbs ask of their parameters alike; light, for the daemon's sake."""

import os
import re

import click

PATHS = rf"[\s{os.pathsep}]+"
"""What is between paths in a variable of the environment, a regular expression."""


class Separated(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.3
    """A text; of several in one variable of the environment, each.

    Args:
        name: What it is.
        separator: What is between them there, a regular expression; empty: a variable holds one.
    """

    def __init__(self, name: str, separator: str) -> None:
        self.name = name
        self._separator = separator

    def split_envvar_value(self, rv: str) -> list[str]:
        return [text for text in re.split(self._separator, rv) if text] if self._separator else [rv]


def check_host_root(directory: str) -> None:
    """Refuse a host root that is not there.

    Raises:
        UsageError: It is no directory.
    """
    if not os.path.isdir(directory):
        raise click.UsageError(
            f"--host-root: there is no directory {directory}; is the host's root, or its /dev, mounted there?"
        )
