"""What kubelets of different ages say and do differently, as data: from which minor version on, and which section says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ByVersion(Generic[T]):
    """A fact that depends on the kubelet's version.

    Attributes:
        section: The section of docs/reference/kubelet.md that states it.
        since: What holds from a minor version on, until the next one that is named.
    """

    section: str
    since: Mapping[int, T]

    def at(self, minor: int) -> T:
        """What holds for that minor version."""
        return self.since[max(first for first in self.since if first <= minor)]


REJECTED = ByVersion("Refusals", {20: "Pod ", 31: "Pod was rejected: "})
"""How the message of a refused pod begins."""

DIALS_INSIDE_REGISTER = ByVersion("Registration", {20: False, 31: True})
"""Whether Register is answered only after the plugin was dialled and asked for its options; those count then."""

NONE_HEALTHY = ByVersion(
    "Choosing devices",
    {
        20: "requested number of devices unavailable for {resource}. Requested: {asked}, Available: 0",
        31: "no healthy devices present; cannot allocate unhealthy devices {resource}",
    },
)
"""Why nothing is allocated while no device is healthy."""

CHECKS_ZERO = ByVersion("Choosing devices", {20: False, 31: True})
"""Whether a request of zero devices is checked like any other."""

NO_RESPONSE = ByVersion(
    "Refusals", {20: " &AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}", 34: " "}
)
"""How an answer without containers is printed."""

DISCONNECTS_BY_NAME = ByVersion("Loss of a plugin", {20: False, 31: True})
"""Whether an old instance's end cuts off the new one."""

REMOVES_FILES = ByVersion("Start", {20: True, 33: False})
"""Whether ordinary files go from the plugin directory, too, when the kubelet starts."""

RETRIES_REGISTRATION = ByVersion("Registration by plugins_registry", {20: False, 36: True})
"""Whether a registration whose last step failed is tried again."""

BOUNDS_DIAL = ByVersion("Registration", {20: False, 35: True})
"""Whether a kubelet no longer tries to dial when the plugin has given up its Register."""

REFUSES_ZERO = ByVersion("Refusals", {20: True, 31: False})
"""Whether a request of none does not fit where others have more than there is."""

STARTS_ZERO = ByVersion("Container start", {20: False, 31: True})
"""Whether a container with a request of none can start where the plugin is to be told of starts."""

PASSES_CDI = ByVersion("What a container gets", {20: False, 31: True})
"""Whether CDI names of an answer get to the container runtime."""

ANNOTATES_CDI = ByVersion("What a container gets", {20: False, 31: True, 32: False})
"""Whether they are an annotation, too."""

LISTS_EACH_DEVICE = ByVersion("Pod-resources", {20: False, 31: True})
"""Whether the pod-resources API has an entry for each device, instead of for each NUMA node."""
