"""A registry for tests: enough of the OCI distribution API to be pushed to."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from deploy.image.cache import digest


class FakeRegistry:
    """A registry on loopback, for the time of a `with` block; what it holds can be read."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.written: list[str] = []
        self.uploads = 0
        self.uploads_to = ""
        self.relative = False
        self.authorizations: list[str] = []
        self.token_asked_by = ""
        self.token_asked_for: dict[str, list[str]] = {}
        self.demanded, self.challenge, self.token = "", "", ""
        registry = self

        class Handler(_Handler):
            state = registry

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def demands(self, authorization: str, challenge: str, token: str = "") -> None:
        """From now on it takes nothing without this header."""
        self.demanded, self.challenge, self.token = authorization, challenge, token

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: FakeRegistry

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_HEAD(self) -> None:
        if self._admitted():
            self._answer(200 if urlsplit(self.path).path.rpartition("/")[2] in self.state.blobs else 404)

    def do_GET(self) -> None:
        self.state.token_asked_by = self.headers["Authorization"] or ""
        self.state.token_asked_for = parse_qs(urlsplit(self.path).query)
        self._answer(200, body=b'{"token": "%s"}' % self.state.token.encode())

    def do_POST(self) -> None:
        if self._admitted():
            place = f"{self.path}{self.state.uploads}?state=x"
            at = self.state.uploads_to or f"http://{self.state.address}"
            self._answer(202, {"Location": place if self.state.relative else at + place})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.state.authorizations.append(self.headers["Authorization"] or "")
        if not self._admitted():
            return
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        repository, _, rest = path.removeprefix("/v2/").partition("/manifests/")
        self.state.written.append(path)
        if rest:
            self.state.manifests[repository, rest] = body
            self._answer(201)
        elif query.get("digest") == [f"sha256:{digest(body)}"] and query.get("state") == ["x"]:
            self.state.uploads += 1
            self.state.blobs[query["digest"][0]] = body
            self._answer(201)
        else:
            self._answer(400)

    def _admitted(self) -> bool:
        if self.state.demanded in {"", self.headers["Authorization"]}:
            return True
        self._answer(401, {"WWW-Authenticate": self.state.challenge})
        return False

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
