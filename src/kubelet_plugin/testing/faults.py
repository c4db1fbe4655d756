"""Faults of a kubelet that runs in another thread."""

import asyncio
from collections.abc import Callable

from kubelet_plugin.kubelet.faults import Faults as _Faults
from kubelet_plugin.testing.loop import LoopThread


class Release:
    """Lets a call that hangs go on."""

    def __init__(self, loop: LoopThread, event: asyncio.Event) -> None:
        self._loop = loop
        self._event = event

    def set(self) -> None:
        """Let it go on, to the plugin."""
        self._loop.call(self._event.set)


class Faults:
    """What is to go wrong on a plugin's side of the wire; the call never reaches it."""

    def __init__(self, faults: _Faults, loop: Callable[[], LoopThread]) -> None:
        self._faults = faults
        self._loop = loop

    def fail(self, resource: str, method: str, message: str, *, code: str = "UNKNOWN", times: int = 1) -> None:
        """Let the next calls fail.

        Args:
            resource: The resource whose plugin is called.
            method: The name of the call, such as `Allocate`.
            message: The status message of the failure.
            code: The name of its gRPC status code.
            times: How many calls fail.
        """
        self._loop().call(self._faults.fail, resource, method, message, code=code, times=times)

    def hang(self, resource: str, method: str) -> Release:
        """Let the next call hang, until `set` is called on what is returned.

        Args:
            resource: The resource whose plugin is called.
            method: The name of the call, such as `ListAndWatch`.
        """
        return Release(self._loop(), self._loop().call(self._faults.hang, resource, method))
