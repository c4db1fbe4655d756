"""Pages over HTTP, asked for by foreign clients."""

import asyncio
import contextlib
import gc
import http.client
import logging
import os
import select
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.listen import Listener, Page, TcpAddress, UnixAddress, parse_address
from tests.asynchronous import asynchronous

MUCH = b"#" * (1 << 22)  # far more than the kernel buffers for a unix socket
SOON = 0.05

Pages = Mapping[str, Callable[[], Page | Awaitable[Page]]]


def hello() -> Page:
    return Page("text/plain", b"hello\n")


async def later() -> Page:
    await asyncio.sleep(0)
    return Page("application/json", b"{}", 203, (("X-Age", "1"),))


def broken() -> Page:
    raise RuntimeError("a secret\nof two lines")


async def never() -> Page:
    await asyncio.Event().wait()
    raise AssertionError


PAGES: Pages = {"/hello": hello, "/later": later, "/broken": broken, "/never": never}


@contextlib.asynccontextmanager
async def listening(
    address: str = "127.0.0.1:0", pages: Pages = PAGES, *, deadline: float = 30, most_connections: int = 8
) -> AsyncIterator[Listener]:
    listener = Listener(address, pages, deadline=deadline, most_connections=most_connections)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.close()


async def ask(
    listener: Listener, *requests: tuple[str, str], body: bytes | None = None
) -> list[tuple[http.client.HTTPResponse, bytes]]:
    """Send requests on one connection of the standard library's client, which never opens another."""

    def run() -> list[tuple[http.client.HTTPResponse, bytes]]:
        client = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=10)
        client.connect()
        client.auto_open = 0
        answers = []
        with contextlib.closing(client):
            for method, target in requests:
                client.request(method, target, body)
                answer = client.getresponse()
                answers.append((answer, answer.read()))
        return answers

    return await asyncio.to_thread(run)


async def exchange(listener: Listener, sent: bytes) -> bytes:
    """Send bytes; return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


# Addresses.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:10255", TcpAddress("127.0.0.1", 10255)),
        ("[::1]:0", TcpAddress("::1", 0)),
        (":8080", TcpAddress("", 8080)),
        ("localhost:8080", TcpAddress("127.0.0.1", 8080)),
        ("unix:/run/a.sock", UnixAddress("/run/a.sock")),
        ("unix:///run/a.sock", UnixAddress("/run/a.sock")),
    ],
)
def test_an_address_is_read(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["127.0.0.1:10255", "[::1]:0", ":8080", "unix:/run/a.sock"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1", "it has no port"),
        ("127.0.0.1:", "a port is a number up to 65535"),
        ("127.0.0.1:65536", "a port is a number up to 65535"),
        ("127.0.0.1:-1", "a port is a number up to 65535"),
        ("127.0.0.1:http", "a port is a number up to 65535"),
        ("::1:8080", "an IPv6 address stands in brackets"),
        ("[::1:8080", "an IPv6 address stands in brackets"),
        ("[]:8080", "'' is no IP address"),
        ("[127.0.0.1]:8080", "'127.0.0.1' is no IP address"),
        ("127.0.0.1]:8080", "'127.0.0.1]' is no IP address"),
        ("example.com:8080", "'example.com' is no IP address"),
        ("unix:", "the path of a unix socket is absolute and ends in a file name"),
        ("unix:a.sock", "the path of a unix socket is absolute and ends in a file name"),
        ("unix:/run/", "the path of a unix socket is absolute and ends in a file name"),
        (f"unix:/{'a' * 107}", "the path of a unix socket has at most 107 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason_and_an_example(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Listener(text, PAGES)

    assert str(caught.value).startswith(f"cannot listen on {text!r}: {why}; give an address such as 127.0.0.1:10255")


# Answers.


@asynchronous
async def test_a_page_is_served() -> None:
    async with listening() as listener:
        [(answer, body)] = await ask(listener, ("GET", "/hello"))

    assert (answer.status, answer.reason, body) == (200, "OK", b"hello\n")
    assert (answer.headers["Content-Type"], answer.headers["Content-Length"]) == ("text/plain", "6")


@asynchronous
async def test_a_page_may_be_a_coroutine_function_with_a_status_and_headers_of_its_own() -> None:
    async with listening() as listener:
        [(answer, body)] = await ask(listener, ("GET", "/later"))

    assert (answer.status, answer.headers["X-Age"], body) == (203, "1", b"{}")


@asynchronous
async def test_a_page_is_made_anew_for_each_request() -> None:
    numbers = iter(range(10))
    async with listening(pages={"/": lambda: Page("text/plain", b"%d" % next(numbers))}) as listener:
        answers = await ask(listener, ("GET", "/"), ("GET", "/"))

    assert [body for _, body in answers] == [b"0", b"1"]


@asynchronous
async def test_the_query_is_ignored() -> None:
    async with listening() as listener:
        [(answer, _)] = await ask(listener, ("GET", "/hello?pretty=http://x/y"))

    assert answer.status == 200


@asynchronous
async def test_the_target_may_be_a_whole_url() -> None:
    async with listening() as listener:
        [(answer, _)] = await ask(listener, ("GET", "http://node:10255/hello?a"))

    assert answer.status == 200


@asynchronous
async def test_head_is_answered_as_get_without_the_body() -> None:
    async with listening() as listener:
        (head, nothing), (get, _) = await ask(listener, ("HEAD", "/hello"), ("GET", "/hello"))

    assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", "6")
    assert head.headers.keys() == get.headers.keys()


@asynchronous
async def test_an_unknown_path_is_answered_with_the_known_ones() -> None:
    async with listening() as listener:
        [(answer, body)] = await ask(listener, ("GET", "/secret"))

    assert (answer.status, body) == (404, b"there is nothing here; there are /broken, /hello, /later, /never\n")


@asynchronous
async def test_other_methods_are_refused_with_the_allowed_ones() -> None:
    async with listening() as listener:
        [(answer, _)] = await ask(listener, ("DELETE", "/hello"))

    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@asynchronous
async def test_a_body_that_is_not_read_does_not_lose_the_answer() -> None:
    async with listening() as listener:
        [(answer, _)] = await ask(listener, ("POST", "/hello"), body=MUCH)

    assert (answer.status, answer.headers["Connection"]) == (405, "close")


@asynchronous
async def test_a_page_that_raises_is_answered_with_one_line_that_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening() as listener:
        [(answer, body)] = await ask(listener, ("GET", "/broken"))

    assert (answer.status, body) == (500, b"this page failed; the log says why\n")


def test_a_page_that_raises_is_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    @asynchronous
    async def run() -> None:
        async with listening() as listener:
            await ask(listener, ("GET", "/broken"))

    run()
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "the page /broken failed")
    assert record.exc_info
    assert record.exc_info[0] is RuntimeError


@asynchronous
async def test_a_page_that_is_not_made_in_time_has_failed() -> None:
    async with listening(deadline=SOON) as listener:
        [(answer, _)] = await ask(listener, ("GET", "/never"))

    assert answer.status == 500


# Connections.


@asynchronous
async def test_a_connection_goes_on_after_each_answer() -> None:
    async with listening() as listener:
        answers = await ask(
            listener, ("GET", "/hello"), ("HEAD", "/no"), ("PUT", "/"), ("GET", "/broken"), ("GET", "/later")
        )

    assert [answer.status for answer, _ in answers] == [200, 404, 405, 500, 203]


@asynchronous
async def test_pipelined_requests_are_answered_in_order() -> None:
    first = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /later HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with listening() as listener:
        answer = await exchange(listener, first + last)

    assert [answer.index(part) for part in (b"200 OK", b"hello\n", b"203 ", b"{}")] == sorted(
        answer.index(part) for part in (b"200 OK", b"hello\n", b"203 ", b"{}")
    )


@pytest.mark.parametrize("version", ["1.0", "1.1\r\nConnection: close"])
@asynchronous
async def test_a_connection_ends_when_the_client_wants_it(version: str) -> None:
    async with listening() as listener:
        answer = await exchange(listener, f"GET /hello HTTP/{version}\r\nHost: a\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /hello\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\nGET\r\n\r\n",
    ],
)
@asynchronous
async def test_a_malformed_request_is_answered_with_400_and_the_connection_closed(sent: bytes) -> None:
    async with listening() as listener:
        answer = await exchange(listener, sent)

    assert b"HTTP/1.1 400 Bad Request\r\n" in answer
    assert b"\r\nConnection: close\r\n" in answer


@asynchronous
async def test_an_endless_header_is_refused() -> None:
    async with listening() as listener:
        answer = await exchange(listener, b"GET /hello HTTP/1.1\r\nX: " + b"x" * 100_000)

    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [b"", b"GET /hello HTT", b"GET /hello HTTP/1.1\r\nHost: a\r\nX:"])
@asynchronous
async def test_a_client_that_goes_silent_before_its_request_is_complete_is_dropped(sent: bytes) -> None:
    async with listening(deadline=SOON) as listener:
        assert await exchange(listener, sent) == b""


@asynchronous
async def test_a_client_that_goes_silent_after_its_answer_is_dropped() -> None:
    async with listening(deadline=SOON) as listener:
        answer = await exchange(listener, b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")

    assert answer.endswith(b"hello\n")


@asynchronous
async def test_a_client_that_does_not_read_its_answer_is_dropped(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    async with listening(address, {"/": lambda: Page("text/plain", MUCH)}, deadline=SOON):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/s")
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            hung_up = select.poll()
            hung_up.register(client, 0)
            assert await asyncio.to_thread(hung_up.poll, 10_000)


@pytest.mark.parametrize("size", [1 << 22, 5000])
@asynchronous
async def test_a_client_that_has_no_more_to_send_gets_all_answers(tmp_path: Path, size: int) -> None:
    count = len(MUCH) // size
    async with listening(f"unix:{tmp_path}/s", {"/": lambda: Page("text/plain", MUCH[:size])}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        writer.write_eof()
        answers = await reader.read()
        writer.close()

    assert answers.count(b"#") == count * size


@asynchronous
async def test_a_client_that_leaves_before_its_answer_disturbs_nobody() -> None:
    async with listening(pages={"/": lambda: Page("text/plain", MUCH), "/hello": hello}) as listener:
        with socket.create_connection(("127.0.0.1", listener.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        [(answer, _)] = await ask(listener, ("GET", "/hello"))

    assert answer.status == 200


@asynchronous
async def test_a_connection_too_many_is_refused_until_another_one_ends() -> None:
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with listening(most_connections=1) as listener:
        _, first = await asyncio.open_connection("127.0.0.1", listener.port)
        refused = await exchange(listener, b"")
        first.close()
        for _ in range(100):  # the end takes a while to be noticed
            if (answer := await exchange(listener, request)).startswith(b"HTTP/1.1 200 "):
                break

    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.endswith(b"hello\n")


@pytest.mark.parametrize("turns", range(6))
@asynchronous
async def test_closing_cuts_off_even_a_connection_that_is_still_being_accepted(turns: int) -> None:
    with socket.socket() as client:
        async with listening() as listener:
            client.connect(("127.0.0.1", listener.port))
            for _ in range(turns):  # of the event loop
                await asyncio.sleep(0)
        client.setblocking(False)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 10) == b""
    gc.collect()  # a socket that nobody closed would warn


@asynchronous
async def test_closing_cuts_connections_off() -> None:
    async with listening() as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"hello\n")
        await listener.close()
        assert await reader.read() == b""
        writer.close()


# Sockets.


@asynchronous
async def test_the_port_that_was_taken_for_port_0_is_known() -> None:
    async with listening() as listener:
        assert listener.port > 0
        assert listener.address == f"127.0.0.1:{listener.port}"


@asynchronous
async def test_without_a_host_every_address_answers() -> None:
    async with listening(":0") as listener:
        [(answer, _)] = await ask(listener, ("GET", "/hello"))

    assert answer.status == 200


@asynchronous
async def test_an_address_of_ipv6_answers() -> None:
    if not Path("/proc/net/if_inet6").exists() or "lo" not in Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no ::1")
    async with listening("[::1]:0") as listener:
        reader, writer = await asyncio.open_connection("::1", listener.port)
        writer.write(b"GET /hello HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert answer.endswith(b"hello\n")


async def refusal(address: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await Listener(address, PAGES).start()
    return str(caught.value)


@asynchronous
async def test_a_port_in_use_is_refused() -> None:
    async with listening() as listener:
        text = await refusal(listener.address)

    assert text == (
        f"cannot listen on {listener.address}: Address already in use; "
        "another process answers there: end it (`ss -lpn` names it), or listen elsewhere"
    )


@asynchronous
async def test_an_address_that_is_not_this_machines_is_refused() -> None:
    assert await refusal("192.0.2.1:0") == (
        "cannot listen on 192.0.2.1:0: Cannot assign requested address; "
        "give an address that `ip address` shows, or leave the host out for all of them"
    )


@asynchronous
async def test_a_unix_socket_serves_and_is_open_to_this_user_alone(tmp_path: Path) -> None:
    async with listening(f"unix:{tmp_path}/s"):
        mode = stat.S_IMODE((tmp_path / "s").stat().st_mode)
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"GET /hello HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert (mode, answer[-6:]) == (0o600, b"hello\n")


@asynchronous
async def test_the_file_of_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    async with listening(f"unix:{tmp_path}/s"):
        pass

    assert os.listdir(tmp_path) == []


@asynchronous
async def test_a_file_that_took_the_place_of_the_unix_socket_is_left_alone(tmp_path: Path) -> None:
    async with listening(f"unix:{tmp_path}/s"):
        (tmp_path / "s").unlink()
        (tmp_path / "s").write_text("somebody else's")

    assert (tmp_path / "s").read_text() == "somebody else's"


@asynchronous
async def test_a_unix_socket_that_nobody_answers_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    async with listening(f"unix:{tmp_path}/s"):
        _, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.close()


@asynchronous
async def test_a_unix_socket_that_somebody_answers_is_refused(tmp_path: Path) -> None:
    async with listening(f"unix:{tmp_path}/s"):
        assert "Address already in use; another process answers there" in await refusal(f"unix:{tmp_path}/s")
        assert (tmp_path / "s").exists()


@asynchronous
async def test_a_file_in_the_place_of_the_unix_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")

    assert "File exists; this file is no socket: remove it" in await refusal(f"unix:{tmp_path}/s")
    assert (tmp_path / "s").read_text() == "precious"


@pytest.mark.parametrize("place", ["absent/s", "file/s"])
@asynchronous
async def test_a_unix_socket_without_its_directory_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    text = await refusal(f"unix:{tmp_path}/{place}")

    assert "make its directory" in text
