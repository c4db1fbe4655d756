#!/usr/bin/env python3
"""Fetch a file over HTTP(S) with the standard library alone.

download.py checksum URL               print the SHA-256 that stands at URL
download.py file URL SHA256 DEST       fetch URL to DEST (mode 0755): a temporary file beside it, checked, then renamed

Exit status: 1 when it cannot be fetched, 3 when what came is not what was published.
"""

import hashlib
import os
import re
import sys
import tempfile
import time
from typing import IO, NoReturn
from urllib.request import urlopen

STALLED = 20  # seconds without a byte
PROGRESS = 3  # seconds between two progress lines
MIB = 1 << 20


class MismatchError(Exception):
    """What came is not what was published."""


def checksum(url: str) -> str:
    """The checksum published at `url`."""
    with urlopen(url, timeout=STALLED) as answer:
        text: str = answer.read(4096).decode("ascii", "replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        mismatch(f"{url} does not hold a SHA-256 checksum: {text[:80]!r}")
    return text


def receive(url: str, out: IO[bytes]) -> str:
    """Write what stands at `url` to `out`, with a line of progress now and then; its checksum."""
    digest, done, told = hashlib.sha256(), 0, time.monotonic()
    with urlopen(url, timeout=STALLED) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read(256 * 1024):
            out.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if time.monotonic() - told >= PROGRESS:
                told = time.monotonic()
                print(f"  {done // MIB} of {total // MIB or '?'} MiB", file=sys.stderr, flush=True)
    return digest.hexdigest()


def fetch(url: str, sha256: str, destination: str) -> None:
    """Fetch `url` to `destination`, which appears complete and checked or not at all."""
    directory, name = os.path.split(os.path.abspath(destination))
    with tempfile.NamedTemporaryFile(prefix=f".{name}.", dir=directory, delete=False) as out:
        try:
            if (received := receive(url, out)) != sha256:
                mismatch(f"{url}: SHA-256 is {received}, published is {sha256}")
            out.flush()
            os.fsync(out.fileno())
            os.chmod(out.name, 0o755)
            os.rename(out.name, destination)
        except BaseException:
            os.unlink(out.name)
            raise


def mismatch(text: str) -> NoReturn:
    """What came is refused."""
    raise MismatchError(text)


def main(verb: str, *arguments: str) -> int:
    """One verb; what went wrong is told in one line."""
    try:
        if verb == "checksum":
            print(checksum(*arguments))
        else:
            fetch(*arguments)
    except MismatchError as error:
        print(f"download.py: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"download.py: {arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
