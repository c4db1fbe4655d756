"""Where and how a plugin is served."""

from dataclasses import dataclass

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
