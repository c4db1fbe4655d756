"""Whether what a resource or a device depends on is there: `enabled_when` of the configuration file."""

import os
from collections.abc import Iterator

from kubelet_plugin.config.schema import EnabledWhen
from kubelet_plugin.discovery import Roots
from kubelet_plugin.discovery.nodes import paths_of


def unmet(enabled_when: EnabledWhen | None, roots: Roots) -> str:
    """Say why a condition does not hold, in words; empty where it does.

    Args:
        enabled_when: The condition; None always holds.
        roots: Where the host's files are seen.
    """
    return "; ".join(_missing(enabled_when, roots)) if enabled_when else ""


def paths(enabled_when: EnabledWhen | None) -> tuple[str, ...]:
    """List the paths and globs on which a condition depends."""
    return _each(enabled_when.path) if enabled_when else ()


def modules(enabled_when: EnabledWhen | None) -> tuple[str, ...]:
    """List the kernel modules on which a condition depends."""
    return _each(enabled_when.module) if enabled_when else ()


def _missing(enabled_when: EnabledWhen, roots: Roots) -> Iterator[str]:
    names, patterns = modules(enabled_when), paths(enabled_when)
    if names and not any(_is_loaded(name, roots) for name in names):
        yield f"no kernel module {' or '.join(names)} is loaded"
    if patterns and not any(_exists(pattern, roots) for pattern in patterns):
        yield f"there is no {' or '.join(patterns)}"


def _is_loaded(module: str, roots: Roots) -> bool:
    """Tell whether a module is in the kernel, which writes a dash in its name as an underscore."""
    return os.path.isdir(os.path.join(roots.sysfs, "module", module.replace("-", "_")))


def _exists(pattern: str, roots: Roots) -> bool:
    return any(
        (target := roots.resolve(path)) and os.path.lexists(roots.real(target))
        for path in paths_of((pattern,), roots.host)
    )


def _each(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()
