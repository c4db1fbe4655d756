from pathlib import Path

import pytest

from deploy.image import debian
from deploy.image.cache import Cache, digest
from deploy.image.errors import ImageError
from deploy.image.platforms import AMD64
from deploy.image.record import Package


class Shelf(debian.Archive):
    """An archive that has what it was given."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(AMD64, {})
        self._files = files
        self.asked: list[str] = []

    def download(self, name: str, version: str) -> bytes | None:
        self.asked.append(name)
        return self._files.get(f"{name}={version}")


def package(name: str, data: bytes = b"") -> Package:
    return Package(name, "1", digest(data))


def test_packages_are_fetched_by_their_recorded_version(tmp_path: Path) -> None:
    fetched = debian.fetch([package("a", b"deb")], Shelf({"a=1": b"deb", "a=2": b"newer"}), Cache(tmp_path))
    assert fetched == {"a": b"deb"}


def test_what_was_fetched_once_is_not_asked_for_again(tmp_path: Path) -> None:
    shelf = Shelf({"a=1": b"deb"})
    for _ in range(2):
        debian.fetch([package("a", b"deb")], shelf, Cache(tmp_path))
    assert shelf.asked == ["a"]


def test_all_packages_that_have_left_the_archive_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        debian.fetch([package("a"), package("b", b"deb"), package("c")], Shelf({"b=1": b"deb"}), Cache(tmp_path))
    assert "\n  a 1\n  c 1\n" in str(caught.value)
    assert "make image ARGS=--refresh" in str(caught.value)


def test_a_package_that_is_not_what_was_recorded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a 1: its SHA-256 is"):
        debian.fetch([package("a", b"deb")], Shelf({"a=1": b"another"}), Cache(tmp_path))


def test_a_damaged_file_is_fetched_anew(tmp_path: Path) -> None:
    (tmp_path / digest(b"deb")).write_bytes(b"damaged")
    assert debian.fetch([package("a", b"deb")], Shelf({"a=1": b"deb"}), Cache(tmp_path)) == {"a": b"deb"}


def test_a_mirror_that_is_given_has_security_updates_beside_it() -> None:
    assert debian.mirrors({"MIRROR": "http://m/debian/"}) == {
        "bookworm": "http://m/debian",
        "bookworm-updates": "http://m/debian",
        "bookworm-security": "http://m/debian-security",
    }


def test_a_mirror_of_security_updates_can_be_given() -> None:
    found = debian.mirrors({"MIRROR": "http://m/debian", "SECURITY_MIRROR": "http://s"})
    assert found["bookworm-security"] == "http://s"
