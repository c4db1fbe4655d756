"""Logging states instead of repetitions."""

import logging

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


class StateLog:
    """Logs what changed: the same thing about the same subject is never said twice in a row.

    Args:
        logger: Where it is logged.
        resource: The resource that every record names.
    """

    def __init__(self, logger: logging.Logger, resource: str) -> None:
        self._logger = logger
        self._resource = resource
        self._said: dict[str, str] = {}

    def say(self, subject: str, level: int, message: str, *, error: BaseException | None = None) -> None:
        """Log a message, unless it is what was said of this subject last.

        Args:
            subject: What the message is about, such as `socket`.
            level: A level of the standard library's logging.
            message: One line.
            error: The fault of a plugin's code, whose traceback helps its author.
        """
        if self._said.get(subject) != message:
            self._said[subject] = message
            self.event(level, message, error=error)

    def forget(self, subject: str) -> None:
        """Let the next message about this subject be logged whatever it is."""
        self._said.pop(subject, None)

    def event(self, level: int, message: str, device: str = "", *, error: BaseException | None = None) -> None:
        """Log an event that stands for itself.

        Args:
            level: A level of the standard library's logging.
            message: One line.
            device: The device it is about, if it is about one.
            error: The fault of a plugin's code, whose traceback helps its author.
        """
        keys = {"resource": self._resource} | ({"device": device} if device else {})
        self._logger.log(level, message, extra=keys, exc_info=error)
