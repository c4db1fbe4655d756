"""Debian's archive, read by apt on a state of its own: nothing is installed, and no root is needed.

Where the archive is, the machine's own apt says, or the environment: `MIRROR=url` (as in node/fetch.sh) and
`SECURITY_MIRROR=url` (default: `MIRROR` with `-security` behind it).
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.image.cache import Cache
from deploy.image.errors import ImageError
from deploy.image.platforms import Platform
from deploy.image.record import Package

RELEASE = "bookworm"
VERSION_ID = "12"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SUITES = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
_INDEX = re.compile(rf"^'(\S+)/dists/({RELEASE}(?:-updates|-security)?)/InRelease'", re.MULTILINE)


class Archive:
    """Debian's archive for one platform. It is asked nothing before something is wanted of it.

    Args:
        platform: For which packages are wanted.
        environment: Where `MIRROR` and `SECURITY_MIRROR` may say where it is.
    """

    def __init__(self, platform: Platform, environment: Mapping[str, str] = os.environ) -> None:
        self._platform = platform
        self._environment = environment
        self._state: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._state:
            self._state.cleanup()

    def candidates(self, names: Sequence[str]) -> dict[str, str]:
        """The newest version of each package.

        Raises:
            ImageError: The archive cannot be read, or has no such package.
        """
        answer = self._run("apt-cache", "policy", *(f"{name}:{self._platform.name}" for name in names))
        found = re.findall(r"^(\S+?)(?::\S+)?:\n(?:.*\n)??\s+Candidate: (\S+)$", answer, re.MULTILINE)
        versions = {name: version for name, version in found if version != "(none)"}
        if missing := [name for name in names if name not in versions]:
            raise ImageError(f"Debian {RELEASE} has no package {', '.join(missing)} for {self._platform.name}")
        return versions

    def download(self, name: str, version: str) -> bytes | None:
        """The .deb file of exactly that version, checked by apt; None where it has left the archive.

        Raises:
            ImageError: The archive cannot be read.
        """
        known = self._run("apt-cache", "madison", f"{name}:{self._platform.name}")
        if version not in {line.split("|")[1].strip() for line in known.splitlines() if "|" in line}:
            return None
        with tempfile.TemporaryDirectory(dir=self._directory()) as directory:
            self._run("apt-get", "download", f"{name}:{self._platform.name}={version}", directory=directory)
            (file,) = Path(directory).glob("*.deb")
            return file.read_bytes()

    def _directory(self) -> Path:
        if self._state is None:
            self._state = tempfile.TemporaryDirectory(prefix="kubelet-plugin-image-")
            directory = Path(self._state.name)
            for each in ("lists/partial", "cache/archives/partial"):
                (directory / each).mkdir(parents=True)
            (directory / "status").touch()  # what the machine has installed is nothing to us
            (directory / "sources.list").write_text(self._sources(), encoding="utf-8")
            self._run("apt-get", "update")
        return Path(self._state.name)

    def _sources(self) -> str:
        if not Path(KEYRING).exists():
            raise ImageError(f"{KEYRING} is missing: apt-get install debian-archive-keyring")
        return "".join(
            f"deb [arch={self._platform.name} signed-by={KEYRING}] {url} {suite} main\n"
            for suite, url in sorted(mirrors(self._environment).items())
        )

    def _run(self, *command: str, directory: str | None = None) -> str:
        state = self._directory()
        options = {
            "Dir::Etc::sourcelist": state / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": state / "lists",
            "Dir::State::status": state / "status",
            "Dir::Cache": state / "cache",
            "APT::Architecture": self._platform.name,
            "APT::Architectures": self._platform.name,
            "APT::Sandbox::User": "",
            "Acquire::Retries": "3",
        }
        flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        return _output([command[0], "-qq", *flags, *command[1:]], directory)


def mirrors(environment: Mapping[str, str]) -> dict[str, str]:
    """Where each suite is.

    Raises:
        ImageError: Neither apt nor the environment says so.
    """
    if mirror := environment.get("MIRROR", "").rstrip("/"):
        security = environment.get("SECURITY_MIRROR", "") or f"{mirror}-security"
        return {suite: security if suite.endswith("-security") else mirror for suite in _SUITES}
    found = {suite: url for url, suite in _INDEX.findall(_output(["apt-get", "update", "--print-uris"]))}
    if RELEASE not in found:
        raise ImageError(f"apt names no archive of Debian {RELEASE} on this machine: give one with MIRROR=url")
    return found


def fetch(packages: Sequence[Package], archive: Archive, cache: Cache) -> dict[str, bytes]:
    """The .deb files of exactly these packages, by name.

    Raises:
        ImageError: Some have left the archive (all are named), or what came is not what was recorded.
    """
    found, gone = {}, []
    for package in packages:
        data = cache.get(package.sha256)
        if data is None:
            data = archive.download(package.name, package.version)
            if data is None:
                gone.append(package)
                continue
            if (received := cache.keep(data)) != package.sha256:
                raise ImageError(
                    f"Debian package {package.name} {package.version}: its SHA-256 is {received}, not {package.sha256}"
                )
        found[package.name] = data
    if gone:
        raise ImageError(_gone(gone))
    return found


def _gone(packages: Sequence[Package]) -> str:
    lines = "".join(f"\n  {package.name} {package.version}" for package in packages)
    return (
        f"Debian's archive no longer has these, which deploy/image/packages.*.json record:{lines}\n"
        "`make image ARGS=--refresh` records what it has now: read the difference, and run the tests. "
        "Or say MIRROR=url of an archive that keeps old versions"
    )


def _output(command: list[str], directory: str | None = None) -> str:
    if not shutil.which(command[0]):
        raise ImageError(f"{command[0]} is missing: Debian packages are fetched by apt")
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ImageError(f"{command[0]} {command[-1]} failed: {done.stderr.strip()}")
    return done.stdout
