"""The kubelet's log: its messages, with its keys, at its verbosities."""

import json
import logging
import threading
import time
from typing import Any

logger = logging.getLogger("kubelet_plugin.kubelet")

MOST_VERBOSE = 10


def level(verbosity: int) -> int:
    """The level of the standard library's logging that shows messages up to a verbosity."""
    return logging.INFO - min(verbosity, MOST_VERBOSE - 1)


def info(verbosity: int, message: str, /, **keys: object) -> None:
    """Log what happened. Verbosity 0 is always shown."""
    if logger.isEnabledFor(level(verbosity)):
        logger.info("%s", _line(message, keys), stacklevel=2)


def error(cause: object, message: str, /, **keys: object) -> None:
    """Log what went wrong, and why."""
    logger.error("%s", _line(message, ({"err": str(cause)} if cause else {}) | keys), stacklevel=2)


def _line(message: str, keys: dict[str, Any]) -> str:
    return " ".join([json.dumps(message, ensure_ascii=False), *(f"{key}={_shown(keys[key])}" for key in keys)])


def _shown(value: object) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, bytes):
        return f'"{repr(value)[2:-1]}"'
    if isinstance(value, set | frozenset):
        value = sorted(value)
    return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))


class Klog(logging.Formatter):
    """Lines as kubelets write them: severity, time, thread, source, message and keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        severity = "E" if record.levelno >= logging.ERROR else "W" if record.levelno >= logging.WARNING else "I"
        moment = time.strftime("%m%d %H:%M:%S", time.localtime(record.created))
        micro = int(record.created % 1 * 1_000_000)
        head = f"{severity}{moment}.{micro:06d} {threading.get_native_id():7d} {record.module}.py:{record.lineno}]"
        return f"{head} {record.getMessage()}" + (
            f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        )


def configure(verbosity: int) -> None:
    """Send the log to standard error, as a kubelet does.

    Args:
        verbosity: How much is shown, from 0 to 10.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(Klog())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logger.setLevel(level(verbosity))
