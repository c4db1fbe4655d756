"""What the image is made of, exactly: names, versions and checksums, in the repository; where they come from is not."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.image.errors import ImageError
from deploy.image.platforms import Platform

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package.

    Attributes:
        name: Its name.
        version: Its full version.
        sha256: Of the .deb file.
    """

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel.

    Attributes:
        name: The distribution's normalized name.
        version: Its version.
        file: The file's name.
        sha256: Of the file.
    """

    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """All that one platform's images are made of, but for the project's own wheel.

    Attributes:
        debian: Debian packages of both images.
        wheels: Wheels of both images.
        debug_debian: What the debugging image has besides.
        debug_wheels: The same of wheels.
    """

    debian: tuple[Package, ...]
    wheels: tuple[Wheel, ...]
    debug_debian: tuple[Package, ...]
    debug_wheels: tuple[Wheel, ...]

    def packages(self, *, debug: bool) -> tuple[Package, ...]:
        """The Debian packages of one of the images."""
        return self.debian + (self.debug_debian if debug else ())

    def distributions(self, *, debug: bool) -> tuple[Wheel, ...]:
        """The wheels of one of the images."""
        return self.wheels + (self.debug_wheels if debug else ())


def path_of(platform: Platform, directory: Path = HERE) -> Path:
    """Where a platform's record stands."""
    return directory / f"packages.{platform.name}.json"


def read(platform: Platform, directory: Path = HERE) -> Record:
    """A platform's record.

    Raises:
        ImageError: There is none, or it is none.
    """
    path = path_of(platform, directory)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Record(
            debian=tuple(Package(**each) for each in raw["debian"]),
            wheels=tuple(Wheel(**each) for each in raw["wheels"]),
            debug_debian=tuple(Package(**each) for each in raw["debug_debian"]),
            debug_wheels=tuple(Wheel(**each) for each in raw["debug_wheels"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"{path} is no record of packages ({type(error).__name__}: {error}): `make image ARGS=--refresh` makes it"
        ) from error


def write(record: Record, platform: Platform, directory: Path = HERE) -> Path:
    """Replace a platform's record; one package a line, so that a difference reads well. Return where it stands."""
    path = path_of(platform, directory)
    path.write_text("\n".join(_lines(record)) + "\n", encoding="utf-8")
    return path


def _lines(record: Record) -> Iterator[str]:
    sections = list(asdict(record).items())
    yield "{"
    for key, entries in sections:
        ordered = sorted(entries, key=lambda each: each["name"])
        yield f'  "{key}": ['
        for each in ordered:
            yield f"    {json.dumps(each)}{'' if each is ordered[-1] else ','}"
        yield f"  ]{'' if key == sections[-1][0] else ','}"
    yield "}"
