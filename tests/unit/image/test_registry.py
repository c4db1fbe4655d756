import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import oci
from deploy.image.cache import digest
from deploy.image.errors import ImageError
from deploy.image.registry import Credentials, Registry
from tests.unit.image import packing
from tests.unit.image.registry import FakeRegistry

WHO = Credentials("me", "secret")
BASIC = "Basic " + base64.b64encode(b"me:secret").decode()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def image(tmp_path: Path) -> oci.Archive:
    return packing.image(tmp_path / "image.tar")


def push(registry: FakeRegistry, image: oci.Archive, who: Credentials | None = None, tag: str = "1.0") -> list[str]:
    said: list[str] = []
    Registry.of(f"{registry.address}/team/thing", who).push(image, tag, said.append)
    return said


def test_what_is_pushed_can_be_pulled_by_tag_for_every_platform(registry: FakeRegistry, image: oci.Archive) -> None:
    push(registry, image)

    index = json.loads(registry.manifests["team/thing", "1.0"])
    for described in index["manifests"]:
        manifest = json.loads(registry.manifests["team/thing", described["digest"]])
        for blob in (manifest["config"], *manifest["layers"]):
            assert f"sha256:{digest(registry.blobs[blob['digest']])}" == blob["digest"]
    assert [each["platform"]["architecture"] for each in index["manifests"]] == ["amd64", "arm64"]


def test_the_tag_is_the_index_that_was_built(registry: FakeRegistry, image: oci.Archive) -> None:
    said = push(registry, image, tag="latest")

    assert f"sha256:{digest(registry.manifests['team/thing', 'latest'])}" == image.index["digest"]
    assert said[-1] == f"{registry.address}/team/thing:latest@{image.index['digest']}"


def test_a_second_push_sends_no_blob(registry: FakeRegistry, image: oci.Archive) -> None:
    push(registry, image)
    sent = registry.uploads

    said = push(registry, image)

    assert registry.uploads == sent
    assert all(line.endswith("is there") for line in said[:-1])


def test_the_tag_comes_after_all_that_it_leads_to(registry: FakeRegistry, image: oci.Archive) -> None:
    push(registry, image)
    assert registry.written[-1] == "/v2/team/thing/manifests/1.0"


def test_an_upload_may_have_its_place_elsewhere_on_the_registry(registry: FakeRegistry, image: oci.Archive) -> None:
    registry.relative = True
    push(registry, image)
    assert ("team/thing", "1.0") in registry.manifests


def test_a_registry_may_ask_who_pushes(registry: FakeRegistry, image: oci.Archive) -> None:
    registry.demands(BASIC, 'Basic realm="here"')
    push(registry, image, WHO)
    assert ("team/thing", "1.0") in registry.manifests


def test_a_registry_may_ask_for_a_token(registry: FakeRegistry, image: oci.Archive) -> None:
    registry.demands("Bearer t0ken", f'Bearer realm="http://{registry.address}/token",service="here"', token="t0ken")

    push(registry, image, WHO)

    assert ("team/thing", "1.0") in registry.manifests
    assert registry.token_asked_by == BASIC
    assert registry.token_asked_for == {"service": ["here"], "scope": ["repository:team/thing:pull,push"]}


def test_a_registry_that_refuses_is_told_with_what_says_who_pushes(registry: FakeRegistry, image: oci.Archive) -> None:
    registry.demands(BASIC, 'Basic realm="here"')
    with pytest.raises(ImageError, match=r"answers 401; REGISTRY_USER"):
        push(registry, image)


def test_no_secret_is_shown_to_another_place_that_takes_the_upload(registry: FakeRegistry, image: oci.Archive) -> None:
    registry.demands(BASIC, 'Basic realm="here"')
    with FakeRegistry() as other:
        registry.uploads_to = f"http://{other.address}"
        push(registry, image, WHO)
        assert set(other.authorizations) == {""}


def test_no_password_is_sent_in_the_clear_to_where_tokens_are_had(registry: FakeRegistry, image: oci.Archive) -> None:
    registry.demands("Bearer t0ken", 'Bearer realm="http://tokens.example.com/"')
    with pytest.raises(ImageError, match="without TLS"):
        push(registry, image, WHO)


def test_a_registry_that_is_not_there_is_named(image: oci.Archive) -> None:
    with FakeRegistry() as registry:
        address = registry.address
    with pytest.raises(ImageError, match=f"http://{address} does not answer"):
        Registry.of(f"{address}/thing").push(image, "1.0", print)


@pytest.mark.parametrize("name", ["thing", "team/thing", "localhost:5000", "localhost:5000/Team", "localhost:5000/a?b"])
def test_what_names_no_repository_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match="names no repository"):
        Registry.of(name)


@pytest.mark.parametrize("tag", ["", "a b", "a/b", "-a", "ä"])
def test_what_is_no_tag_is_refused_before_anything_is_sent(
    registry: FakeRegistry, image: oci.Archive, tag: str
) -> None:
    with pytest.raises(ImageError, match="no tag"):
        push(registry, image, tag=tag)
    assert registry.blobs == {}


@pytest.mark.parametrize("host", ["registry.example.com", "10.0.0.1:5000", "localhost.example.com:5000"])
def test_only_loopback_is_spoken_to_without_tls(host: str) -> None:
    assert Registry.of(f"{host}/thing").url == f"https://{host}"


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"])
def test_loopback_is_spoken_to_without_tls(host: str) -> None:
    assert Registry.of(f"{host}/thing").url == f"http://{host}"
