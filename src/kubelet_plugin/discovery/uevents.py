"""Being told by the kernel that devices come, go and change: its uevents, over netlink.

sysfs has no inotify. The kernel sends each event to all network namespaces of its first user namespace, so a pod with
a network of its own hears them too. They come before udev has worked on a device; what udev then does in `/dev` is for
inotify to tell.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Hashable, Mapping

logger = logging.getLogger("kubelet_plugin.discovery")

_NETLINK_KOBJECT_UEVENT = 15
_KERNEL = 1  # the multicast group of what the kernel sends; udev's own is 2
_LARGEST = 16 * 1024  # bytes; the kernel's limit is 2 KiB and a path
_BATCH = 256  # events handled before the loop gets its turn
_BUSES = frozenset({"usb", "pci", "module"})


class Uevents:
    """Tells those who subscribed when a device node, a USB or PCI device or a kernel module comes, goes or changes.

    Level-triggered: events only say "look". Where the kernel lost events because of too many, all are told.

    Args:
        loop: The event loop.
        opened: Makes the socket.
        is_first: Whether this is the host's first user namespace; None: found out.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        opened: Callable[[], socket.socket] | None = None,
        *,
        is_first: bool | None = None,
    ) -> None:
        self._loop = loop
        self._opened = opened or _netlink
        self._socket: socket.socket | None = None
        self._refused = False
        self._is_first = _in_first_user_namespace() if is_first is None else is_first
        self._subscribers: dict[Hashable, Callable[[], None]] = {}

    @classmethod
    def of_loop(cls, loop: asyncio.AbstractEventLoop) -> "Uevents":
        """Return those that all share who subscribe on a loop; the socket lasts until the last one has left."""
        return _shared.setdefault(loop, cls(loop))

    @property
    def heard(self) -> bool:
        """Whether the kernel lets us hear its events, as far as that can be known."""
        return not self._refused and self._is_first

    def subscribe(self, subscriber: Hashable, wake: Callable[[], None]) -> None:
        """Tell a subscriber of events from now on.

        Args:
            subscriber: Who it is.
            wake: Called from the event loop; must neither block nor raise.
        """
        self._subscribers[subscriber] = wake
        if self._socket is None and not self._refused:
            try:
                self._socket = self._opened()
            except OSError as error:
                self._refused = True
                logger.warning("the kernel's events cannot be heard: %s; hot-plug is noticed late", error.strerror)
                return
            self._loop.add_reader(self._socket, self._read)
            if not self._is_first:
                logger.warning("the kernel may send no events into this user namespace; hot-plug may be noticed late")

    def unsubscribe(self, subscriber: Hashable) -> None:
        """Tell a subscriber no more; with the last one the socket is closed."""
        self._subscribers.pop(subscriber, None)
        if not self._subscribers:
            if self._socket is not None:
                self._loop.remove_reader(self._socket)
                self._socket.close()
                self._socket = None
            if _shared.get(self._loop) is self:
                del _shared[self._loop]

    def _read(self) -> None:
        """Read the events at hand, then wake all once if one of them matters."""
        assert self._socket is not None
        matters = False
        for _ in range(_BATCH):
            try:
                message, sender = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some were lost
                matters = True
                continue
            matters = matters or (not _sender(sender) and concerns_devices(parse(message)))
        for subscriber, wake in tuple(self._subscribers.items()) if matters else ():
            if subscriber in self._subscribers:  # one who is woken may end another
                wake()


def parse(message: bytes) -> dict[str, str]:
    """Read the fields of an event; none where it is not the kernel's.

    Args:
        message: As the kernel sends it: `ACTION@PATH`, then `KEY=VALUE` fields, each ended by a zero byte.
    """
    head, *fields = message.decode(errors="replace").split("\0")
    if "@" not in head:  # udev's own format
        return {}
    return dict(field.split("=", 1) for field in fields if "=" in field)


def concerns_devices(event: Mapping[str, str]) -> bool:
    """Tell whether an event is about a device node, a USB or PCI device or a kernel module."""
    return "DEVNAME" in event or event.get("SUBSYSTEM") in _BUSES


def _sender(address: object) -> int:
    """Return the port of who sent a message: 0 is the kernel's; any other process may be telling tales."""
    return int(address[0]) if isinstance(address, tuple) else 0


def _in_first_user_namespace(map_file: str = "/proc/self/uid_map") -> bool:
    """Tell whether all users of the host are users here: the kernel sends its events to no other user namespace."""
    try:
        with open(map_file, encoding="ascii") as file:
            return file.read().split() == ["0", "0", "4294967295"]
    except OSError:
        return True


def _netlink() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_KOBJECT_UEVENT)
    try:
        sock.bind((0, _KERNEL))
    except OSError:
        sock.close()
        raise
    return sock


_shared: dict[asyncio.AbstractEventLoop, Uevents] = {}
