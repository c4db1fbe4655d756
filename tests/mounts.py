"""Whether this user may mount, in a namespace of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import kubelet_plugin

_MOUNTING = Path(kubelet_plugin.__file__).with_name("testing") / "mounting.py"


def _may_mount() -> bool:
    with tempfile.TemporaryDirectory() as stage:
        command = [sys.executable, "-I", "-S", str(_MOUNTING), "2", stage, "--", "true"]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not _may_mount(), reason="it takes root, or user namespaces in which one may mount")
