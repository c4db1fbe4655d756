import re
from pathlib import Path

import pytest

from deploy.image import record, wheels
from deploy.image.errors import ImageError
from deploy.image.platforms import AMD64, ARM64, PLATFORMS, Platform
from deploy.image.selection import DEBUG_PACKAGES, PACKAGES

PROJECT = Path(__file__).parents[3]
SOME = record.Record(
    debian=(record.Package("libc6", "2.36-9", "0" * 64),),
    wheels=(record.Wheel("h11", "0.16.0", "h11.whl", "1" * 64), record.Wheel("h2", "4", "h2.whl", "2" * 64)),
    debug_debian=(),
    debug_wheels=(),
)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    record.write(SOME, ARM64, tmp_path)
    assert record.read(ARM64, tmp_path) == SOME


def test_each_package_has_a_line_of_its_own(tmp_path: Path) -> None:
    text = record.write(SOME, ARM64, tmp_path).read_text()
    assert [line for line in text.splitlines() if '"h2"' in line and '"h11"' not in line]


@pytest.mark.parametrize("text", ["", "{}", '{"debian": [{"name": "x"}]}'])
def test_what_is_no_record_is_refused_with_what_makes_one(tmp_path: Path, text: str) -> None:
    record.path_of(AMD64, tmp_path).write_text(text)
    with pytest.raises(ImageError, match="make image ARGS=--refresh"):
        record.read(AMD64, tmp_path)


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_the_record_of_this_repository_has_the_packages_that_are_asked_for(platform: Platform) -> None:
    found = record.read(platform)
    assert {package.name for package in found.debian} == set(PACKAGES)
    assert {package.name for package in found.debug_debian} == set(DEBUG_PACKAGES)


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_the_record_of_this_repository_has_the_wheels_that_constraints_pin(platform: Platform) -> None:
    pins = wheels.pins((PROJECT / "constraints.txt").read_text())
    for wheel in record.read(platform).wheels:
        assert (wheel.version, wheel.sha256 in pins[wheel.name].hashes) == (pins[wheel.name].version, True), wheel


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_the_record_of_this_repository_has_all_dependencies(platform: Platform) -> None:
    names = {wheel.name for wheel in record.read(platform).wheels}
    for requirement in wheels.dependencies(PROJECT):
        name = re.match(r"[\w.-]+", requirement)
        assert name
        assert wheels.normalized(name[0]) in names


def test_all_platforms_have_the_same_versions_of_the_same_wheels() -> None:
    amd64, arm64 = ({(w.name, w.version) for w in record.read(platform).wheels} for platform in PLATFORMS)
    assert amd64 == arm64


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_a_record_names_no_host(platform: Platform) -> None:
    assert "//" not in record.path_of(platform).read_text()
