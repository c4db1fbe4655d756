"""The loop that holds the wish: our socket is in place, and the kubelet of now has an open stream to us.

Level-triggered: events only wake it, and each time it looks at everything and does what is missing. It does not matter
which event came, came twice, or was lost.
"""

import asyncio
from collections.abc import Awaitable, Callable

from kubelet_plugin.api.transport import Server
from kubelet_plugin.discovery import Changes
from kubelet_plugin.errors import DirectoryLockedError, TransientError
from kubelet_plugin.runtime.endpoint import Endpoint
from kubelet_plugin.runtime.registration import Registration, kubelet_socket
from kubelet_plugin.runtime.settings import Backoff, Settings
from kubelet_plugin.runtime.statelog import INFO, WARNING, StateLog

_PATIENCE = 1.0  # seconds; others of our kind lock the directory for less than a millisecond


class OurSocket:
    """Keeps our socket file in place.

    Args:
        path: The socket's path.
        settings: The pauses between tries.
        log: Where states are reported.
    """

    def __init__(self, path: str, settings: Settings, log: StateLog) -> None:
        self.path = path
        self._log = log
        self._backoff = Backoff(settings)
        self._endpoint: Endpoint | None = None
        self._claims = 0

    @property
    def claims(self) -> int:
        """How often the socket became ours."""
        return self._claims

    async def hold(self, server: Server) -> float:
        """Claim the socket for a server, unless it is in place.

        Args:
            server: The server that listens there; open connections outlive a lost socket file.

        Returns:
            0 when it is in place; else after how many seconds to try again, if nothing wakes us before.
        """
        if self.is_ours():
            return 0
        try:
            endpoint = Endpoint.claim(self.path)
        except TransientError as error:
            pause = self._backoff.next()
            if not isinstance(error, DirectoryLockedError) or pause >= _PATIENCE:
                self._log.say("socket", WARNING, str(error))
            return pause
        self._endpoint = endpoint
        self._claims += 1
        await server.listen(endpoint.listener)
        self._backoff.reset()
        self._log.say("socket", INFO, f"serving at {self.path}")
        return 0

    def is_ours(self) -> bool:
        """Tell whether the socket file is in place."""
        return self._endpoint is not None and self._endpoint.is_in_place()

    def release(self) -> None:
        """Remove the socket file if it is ours. From here on none is: its inode's number may become another's."""
        if self._endpoint:
            self._endpoint.release()
            self._endpoint = None


async def stay_registered(
    socket: OurSocket,
    server: Server,
    claimed: Callable[[], Awaitable[None]],
    registration: Registration,
    wake: asyncio.Event,
    settings: Settings,
    ticked: Callable[[], None],
    over: Callable[[], bool],
) -> None:
    """Go on until cancelled, or until it is over.

    Args:
        socket: Our socket.
        server: The server behind it.
        claimed: Awaited each time the socket became ours, before a kubelet is told of it: until then another instance
            may be at work.
        registration: Our registration.
        wake: Set when there is a reason to look again.
        settings: Directories and times.
        ticked: Called when it was time to look though nothing happened.
        over: Tells whether it is over; looked at when woken.
    """
    claims = 0
    loop = asyncio.get_running_loop()
    with Changes([socket.path, kubelet_socket(settings.plugin_dir)], wake.set) as changes:
        while not over():
            wake.clear()
            pause = await socket.hold(server)
            if not pause:
                if claims != socket.claims:
                    claims = socket.claims
                    await claimed()
                    continue  # the socket may be gone again by now, and a kubelet must find it
                pause = registration.advance(loop.time())
            try:
                async with asyncio.timeout(pause):
                    await wake.wait()
            except TimeoutError:
                changes.recheck()
                ticked()
