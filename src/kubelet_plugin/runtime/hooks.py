"""Calling a plugin's hooks: bounded in time, none again while one hangs, errors named."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kubelet_plugin.errors import HookError, StuckError
from kubelet_plugin.runtime.device import Device
from kubelet_plugin.runtime.inventory import shown
from kubelet_plugin.threads import Blocking


class Hooks:
    """Calls the hooks of one plugin.

    Args:
        resource_name: The plugin's resource, for the errors' sake.
    """

    def __init__(self, resource_name: str) -> None:
        self._resource_name = resource_name
        self._blocking = Blocking()
        self._abandoned: dict[str, list[Callable[[], bool]]] = {}

    async def call(
        self, hook: Callable[..., Any], devices: Sequence[Device], *arguments: object, deadline: float
    ) -> Any:
        """Call a hook and return what it returns.

        Args:
            hook: The bound method; a coroutine function is awaited, any other runs in a thread of its own.
            devices: Its first argument, named in errors.
            arguments: Its further arguments.
            deadline: For how many seconds it may go on. Past that it is abandoned.

        Raises:
            HookError: It raised, was not done in time, or one that was abandoned still hangs.
        """
        name = hook.__name__
        if self._hangs(name):
            raise self.error(name, devices, "an earlier call of it hangs")
        try:
            if inspect.iscoroutinefunction(hook):
                return await self._await(name, hook(devices, *arguments), deadline)
            result = await self._run(name, hook, devices, *arguments, deadline=deadline)
            return await self._await(name, result, deadline) if inspect.isawaitable(result) else result
        except StuckError:
            raise self.error(name, devices, f"it was not done after {deadline:g} s") from None
        except _RaisedError as error:
            raise self.error(name, devices, str(error)) from error.__cause__

    def error(self, name: str, devices: Sequence[Device], cause: str) -> HookError:
        """Make the error that names the resource, the hook, the devices and the cause."""
        return HookError(f"{self._resource_name}: {name}({shown([d.id for d in devices])}) failed: {cause}")

    async def _run(self, name: str, hook: Callable[..., Any], *arguments: object, deadline: float) -> Any:
        key = object()
        try:
            return await self._blocking.run(key, _called, hook, *arguments, deadline=deadline)
        finally:
            if self._blocking.stuck(key):
                self._abandon(name, lambda: self._blocking.stuck(key))

    async def _await(self, name: str, awaitable: Awaitable[Any], deadline: float) -> Any:
        # Not asyncio.timeout: it would wait for a coroutine that ignores its cancellation.
        future = asyncio.ensure_future(_awaited(awaitable))
        try:
            await asyncio.wait({future}, timeout=deadline)
        finally:
            if not future.done():
                future.cancel()
                future.add_done_callback(lambda late: late.cancelled() or late.exception())
                self._abandon(name, lambda: not future.done())
        if not future.done():
            raise StuckError
        return future.result()

    def _abandon(self, name: str, hangs: Callable[[], bool]) -> None:
        self._abandoned.setdefault(name, []).append(hangs)

    def _hangs(self, name: str) -> bool:
        self._abandoned[name] = [hangs for hangs in self._abandoned.get(name, ()) if hangs()]
        return bool(self._abandoned[name])


class _RaisedError(Exception):
    """A hook raised. Whatever it was, SystemExit included, it ends that one call and neither a thread nor the loop."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"it raised {type(error).__name__}: {error}")


def _called(hook: Callable[..., Any], *arguments: object) -> Any:
    try:
        return hook(*arguments)
    except BaseException as error:
        raise _RaisedError(error) from error


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except BaseException as error:
        if is_cancelled():
            raise
        raise _RaisedError(error) from error


def is_cancelled() -> bool:
    """Tell whether somebody cancelled this task; if not, a CancelledError in it is a fault of its own code."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
