"""A registry, as far as pushing to it goes: the OCI distribution API over HTTP(S)."""

import base64
import http.client
import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urljoin, urlsplit

from deploy.image.errors import ImageError
from deploy.image.oci import INDEX, Archive

_TIMEOUT = 60  # seconds without a byte
_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|\[::1\]")
_TOLD = 300  # bytes of a registry's answer that are shown


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who pushes."""

    user: str
    password: str

    @property
    def basic(self) -> str:
        """The header for basic authentication."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Registry:
    """One repository of a registry.

    Attributes:
        url: The registry's address.

    Args:
        url: The registry's, such as https://registry.example.com.
        repository: The repository's name in it.
        credentials: Who pushes, where the registry asks.
    """

    def __init__(self, url: str, repository: str, credentials: Credentials | None = None) -> None:
        self.url = url
        self._repository = repository
        self._credentials = credentials
        self._authorization = ""

    @classmethod
    def of(cls, name: str, credentials: Credentials | None = None) -> "Registry":
        """The repository of a name such as registry.example.com/team/thing; loopback is spoken to without TLS.

        Raises:
            ImageError: It names none.
        """
        host, _, repository = name.partition("/")
        if not repository or not _REPOSITORY.fullmatch(repository) or not re.search(r"[.:]|^localhost$", host):
            raise ImageError(f"{name!r} names no repository: registry.example.com/team/kubelet-plugin does")
        scheme = "http" if _is_loopback(host) else "https"
        return cls(f"{scheme}://{host}", repository, credentials)

    def push(self, archive: Archive, tag: str, say: Callable[[str], None]) -> None:
        """Push the images of all platforms, and what is not there yet of their blobs; the tag comes last.

        Args:
            archive: The images.
            tag: Under which the index is found.
            say: Is told what is done, line by line.

        Raises:
            ImageError: The registry cannot be reached or refuses; what was pushed before stays.
        """
        if not _TAG.fullmatch(tag):
            raise ImageError(f"{tag!r} is no tag: letters, digits, `_`, `.` and `-`, 128 at most")
        for described in archive.manifests():
            manifest = archive.blob(described["digest"])
            content = json.loads(manifest)
            for blob in (content["config"], *content["layers"]):
                sent = self._push_blob(blob["digest"], archive)
                say(f"{blob['digest'][:19]} {blob['size']:>10,} bytes {'sent' if sent else 'is there'}")
            self._push_manifest(described["digest"], manifest, described["mediaType"])
        self._push_manifest(tag, archive.blob(archive.index["digest"]), INDEX)
        host = self.url.partition("://")[2]
        say(f"{host}/{self._repository}:{tag}@{archive.index['digest']}")

    def _push_blob(self, digest: str, archive: Archive) -> bool:
        if self._ask("HEAD", f"blobs/{digest}", accepted=(200, 404)).status == http.client.OK:
            return False
        begun = self._ask("POST", "blobs/uploads/", accepted=(202,))
        place = urljoin(self.url, begun.headers.get("location", ""))
        place += ("&" if urlsplit(place).query else "?") + urlencode({"digest": digest})
        self._request("PUT", place, archive.blob(digest), {"Content-Type": "application/octet-stream"}, accepted=(201,))
        return True

    def _push_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        self._ask("PUT", f"manifests/{reference}", data, {"Content-Type": media_type}, accepted=(201,))

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        accepted: tuple[int, ...],
    ) -> _Answer:
        return self._request(method, f"{self.url}/v2/{self._repository}/{path}", body, headers or {}, accepted=accepted)

    def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], *, accepted: tuple[int, ...]
    ) -> _Answer:
        # what is ours to show is shown to the registry that we were sent to, and to no other place that it names
        known = urlsplit(url).netloc == urlsplit(self.url).netloc
        answer = _exchange(method, url, body, {**headers, **self._proof(known)})
        if answer.status == http.client.UNAUTHORIZED and known:
            self._authorization = self._authorized(answer.headers.get("www-authenticate", ""))
            answer = _exchange(method, url, body, {**headers, **self._proof(known)})
        if answer.status not in accepted:
            told = answer.body[:_TOLD].decode("utf-8", "replace").strip()
            hint = "; REGISTRY_USER and REGISTRY_PASSWORD say who pushes" if answer.status in {401, 403} else ""
            raise ImageError(f"{method} {url.partition('?')[0]}: the registry answers {answer.status}{hint}: {told}")
        return answer

    def _proof(self, known: bool) -> dict[str, str]:
        return {"Authorization": self._authorization} if known and self._authorization else {}

    def _authorized(self, challenge: str) -> str:
        """What answers a registry's challenge."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and self._credentials:
            return self._credentials.basic
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in asked:
            return ""
        place = urlsplit(asked["realm"])
        if place.scheme != "https" and not _is_loopback(place.netloc):
            raise ImageError(f"the registry wants the password sent to {asked['realm']}, without TLS: that is not done")
        wanted = {"service": asked.get("service", ""), "scope": f"repository:{self._repository}:pull,push"}
        headers = {"Authorization": self._credentials.basic} if self._credentials else {}
        answer = _exchange("GET", f"{asked['realm']}?{urlencode(wanted, quote_via=quote)}", None, headers)
        if answer.status != http.client.OK:
            raise ImageError(f"{asked['realm']} gives no token: it answers {answer.status}; see REGISTRY_USER")
        token = json.loads(answer.body)
        return f"Bearer {token.get('token') or token.get('access_token')}"


def _is_loopback(place: str) -> bool:
    """Is a host, with or without a port, this machine itself?"""
    return _LOOPBACK.fullmatch(re.sub(r":\d+$", "", place)) is not None


def _exchange(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> _Answer:
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.netloc)
    try:
        length = {"Content-Length": str(len(body or b""))} if method in {"POST", "PUT"} else {}
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {**headers, **length})
        answer = connection.getresponse()
        return _Answer(answer.status, dict(_lowered(answer)), answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise ImageError(f"{parts.scheme}://{parts.netloc} does not answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _lowered(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    for key, value in answer.getheaders():
        yield key.lower(), value


def _connection(scheme: str, place: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(place, timeout=_TIMEOUT)
    return http.client.HTTPSConnection(place, timeout=_TIMEOUT, context=ssl.create_default_context())
