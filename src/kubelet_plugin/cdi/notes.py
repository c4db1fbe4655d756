"""What is noticed about a spec, before it is known in which line that is."""

from dataclasses import dataclass

from kubelet_plugin.cdi.lines import Keys


@dataclass(frozen=True, slots=True)
class Note:
    """Something noticed.

    Attributes:
        rule: The rule that it breaks.
        message: What it is.
        keys: What leads to it in the document; empty: it is about all of it, or its line is known already.
        runtimes: The known runtimes that it hurts.
        line: Its line, where that is known already.
        place: Its place as text, where that is known already.
    """

    rule: str
    message: str
    keys: Keys = ()
    runtimes: tuple[str, ...] = ()
    line: int | None = None
    place: str = ""
