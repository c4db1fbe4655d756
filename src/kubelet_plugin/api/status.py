"""How gRPC writes the outcome of a call into HTTP/2 headers.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import re

from kubelet_plugin.errors import RpcError

_NAMES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
_OF_HTTP = {
    b"400": "INTERNAL",
    b"401": "UNAUTHENTICATED",
    b"403": "PERMISSION_DENIED",
    b"404": "UNIMPLEMENTED",
    b"429": "UNAVAILABLE",
    b"502": "UNAVAILABLE",
    b"503": "UNAVAILABLE",
    b"504": "UNAVAILABLE",
}
_OF_RESET = {0: "INTERNAL", 7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}

_QUOTED = {byte: f"%{byte:02X}" for byte in range(256)} | {
    byte: chr(byte) for byte in range(0x20, 0x7F) if chr(byte) != "%"
}
_QUOTE = re.compile(rb"%([0-9A-Fa-f]{2})")
_MESSAGE_LIMIT = 4096  # bytes of the header; peers bound all headers together, some to 8 KiB


def headers(code: str, message: str) -> list[tuple[str, str]]:
    """Return the headers that say how a call failed. A long message is cut; a code of no failure becomes UNKNOWN."""
    number = _NAMES.index(code if code in _NAMES[1:] else "UNKNOWN")
    return [("grpc-status", str(number)), ("grpc-message", _quoted(message))]


def _quoted(message: str) -> str:
    """Percent-encode as much of a message as fits; urllib.parse would do, for half a megabyte of memory."""
    parts: list[str] = []
    left = _MESSAGE_LIMIT
    for character in message[:_MESSAGE_LIMIT]:
        part = "".join(_QUOTED[byte] for byte in character.encode(errors="replace"))
        left -= len(part)
        if left < 0:
            break
        parts.append(part)
    return "".join(parts)


def _unquoted(value: bytes) -> str:
    return _text(_QUOTE.sub(lambda match: bytes([int(match[1], 16)]), value))


def check_http(headers: dict[bytes, bytes]) -> None:
    """Check that a response is one of gRPC.

    Raises:
        RpcError: It is some other server's, or a proxy's.
    """
    http, content_type = headers.get(b":status", b""), headers.get(b"content-type", b"")
    if http != b"200":
        raise RpcError(_OF_HTTP.get(http, "UNKNOWN"), f"the peer answered with HTTP status {_text(http) or 'none'}")
    if not content_type.startswith(b"application/grpc"):
        raise RpcError("UNKNOWN", f"the peer answered with content-type {_text(content_type)!r}, which is not gRPC")


def check(trailers: dict[bytes, bytes]) -> None:
    """Check that a call succeeded.

    Raises:
        RpcError: It did not.
    """
    value = _text(trailers.get(b"grpc-status", b"none"))
    if value == "0":
        return
    message = _unquoted(trailers.get(b"grpc-message", b""))
    if not (value.isascii() and value.isdigit() and int(value) < len(_NAMES)):
        raise RpcError("UNKNOWN", f"the peer answered with grpc-status {value}: {message}")
    raise RpcError(_NAMES[int(value)], message)


def of_reset(code: int | None, reason: str) -> RpcError:
    """Return the error for a call whose stream was reset with an HTTP/2 error code; None for a lost connection."""
    return RpcError("UNAVAILABLE" if code is None else _OF_RESET.get(code, "INTERNAL"), reason)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
