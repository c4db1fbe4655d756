"""Being registered with the kubelet of now, which means that it has an open stream to us."""

import asyncio
import os

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.transport import Channel
from kubelet_plugin.errors import RegistrationError, RpcError
from kubelet_plugin.runtime.settings import Backoff, Settings
from kubelet_plugin.runtime.statelog import INFO, WARNING, StateLog
from kubelet_plugin.runtime.streams import Streams

_STEADY = 10.0  # a stream that lasted this long ends for a new reason: the first retry is quick again


class Registration:
    """Registers one resource with whatever kubelet is there, as often as it takes.

    It is told to look, and looks at everything: which kubelet there is, whether a Register to it is under way, and
    whether the stream that answered it is still open.

    Args:
        request: The registration.
        streams: The open streams of this resource.
        wake: Set when there is a reason to look again.
        settings: Directories and times.
        log: Where states are reported.
        turns: Taken for a Register: of hundreds at once, many would find the kubelet's backlog full.
    """

    def __init__(
        self,
        request: v1beta1.RegisterRequest,
        streams: Streams,
        wake: asyncio.Event,
        settings: Settings,
        log: StateLog,
        turns: asyncio.Semaphore,
    ) -> None:
        self._request = request
        self._streams = streams
        self._wake = wake
        self._settings = settings
        self._log = log
        self._turns = turns
        self._socket = kubelet_socket(settings.plugin_dir)
        self._backoff = Backoff(settings)
        self._kubelet: tuple[int, int, int] | None = None
        self._registering: asyncio.Task[None] | None = None
        self._registered_at: float | None = None
        self._first = self._last = 0  # the streams of which one is the kubelet's
        self._next_try = 0.0

    def advance(self, now: float) -> float:
        """Do what is missing.

        Args:
            now: The event loop's time, in seconds.

        Returns:
            After how many seconds to look again, if nothing wakes us before.
        """
        if (kubelet := _identity(self._socket)) != self._kubelet:
            self._meet(kubelet)
        if kubelet is None:
            self._log.say("kubelet", INFO, f"waiting for a kubelet: there is no {self._socket}")
            return self._settings.tick
        if self._registering:
            if not self._registering.done():
                return self._settings.tick
            self._conclude(self._registering, now)
        if self._registered_at is not None:
            return self._watch_stream(self._registered_at, now)
        if now < self._next_try:
            return self._next_try - now
        self._register()
        return self._settings.tick

    async def close(self) -> None:
        """Give up a Register that is under way."""
        if self._registering:
            self._registering.cancel()
            await asyncio.wait({self._registering})

    def _meet(self, kubelet: tuple[int, int, int] | None) -> None:
        if self._kubelet and kubelet:
            self._log.say("kubelet", INFO, f"there is a new kubelet at {self._socket}: registering with it")
        self._kubelet = kubelet
        self._registered_at = None
        self._next_try = 0.0
        self._backoff.reset()
        if self._registering:
            self._registering.cancel()
            self._registering = None

    def _watch_stream(self, registered_at: float, now: float) -> float:
        opened = self._streams.serial >= self._first
        if opened and self._streams.are_open(self._first, self._last):
            return self._settings.tick
        patience = registered_at + self._settings.stream_deadline - now
        if not opened and patience > 0:
            return patience
        if now - registered_at >= _STEADY and opened:
            self._backoff.reset()
        what = "ended its stream" if opened else f"opened no stream in {self._settings.stream_deadline:g} s"
        self._log.say("kubelet", WARNING, f"the kubelet {what}: registering again")
        return self._retry(now)

    def _retry(self, now: float) -> float:
        pause = self._backoff.next()
        self._registered_at = None
        self._next_try = now + pause
        return pause

    def _register(self) -> None:
        self._first = self._streams.serial + 1
        self._registering = asyncio.create_task(self._in_turn())
        self._registering.add_done_callback(lambda _: self._wake.set())

    async def _in_turn(self) -> None:
        async with self._turns:
            await register(self._socket, self._request, timeout=self._settings.register_deadline)

    def _conclude(self, registering: asyncio.Task[None], now: float) -> None:
        self._registering = None
        try:
            registering.result()
        except RegistrationError as error:
            self._log.say("kubelet", WARNING, f"{error}; trying again")
            self._retry(now)
        else:
            self._log.say("kubelet", INFO, f"registered with the kubelet at {self._socket}")
            self._registered_at = now
            self._last = max(self._first, self._streams.serial)


def kubelet_socket(plugin_dir: str) -> str:
    """Return the path of the kubelet's registration socket."""
    return os.path.join(plugin_dir, "kubelet.sock")


async def register(socket: str, request: v1beta1.RegisterRequest, *, timeout: float) -> None:
    """Make one Register call. The kubelet dials back before it answers, so serve first.

    Args:
        socket: The kubelet's registration socket.
        request: The registration.
        timeout: For how many seconds to wait for the answer.

    Raises:
        RegistrationError: The kubelet could not be reached, refused, or did not answer in time.
    """
    try:
        async with Channel(socket) as channel:
            await channel.call(v1beta1.Registration.REGISTER, request, timeout=timeout)
    except RpcError as error:
        if error.code == "UNAVAILABLE":
            raise RegistrationError(f"the kubelet at {socket} broke off: {error.message}") from error
        raise RegistrationError(f"the kubelet refused to register {request.resource_name}: {error}") from error
    except TimeoutError as error:
        raise RegistrationError(f"the kubelet at {socket} did not answer Register in {timeout:g} s") from error
    except OSError as error:
        raise RegistrationError(f"cannot reach the kubelet at {socket}: {error.strerror or error}") from error


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    # The number of an inode is soon used again; the time it was made tells two of them apart.
    return (status.st_dev, status.st_ino, status.st_mtime_ns)
