"""The root of this library's errors, and those that a caller can tell apart."""


class Error(Exception):
    """Something that the Container Device Interface does not allow, or that could not be read or written.

    The message is for people: it names what is wrong, the rule, and, where there is one, the way out.
    """


class ParseError(Error):
    """A text is no CDI spec.

    Attributes:
        reason: What is wrong.
        path: The file, as it was given; empty: none was.
        line: Where in the text, from 1 on; None: not known.
        place: Where in the document, such as `devices[0].containerEdits.env[1]`; empty: all of it.
    """

    def __init__(self, reason: str, *, path: str = "", line: int | None = None, place: str = "") -> None:
        self.reason, self.path, self.line, self.place = reason, path, line, place
        super().__init__(reason)

    def __str__(self) -> str:
        line = f":{self.line}" if self.path else f"line {self.line}"
        where = self.path + (line if self.line else "")
        return ": ".join(filter(None, (where, self.place, self.reason)))


class UnresolvableError(Error):
    """Devices that were asked for are in no valid spec, or in several of one directory.

    Attributes:
        names: The names as they were given, in their order.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"unresolvable CDI devices {', '.join(names)}")
