"""Calls that may block, kept off the event loop, each in a thread that ends with it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from kubelet_plugin.errors import StuckError

T = TypeVar("T")

_Outcome = tuple[object, BaseException | None]


class Blocking:
    """Runs blocking functions, each in a daemon thread of its own that ends with it; one at a time per key.

    There is no pool: no thread is left after a call that ended, and one that never ends keeps neither the event loop
    nor the interpreter from ending.

    Args:
        freed: Called on the event loop with the key of a call that had been given up, once it has ended after all.
    """

    def __init__(self, freed: Callable[[Hashable], None] | None = None) -> None:
        self._freed = freed
        self._running: set[Hashable] = set()

    async def run(self, key: Hashable, function: Callable[..., T], *args: object, deadline: float) -> T:
        """Call `function` in a thread and wait for it.

        Args:
            key: What the call is about; no second call starts while one of the same key goes on.
            function: The function to call.
            args: Its positional arguments.
            deadline: How many seconds to wait. Past that, and when the caller is cancelled, the thread is left alone.

        Returns:
            What the function returns.

        Raises:
            StuckError: The deadline passed; or, at once, an earlier call of `key` has not ended yet.
            Exception: Whatever the function raises.
        """
        if key in self._running:
            raise StuckError(f"{key}: an earlier call has not ended yet")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[_Outcome] = loop.create_future()
        thread = threading.Thread(target=self._work, args=(loop, ended, key, function, args), daemon=True)
        self._running.add(key)
        try:
            thread.start()
        except BaseException:
            self._running.discard(key)
            raise
        try:
            await asyncio.wait({ended}, timeout=deadline)
        finally:
            ended.cancel()  # of no effect when it is done; else this says that nobody waits any more
        if ended.cancelled():
            raise StuckError(f"{key}: not done after {deadline:g} s")
        result, error = ended.result()
        thread.join()  # it has nothing left to do but to end
        if error is not None:
            raise error
        return cast("T", result)

    def stuck(self, key: Hashable) -> bool:
        """Tell whether a call of `key` has not ended yet."""
        return key in self._running

    def _work(
        self,
        loop: asyncio.AbstractEventLoop,
        ended: asyncio.Future[_Outcome],
        key: Hashable,
        function: Callable[..., object],
        args: tuple[object, ...],
    ) -> None:
        outcome: _Outcome
        try:
            outcome = (function(*args), None)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is the caller's
            outcome = (None, error)
        self._running.discard(key)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._settle, ended, key, outcome)

    def _settle(self, ended: asyncio.Future[_Outcome], key: Hashable, outcome: _Outcome) -> None:
        if not ended.done():
            ended.set_result(outcome)
        elif self._freed is not None:
            self._freed(key)
