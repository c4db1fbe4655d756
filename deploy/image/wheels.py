"""Wheels: fetched by pip, by recorded version and checksum, and taken apart."""

import email.parser
import io
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.image.cache import Cache
from deploy.image.errors import ImageError
from deploy.image.platforms import Platform
from deploy.image.record import Wheel
from deploy.image.tree import Entry

DIRECTORY = "usr/lib/python3/dist-packages"  # where Debian's Python looks
PYTHON = "3.11"
_IDENTIFIER = re.compile(r"[A-Za-z0-9.+-]+")
_LICENSES = {"MIT License": "MIT", "Apache Software License": "Apache-2.0"}  # classifiers that say exactly one licence


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a wheel says of itself.

    Attributes:
        name: Its name, as written.
        version: Its version.
        license: The SPDX expression of its licence; empty where it names it in other words only.
    """

    name: str
    version: str
    license: str


def normalized(name: str) -> str:
    """The name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(data: bytes, owner: str, layer: str) -> Iterator[Entry]:
    """The files that a wheel installs.

    Raises:
        ImageError: It has files for other places than the library directory.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            if ".data/" in member.filename:
                raise ImageError(f"{owner}: {member.filename} is to be installed elsewhere, for which nothing is made")
            yield Entry(f"{DIRECTORY}/{member.filename}", owner, layer, archive.read(member))


def metadata(data: bytes) -> Metadata:
    """What a wheel says of itself."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
        message = email.parser.BytesParser().parsebytes(archive.read(path), headersonly=True)
    classifiers = [text.rpartition(" :: ")[2] for text in message.get_all("Classifier", ())]
    words = [message.get("License", ""), *(_LICENSES.get(each, "") for each in classifiers)]
    license_ = message.get("License-Expression") or next(filter(_IDENTIFIER.fullmatch, words), "")
    return Metadata(message["Name"], message["Version"], license_)


def fetch(wheels: Sequence[Wheel], platform: Platform, cache: Cache) -> dict[str, bytes]:
    """These wheels, by name.

    Raises:
        ImageError: pip does not get them, or they are not what was recorded.
    """
    found = {wheel.name: data for wheel in wheels if (data := cache.get(wheel.sha256)) is not None}
    missing = [wheel for wheel in wheels if wheel.name not in found]
    if missing:
        lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in missing]
        came = _download(lines, platform, "--require-hashes", "--no-deps")
        for wheel in missing:
            found[wheel.name] = came[wheel.file]
            cache.keep(came[wheel.file])
    return found


def resolve(
    requirements: Sequence[str], platform: Platform, constraints: Mapping[str, "Pin"], cache: Cache
) -> list[Wheel]:
    """The wheels that requirements come to on a platform, of the pinned versions where there are such.

    Raises:
        ImageError: pip finds none, or one that is not among those that were pinned.
    """
    pins = [f"{name}=={pin.version}" for name, pin in constraints.items()]
    wheels = []
    for file, data in _download(requirements, platform, constraints=pins).items():
        stated = metadata(data)
        name, sha256 = normalized(stated.name), cache.keep(data)
        pin = constraints.get(name)
        if pin and sha256 not in pin.hashes:
            raise ImageError(f"{file}: its SHA-256 {sha256} is not among those of constraints.txt")
        wheels.append(Wheel(name, stated.version, file, sha256))
    return sorted(wheels, key=lambda wheel: wheel.name)


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of constraints.txt.

    Attributes:
        version: The version.
        hashes: The checksums that files of it may have.
    """

    version: str
    hashes: frozenset[str]


def pins(constraints: str) -> dict[str, Pin]:
    """The pins in the text of constraints.txt, by normalized name."""
    found = {}
    for line in constraints.replace("\\\n", " ").splitlines():
        if match := re.match(r"([\w.-]+)==([^\s;]+)", line):
            found[normalized(match[1])] = Pin(match[2], frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", line)))
    return found


def dependencies(project: Path) -> list[str]:
    """The requirements in pyproject.toml."""
    with (project / "pyproject.toml").open("rb") as file:
        found: list[str] = tomllib.load(file)["project"]["dependencies"]
    return found


def build(project: Path) -> bytes:
    """The project's own wheel.

    Raises:
        ImageError: It cannot be built.
    """
    with tempfile.TemporaryDirectory() as directory:
        _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, str(project)])
        (file,) = Path(directory).glob("*.whl")
        return file.read_bytes()


def _download(
    requirements: Sequence[str], platform: Platform, *flags: str, constraints: Sequence[str] = ()
) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        wanted, pinned, out = (Path(directory, name) for name in ("wanted", "pinned", "out"))
        wanted.write_text("\n".join(requirements), encoding="utf-8")
        pinned.write_text("\n".join(constraints), encoding="utf-8")
        target = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:"]
        target += [part for abi in ("cp311", "abi3", "none") for part in ("--abi", abi)]
        target += [part for tag in platform.wheel_tags for part in ("--platform", tag)]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(out), "--constraint", str(pinned)]
        _run([*pip, *target, *flags, "--requirement", str(wanted)])
        return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ImageError(f"{' '.join(command[1:4])} failed:\n{(done.stderr or done.stdout).strip()}")
