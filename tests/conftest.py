import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short name: a socket's path has 107 bytes, and pytest's own grows with the count of its runs."""
    with tempfile.TemporaryDirectory(prefix="kp-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
