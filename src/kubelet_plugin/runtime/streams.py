"""The ListAndWatch streams that are open."""

from collections.abc import Callable


class Streams:
    """The open ListAndWatch streams, in the order they were opened.

    Args:
        ended: Called when one ends, for whatever reason.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._open: set[int] = set()
        self._serial = 0

    @property
    def any_open(self) -> bool:
        """Whether there is an open stream."""
        return bool(self._open)

    @property
    def serial(self) -> int:
        """The number of the stream that was opened last."""
        return self._serial

    def open(self) -> int:
        """Note that a stream was opened, and return its number."""
        self._serial += 1
        self._open.add(self._serial)
        return self._serial

    def end(self, stream: int) -> None:
        """Note that a stream ended."""
        self._open.discard(stream)
        self._ended()

    def are_open(self, first: int, last: int) -> bool:
        """Tell whether the streams with these numbers, and those between, all go on."""
        return self._open.issuperset(range(first, last + 1))
