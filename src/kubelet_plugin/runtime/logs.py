"""Log records as one line each, for people or for machines."""

import json
import logging
import re
import select
import time
from typing import TextIO

_KEYS = ("resource", "device")
_PLAIN = re.compile(r"[\w./:@%+-]+")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        keys = "".join(f" {key}={_quoted(getattr(record, key))}" for key in _KEYS if getattr(record, key, ""))
        message = record.getMessage().replace("\n", "\\n")
        line = f"{_time(record)} {record.levelname.lower():7} {message}{keys}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        event |= {key: getattr(record, key) for key in _KEYS if getattr(record, key, "")}
        event["logger"] = record.name
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to standard error as long as somebody reads it: a log that nobody takes must not stop the daemon."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not _is_writable(self.stream):
            self._dropped += 1
            return
        if self._dropped:
            self.stream.write(f"{self._dropped} log lines are missing here: nobody read them in time\n")
            self._dropped = 0
        super().emit(record)


def _is_writable(stream: TextIO) -> bool:
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):  # no descriptor to ask about
        return True


def configure(style: str, level: str) -> None:
    """Send log records to standard error.

    Args:
        style: `text` or `json`.
        level: The least level that is shown: `debug`, `info`, `warning` or `error`.
    """
    handler = _Stderr()
    handler.setFormatter(_Json() if style == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level != "debug":
        for library in ("grpclib", "asyncio", "hpack"):
            logging.getLogger(library).setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
