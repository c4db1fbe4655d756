"""What pytest finds: the fixture `kubelet` and its marker. Nothing is imported for them before a test asks for one."""

import contextlib
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from kubelet_plugin.errors import Error

if TYPE_CHECKING:
    from kubelet_plugin.testing.asynchronous import AsyncKubelet
    from kubelet_plugin.testing.synchronous import Kubelet

K = TypeVar("K")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "kubelet(profile='1.31', grace=300, ...): how the kubelet of the fixture `kubelet` behaves; "
        "kubelet_plugin.testing.Options has all options",
    )


@pytest.fixture
def kubelet(request: pytest.FixtureRequest) -> "Iterator[Kubelet | AsyncKubelet]":
    """A running kubelet to test device plugins against, a `kubelet_plugin.testing.Kubelet`.

    In a coroutine test function it is an `AsyncKubelet`, on the event loop of the test.
    """
    with _quiet("asyncio"), _quiet("hpack"):
        if inspect.iscoroutinefunction(request.function):
            yield from _asynchronous(request.node)
        else:
            yield from _synchronous(request.node)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger from what it says to its own developers alone, which `--log-level debug` would drown in."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(max(level, logging.INFO))
    try:
        yield
    finally:
        logger.setLevel(level)


def _synchronous(item: pytest.Item) -> "Iterator[Kubelet]":
    from kubelet_plugin.testing.synchronous import Kubelet  # noqa: PLC0415 -- see above

    with _made(item, Kubelet) as kubelet:
        yield kubelet


def _asynchronous(item: pytest.Function) -> "Iterator[AsyncKubelet]":
    """Let the test itself start and end the kubelet: a fixture has no say in when an event loop runs, or which."""
    from kubelet_plugin.testing.asynchronous import AsyncKubelet  # noqa: PLC0415 -- see above

    kubelet = _made(item, AsyncKubelet)
    test: Callable[..., Coroutine[Any, Any, object]] = item.obj

    async def within(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        async with kubelet:
            await test(*args, **kwargs)

    item.obj = within
    try:
        yield kubelet
    finally:
        item.obj = test
        kubelet._abandon()  # noqa: SLF001 -- where an asynchronous fixture has started it, and then the test never ran


def _made(item: pytest.Item, kind: Callable[..., K]) -> K:
    options: dict[str, object] = {}
    for marker in item.iter_markers("kubelet"):  # the closest first
        if marker.args:
            pytest.fail(f"@pytest.mark.kubelet takes options by name alone, not {marker.args[0]!r}", pytrace=False)
        options = {**marker.kwargs, **options}
    try:
        return kind(**options)
    except (Error, ValueError) as error:
        fault = f"@pytest.mark.kubelet: {error}"
    pytest.fail(fault, pytrace=False)
