"""An event loop in a thread of its own, so that an ordinary test function can use what is asynchronous."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from typing import Any, ParamSpec, Self, TypeVar

from kubelet_plugin.errors import Error
from kubelet_plugin.testing.failures import hides_frames

P = ParamSpec("P")
T = TypeVar("T")

__tracebackhide__ = hides_frames
_FAREWELL = 5.0  # seconds for a loop to end, before it is left to itself


class LoopThread:
    """An event loop that runs in a thread until it is closed. A context manager.

    Args:
        name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        self._begun: futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=name, daemon=True)
        self._thread.start()
        self._loop, self._end = self._begun.result()

    async def _run(self) -> None:
        end = asyncio.Event()
        self._begun.set_result((asyncio.get_running_loop(), end))
        await end.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
        """Run a coroutine on the loop, and wait for it.

        Args:
            work: The coroutine.
            timeout: For how many seconds to wait; None: for ever.

        Raises:
            Error: It is called on that loop itself, or the time is up.
            Exception: What the coroutine raises.
        """
        if self._is_here():
            work.close()
            raise Error("this waits for an event loop from within it: no hook of a plugin can wait for the kubelet")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            futures.wait([future], timeout)
            if not future.done():
                raise self._blocked()
            return future.result()
        except Error as error:
            raise error.with_traceback(None)  # noqa: B904 -- the way through the thread tells nobody anything
        finally:
            future.cancel()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an ordinary function on the loop, and wait for it.

        Raises:
            Exception: What the function raises.
        """
        if self._is_here():
            return function(*args, **kwargs)

        async def call() -> T:
            return function(*args, **kwargs)

        return self.run(call())

    def close(self) -> None:
        """End the loop; what still runs on it is cancelled.

        Raises:
            Error: Something blocks it.
        """
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_FAREWELL)
        if self._thread.is_alive():
            raise self._blocked()

    def _blocked(self) -> Error:
        return Error(f"something blocks the event loop of {self._thread.name}: nothing on it may wait without await")

    def _is_here(self) -> bool:
        return threading.current_thread() is self._thread
