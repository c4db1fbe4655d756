"""The calls that a plugin receives, as data; the kubelet gives ids in random order, so here they are sorted."""

from dataclasses import dataclass

Ids = tuple[str, ...]


@dataclass(frozen=True)
class GetOptions:
    """GetDevicePluginOptions."""


@dataclass(frozen=True)
class Watch:
    """ListAndWatch was opened."""


@dataclass(frozen=True)
class WatchEnded:
    """The kubelet closed, or lost, a ListAndWatch stream."""


@dataclass(frozen=True)
class Allocate:
    """Allocate: the ids of each container request."""

    requests: tuple[Ids, ...]


@dataclass(frozen=True)
class Prefer:
    """GetPreferredAllocation, with one container request."""

    available: Ids
    must_include: Ids
    size: int


@dataclass(frozen=True)
class PreStart:
    """PreStartContainer."""

    ids: Ids


@dataclass(frozen=True)
class GetInfo:
    """GetInfo, of the plugin watcher's registration."""


@dataclass(frozen=True)
class Notified:
    """NotifyRegistrationStatus, of the plugin watcher's registration."""

    registered: bool
    error: str = ""


Call = GetOptions | Watch | WatchEnded | Allocate | Prefer | PreStart | GetInfo | Notified


def allocate(*ids: str) -> Allocate:
    """Allocate as a kubelet makes it: one container request."""
    return Allocate((tuple(sorted(ids)),))


def prefer(*available: str, must_include: Ids = (), size: int) -> Prefer:
    """GetPreferredAllocation, of these that are available."""
    return Prefer(tuple(sorted(available)), tuple(sorted(must_include)), size)
