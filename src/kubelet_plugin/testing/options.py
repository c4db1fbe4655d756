"""What can be chosen of a kubelet that tests run against."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from kubelet_plugin.errors import ConfigurationError

if TYPE_CHECKING:
    from kubelet_plugin.kubelet import Profile

_NOT_THE_MANAGERS = frozenset({"manual_clock", "cdi", "plugins_registry", "host_root"})


class Options(TypedDict, total=False):
    """How a kubelet behaves; each has a default.

    Attributes:
        profile: Which kubelet it is: a version such as `1.31`, or a profile with switches of your own. Default: the
            newest.
        grace: For how many seconds a resource keeps its capacity after its plugin has gone. Default: 300.
        numa_nodes: The machine's NUMA nodes. Default: 0 alone.
        topology_policy: `none`, `best-effort`, `restricted` or `single-numa-node`. Default: `none`.
        seed: Repeats the same random order, of ids in requests and of resources in a container. Default: another one
            each time.
        message_limit: How many bytes a plugin's message may have. Default: 4 MiB, as everywhere.
        manual_clock: Whether the kubelet's time stands still until `advance` is called. Default: it is the machine's.
        cdi: Whether containers are started by a runtime with CDI on; with it off, CDI names are ignored in silence, as
            runtimes do. Default: on.
        plugins_registry: Whether plugins may also announce themselves in `plugins_registry`. Default: no.
        host_root: Where the host's device nodes are seen when a container is started. Default: `/`.
    """

    profile: "str | Profile"
    grace: float
    numa_nodes: Collection[int]
    topology_policy: str
    seed: int | None
    message_limit: int
    manual_clock: bool
    cdi: bool
    plugins_registry: bool
    host_root: str


def check(options: Mapping[str, object]) -> None:
    """Refuse options that there are not.

    Raises:
        ConfigurationError: One has no such name.
    """
    for name in options:
        if name not in Options.__annotations__:
            known = ", ".join(Options.__annotations__)
            raise ConfigurationError(f"a kubelet has no option {name!r}: give one of {known}")


def of_manager(options: Options) -> dict[str, Any]:
    """The options that are the device manager's own."""
    return {name: value for name, value in options.items() if name not in _NOT_THE_MANAGERS}
