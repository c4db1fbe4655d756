"""The configuration file: which devices are offered under which names.

`load` reads it; `schema` is what it may say.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubelet_plugin.config.loading import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # A daemon without a file has presets, but no use for what reads one.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kubelet_plugin.config.loading import load  # noqa: PLC0415

    return load
