"""Where and how a plugin is served."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.runtime.holders import POD_RESOURCES_SOCKET
from kubelet_plugin.runtime.inject import Inject

PLUGIN_DIR = "/var/lib/kubelet/device-plugins"
CDI_DIR = "/var/run/cdi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where and how a plugin is served. All times are in seconds.

    Attributes:
        plugin_dir: The kubelet's device-plugin directory, where `kubelet.sock` is and where our socket goes.
        cdi_dir: Where the CDI spec file goes.
        inject: What an Allocate answer holds.
        pod_resources: The kubelet's pod-resources socket; it need not exist.
        hook_deadline: What `allocate` and `preferred_allocation` may take; a kubelet itself sets no limit, and admits
            no other pod meanwhile.
        pre_start_deadline: What `pre_start_container` may take; a kubelet gives up after 30.
        register_deadline: What the kubelet may take to answer a Register; it dials back within it, for up to 10.
        stream_deadline: How long after a Register its stream must have been opened.
        first_list_deadline: How long a plugin may take over its first list before an empty one stands in for it.
        tick: How often to look at everything though nothing happened.
        retry_first: The pause before a first retry; it doubles with each further one.
        retry_most: The longest pause between retries.
    """

    plugin_dir: str = PLUGIN_DIR
    cdi_dir: str = CDI_DIR
    inject: Inject = Inject.BOTH
    pod_resources: str = POD_RESOURCES_SOCKET
    hook_deadline: float = 20.0
    pre_start_deadline: float = 25.0
    register_deadline: float = 20.0
    stream_deadline: float = 12.0
    first_list_deadline: float = 2.0
    tick: float = 60.0
    retry_first: float = 0.005
    retry_most: float = 30.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings that an operator gives, from the variables that `kubelet-plugin run` reads too.

        `KUBELET_PLUGIN_PLUGIN_DIR`, `KUBELET_PLUGIN_CDI_DIR` and `KUBELET_PLUGIN_INJECT` stand for `plugin_dir`,
        `cdi_dir` and `inject`. What is missing or empty has its default, as has all the rest.

        Args:
            environ: The environment, such as `os.environ`.

        Raises:
            ConfigurationError: A directory is not an absolute path, or there is no such way to inject.
        """
        return cls(
            plugin_dir=_directory(environ, "KUBELET_PLUGIN_PLUGIN_DIR", PLUGIN_DIR),
            cdi_dir=_directory(environ, "KUBELET_PLUGIN_CDI_DIR", CDI_DIR),
            inject=_inject(environ, "KUBELET_PLUGIN_INJECT"),
        )


def _directory(environ: Mapping[str, str], variable: str, default: str) -> str:
    value = environ.get(variable) or default
    if not os.path.isabs(value):
        raise ConfigurationError(f"{variable}: {value!r} is not an absolute path")
    return os.path.normpath("/" + value.lstrip("/"))


def _inject(environ: Mapping[str, str], variable: str) -> Inject:
    value = environ.get(variable) or Inject.BOTH
    try:
        return Inject(value)
    except ValueError:
        raise ConfigurationError(f"{variable}: {value!r} is none of {', '.join(Inject)}") from None


class Backoff:
    """Pauses between tries: a short first one, then doubled each time up to the longest."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pause = settings.retry_first

    def next(self) -> float:
        """Return the pause before the next try, in seconds."""
        pause = self._pause
        self._pause = min(2 * pause, self._settings.retry_most)
        return pause

    def reset(self) -> None:
        """Begin with the short pause again."""
        self._pause = self._settings.retry_first
