"""HTTP for `--listen`: a handful of pages, served on the event loop that is there anyway.

HTTP/1.1 by h11 (RFC 9112), with GET and HEAD alone, and neither TLS nor authentication: whoever reaches the address may
read the pages.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from kubelet_plugin import liveness
from kubelet_plugin.errors import ConfigurationError

logger = logging.getLogger("kubelet_plugin.listen")

_EXAMPLES = "127.0.0.1:10255, [::1]:10255, :10255 (every address of this machine) or unix:/run/kubelet-plugin.sock"
_PORTS = range(1 << 16)
_PATH_LIMIT = 107  # sun_path, without its terminator
_CHUNK = 1 << 16
_FAREWELL = 1.0  # seconds for a client to read our last answer
_IN_USE = "another process answers there: end it (`ss -lpn` names it), or listen elsewhere"
_TCP_ADVICE = {
    errno.EADDRINUSE: _IN_USE,
    errno.EADDRNOTAVAIL: "give an address that `ip address` shows, or leave the host out for all of them",
    errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE: give a greater one",
}
_UNIX_ADVICE = {
    errno.EADDRINUSE: _IN_USE,
    errno.EEXIST: "this file is no socket: remove it, or listen elsewhere",
    errno.ENOENT: "make its directory, or listen elsewhere",
    errno.ENOTDIR: "make its directory, or listen elsewhere",
    errno.EACCES: "run as a user who may write in its directory, or listen elsewhere",
}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes:
        content_type: The media type of the body.
        body: The body.
        status: The status code, one that `http.HTTPStatus` knows.
        headers: Further header fields, names and values.
    """

    content_type: str
    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port.

    Attributes:
        host: An IP address; empty for every address of this machine.
        port: The port; 0 for any that is free.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as `parse_address` reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket.

    Attributes:
        path: Where its file is.
    """

    path: str

    def __str__(self) -> str:
        """Return it as `parse_address` reads it."""
        return f"unix:{self.path}"


def parse_address(text: str) -> TcpAddress | UnixAddress:
    """Read where to listen: `127.0.0.1:10255`, `[::1]:0`, `:8080`, `localhost:8080` or `unix:/path.sock`.

    No name is looked up: `localhost` stands for 127.0.0.1, and any other host is an IP address.

    Raises:
        ConfigurationError: It is none of these.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or path.endswith("/"):
            raise _no_address(text, "the path of a unix socket is absolute and ends in a file name")
        if len(os.fsencode(path)) > _PATH_LIMIT:
            raise _no_address(text, f"the path of a unix socket has at most {_PATH_LIMIT} bytes")
        return UnixAddress(path)
    host, colon, port = text.rpartition(":")
    if not colon:
        raise _no_address(text, "it has no port")
    if not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
        raise _no_address(text, f"a port is a number up to {_PORTS[-1]}")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not is_bracketed:
        raise _no_address(text, "an IPv6 address stands in brackets")
    host = "127.0.0.1" if host == "localhost" else host[1:-1] if is_bracketed else host
    try:
        if host or is_bracketed:
            socket.inet_pton(socket.AF_INET6 if is_bracketed else socket.AF_INET, host)
    except OSError:
        raise _no_address(text, f"{host!r} is no IP address") from None
    return TcpAddress(host, int(port))


def _no_address(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"cannot listen on {text!r}: {why}; give an address such as {_EXAMPLES}")


class Listener:
    """Serves pages at an address.

    The query of a request is ignored. A page that raises, or is not there within the deadline, is answered with status
    500 and logged. Without a connection nothing wakes up.

    Args:
        address: Where, as `parse_address` reads it. A unix socket is open to this user alone.
        pages: What makes each page, by path, anew for each request: a function or a coroutine function.
        deadline: How many seconds a client may take to send a request or to read an answer, and a page to be made. A
            connection that has been silent for so long is closed.
        most_connections: How many connections may be open; those above are answered with status 503 and closed.

    Raises:
        ConfigurationError: The address is none.
    """

    def __init__(
        self,
        address: str,
        pages: Mapping[str, Callable[[], Page | Awaitable[Page]]],
        *,
        deadline: float = 30.0,
        most_connections: int = 64,
    ) -> None:
        self._address = parse_address(address)
        self._pages = pages
        self._deadline = deadline
        self._most_connections = most_connections
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where it listens; once started, with the port that was taken for port 0."""
        return str(self._address)

    @property
    def port(self) -> int:
        """The port alone; 0 for a unix socket."""
        return self._address.port if isinstance(self._address, TcpAddress) else 0

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            ConfigurationError: The address cannot be had; the message says why and what to do.
        """
        listening = _bound(self._address)
        if isinstance(self._address, UnixAddress):
            self._inode = _inode(self._address.path)
        else:
            self._address = TcpAddress(*listening.getsockname()[:2])
        self._server = await asyncio.start_server(self._connected, sock=listening, start_serving=False)
        await self._server.start_serving()

    async def close(self) -> None:
        """Stop at once: connections are cut off, and the file of a unix socket is removed if it is still ours."""
        if isinstance(self._address, UnixAddress) and self._inode is not None:
            with contextlib.suppress(OSError):
                if _inode(self._address.path) == self._inode:
                    os.unlink(self._address.path)
        if self._server is not None:
            server, self._server = self._server, None
            for listening in server.sockets:
                asyncio.get_running_loop().remove_reader(listening)
            await asyncio.sleep(0)  # asyncio loses a connection that it has accepted but has no transport of yet
            server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        if self._server is None:  # it was accepted just before the end
            writer.transport.abort()
        elif len(self._connections) >= self._most_connections:
            connection.write(_text(503, f"{self._most_connections} connections are open already"))
            writer.close()
        else:
            task = asyncio.get_running_loop().create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(lambda _: writer.transport.abort())  # a task may end before it began

    async def _serve(self, connection: "_Connection") -> None:
        """Answer the requests of a connection, one after the other."""
        with contextlib.suppress(OSError):  # it is silent (TimeoutError), slow, or gone
            while connection.goes_on:
                async with asyncio.timeout(self._deadline):
                    request = await connection.request()
                if request is None:
                    return
                answer = request if isinstance(request, Page) else await self._answer(request)
                async with asyncio.timeout(self._deadline):
                    connection.write(answer)
                    await connection.flush()
            async with asyncio.timeout(_FAREWELL):
                await connection.linger()

    async def _answer(self, request: "_Request") -> Page:
        if request.method not in ("GET", "HEAD"):
            return _text(405, "only GET and HEAD are served", ("Allow", "GET, HEAD"))
        path = request.path
        if path not in self._pages:
            return _text(404, f"there is nothing here; there are {', '.join(sorted(self._pages))}")
        try:
            async with asyncio.timeout(self._deadline):
                page = self._pages[path]()
                return page if isinstance(page, Page) else await page
        except Exception:
            logger.exception("the page %s failed", path)
            return _text(500, "this page failed; the log says why")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str

    @property
    def path(self) -> str:
        """The path of the target, which may be a whole URL (RFC 9112, section 3.2.2)."""
        scheme, separator, rest = self.target.partition("://")
        target = f"/{rest.partition('/')[2]}" if separator and "/" not in scheme else self.target
        return target.partition("?")[0]


class _Connection:
    """One client's connection: requests in, answers out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11  # noqa: PLC0415 -- only who listens pays for it

        self._h11 = h11
        self._protocol = h11.Connection(h11.SERVER)
        self._reader = reader
        self._writer = writer
        self._writer.transport.set_write_buffer_limits(0)  # flushed is what has left this process
        self._body_wanted = True

    @property
    def goes_on(self) -> bool:
        """Whether another request may follow."""
        return self._protocol.our_state is self._h11.IDLE

    async def request(self) -> _Request | Page | None:
        """Wait for a request; where it is malformed, return the answer to it; at the connection's end, None."""
        self._body_wanted = True
        try:
            while (event := self._protocol.next_event()) is self._h11.NEED_DATA:
                self._protocol.receive_data(await self._reader.read(_CHUNK))
            if not isinstance(event, self._h11.Request):
                return None
            self._body_wanted = event.method != b"HEAD"
            self._protocol.next_event()  # where no body follows, the message ends here
        except self._h11.RemoteProtocolError as error:
            return _text(error.error_status_hint, str(error))
        return _Request(event.method.decode(), event.target.decode())

    def write(self, page: Page) -> None:
        """Send an answer; it is the last one where the request is not known to have ended."""
        headers = [
            ("Date", _date()),
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.body))),
            *page.headers,
        ]
        if self._protocol.their_state is not self._h11.DONE:
            headers.append(("Connection", "close"))
        events = [
            self._h11.Response(status_code=page.status, headers=headers, reason=HTTPStatus(page.status).phrase),
            *([self._h11.Data(page.body)] if self._body_wanted else []),
            self._h11.EndOfMessage(),
        ]
        # Not `writelines`, of which Python 3.12.1 and 3.13.0 do not tell `drain`.
        self._writer.write(b"".join(self._protocol.send(event) or b"" for event in events))
        if self._protocol.our_state is self._protocol.their_state is self._h11.DONE:
            self._protocol.start_next_cycle()

    async def flush(self) -> None:
        """Wait until the kernel has taken all that was written."""
        await self._writer.drain()

    async def linger(self) -> None:
        """Let the client read the last answer before it learns that nothing more is read (RFC 9112, section 9.6)."""
        self._writer.write_eof()
        while await self._reader.read(_CHUNK):
            pass


def _text(status: int, text: str, *headers: tuple[str, str]) -> Page:
    return Page("text/plain; charset=utf-8", f"{text}\n".encode(), status, headers)


def _date() -> str:
    """Return the time as RFC 9110, section 5.6.7, has it, whatever the locale is."""
    now = time.gmtime()
    day = f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} {now.tm_year}"
    return f"{day} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"


def _bound(address: TcpAddress | UnixAddress) -> socket.socket:
    try:
        return _unix_socket(address.path) if isinstance(address, UnixAddress) else _tcp_socket(address)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        advice = (_UNIX_ADVICE if isinstance(address, UnixAddress) else _TCP_ADVICE).get(error.errno or 0, "")
        raise ConfigurationError(f"cannot listen on {address}: {why}; {advice or 'listen elsewhere'}") from error


def _tcp_socket(address: TcpAddress) -> socket.socket:
    everywhere = not address.host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if everywhere or ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, dualstack_ipv6=everywhere)


def _unix_socket(path: str) -> socket.socket:
    _remove_if_dead(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(path)
        listening.listen()
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_if_dead(path: str) -> None:
    """Remove a socket's file that nobody answers."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    with contextlib.suppress(FileNotFoundError):  # it is gone by now
        if not liveness.is_answered(path):
            os.unlink(path)


def _inode(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
