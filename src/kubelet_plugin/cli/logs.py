"""Log records as one line each, for people or for machines."""

import json
import logging
import time

_KEYS = ("resource", "device")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        keys = "".join(f" {key}={_quoted(getattr(record, key))}" for key in _KEYS if getattr(record, key, ""))
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}{keys}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        event |= {key: getattr(record, key) for key in _KEYS if getattr(record, key, "")}
        event["logger"] = record.name
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def configure(style: str, level: str) -> None:
    """Send log records to standard error.

    Args:
        style: `text` or `json`.
        level: The least level that is shown: `debug`, `info`, `warning` or `error`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if style == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level != "debug":
        for library in ("grpclib", "asyncio", "hpack"):
            logging.getLogger(library).setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if " " in value or '"' in value or not value else value
