"""The blocks of a test in which a plugin takes part."""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from kubelet_plugin.testing.failures import Actor, hides_frames

A = ParamSpec("A")
T = TypeVar("T")

__tracebackhide__ = hides_frames


class WithOnly:
    """What is entered with `with`, and says so where `async with` is tried."""

    if not TYPE_CHECKING:  # a type checker goes on to find fault by itself

        def __aenter__(self) -> NoReturn:
            __tracebackhide__ = True
            raise TypeError("this belongs to a Kubelet, as an ordinary test has it: enter it with `with`")

        def __aexit__(self, *_: object) -> NoReturn:
            raise AssertionError("it was never entered")


class AsyncWithOnly:
    """What is entered with `async with`, and says so where `with` is tried."""

    if not TYPE_CHECKING:  # see above

        def __enter__(self) -> NoReturn:
            __tracebackhide__ = True
            raise TypeError(
                "this belongs to an AsyncKubelet, as a coroutine test and all its fixtures have it: "
                "enter it with `async with`, in a coroutine"
            )

        def __exit__(self, *_: object) -> NoReturn:
            raise AssertionError("it was never entered")


class _Block(WithOnly, AbstractContextManager[T]):
    def __init__(self, inner: AbstractContextManager[T, bool | None]) -> None:
        self._inner = inner

    def __enter__(self) -> T:
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._inner.__exit__(kind, error, traceback)


class _AsyncBlock(AsyncWithOnly, AbstractAsyncContextManager[T]):
    def __init__(self, inner: AbstractAsyncContextManager[T, bool | None]) -> None:
        self._inner = inner

    async def __aenter__(self) -> T:
        return await self._inner.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, traceback)


def block(function: Callable[A, Iterator[T]]) -> Callable[A, AbstractContextManager[T]]:
    """Make a `contextlib.contextmanager` that says so where `async with` is tried."""
    make = contextlib.contextmanager(function)

    @functools.wraps(function)
    def made(*args: A.args, **kwargs: A.kwargs) -> AbstractContextManager[T]:
        return _Block(make(*args, **kwargs))

    return made


def async_block(function: Callable[A, AsyncIterator[T]]) -> Callable[A, AbstractAsyncContextManager[T]]:
    """Make a `contextlib.asynccontextmanager` that says so where `with` is tried."""
    make = contextlib.asynccontextmanager(function)

    @functools.wraps(function)
    def made(*args: A.args, **kwargs: A.kwargs) -> AbstractAsyncContextManager[T]:
        return _AsyncBlock(make(*args, **kwargs))

    return made


@contextlib.contextmanager
def acting(actors: list[Actor], actor: Actor, end: Callable[[], Any]) -> Iterator[None]:
    """Watch a plugin, and end it; where nothing else has failed, what went wrong with it is the failure."""
    actors.append(actor)
    try:
        yield
    except BaseException as error:
        _tell(error, actor)
        end()
        raise
    else:
        failure = actor.failure()
        end()
        if failure := failure or actor.failure():
            raise failure
    finally:
        actors.remove(actor)


@contextlib.asynccontextmanager
async def acting_async(actors: list[Actor], actor: Actor, end: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do what `acting` does, on an event loop."""
    actors.append(actor)
    try:
        yield
    except BaseException as error:
        _tell(error, actor)
        await end()
        raise
    else:
        failure = actor.failure()
        await end()
        if failure := failure or actor.failure():
            raise failure
    finally:
        actors.remove(actor)


def _tell(error: BaseException, actor: Actor) -> None:
    """Add to a failure of the test what the plugin has to say, unless it is about that already."""
    note = actor.note()
    if note and note not in str(error) and error is not actor.failure():
        error.add_note(note)
