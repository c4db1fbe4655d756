import subprocess
import sys

import pytest

PRINT_MODULES = "import sys, kubelet_plugin.cdi; print(*sys.modules)"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    python = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {PRINT_MODULES}"]
    return set(subprocess.run(python, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", ["ssl", "_hashlib", "logging", "asyncio", "yaml", "msgspec"])
def test_what_costs_the_daemon_memory_is_not_imported(loaded: set[str], module: str) -> None:
    assert module not in loaded


def test_nothing_else_of_ours_is_imported(loaded: set[str]) -> None:
    ours = {name for name in loaded if name.startswith("kubelet_plugin.")}
    assert {name for name in ours if not name.startswith("kubelet_plugin.cdi")} == set()


def test_every_public_name_is_there() -> None:
    from kubelet_plugin import cdi

    assert [name for name in cdi.__all__ if not hasattr(cdi, name)] == []
