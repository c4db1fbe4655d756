import subprocess
import sys
from pathlib import Path

import pytest

PRINT_MODULES = "import sys, kubelet_plugin.cdi; print(*sys.modules)"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    python = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {PRINT_MODULES}"]
    return set(subprocess.run(python, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", ["ssl", "_hashlib", "logging", "asyncio", "yaml", "msgspec"])
def test_what_costs_the_daemon_memory_is_not_imported(loaded: set[str], module: str) -> None:
    assert module not in loaded


def test_what_only_reads_and_applies_specs_is_not_imported(loaded: set[str]) -> None:
    lazy = {
        "annotations",
        "decoding",
        "findings",
        "host",
        "injection",
        "lines",
        "notes",
        "parsing",
        "reading",
        "registry",
        "runtimes",
        "watching",
        "yaml_scalars",
        "yaml_text",
    }
    assert {name.rpartition(".")[2] for name in loaded if name.startswith("kubelet_plugin.cdi.")} & lazy == set()


def test_a_name_that_is_not_public_is_not_there() -> None:
    from kubelet_plugin import cdi

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        cdi.nonsense  # noqa: B018


def test_reading_json_needs_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"cdiVersion":"0.3.0","kind":"vendor.com/class","devices":[{"name":"d","containerEdits":{"env":["A=1"]}}]}'
    )
    code = (
        f"import sys; from kubelet_plugin import cdi; print(cdi.Registry([{str(tmp_path)!r}]).devices(), *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.startswith("['vendor.com/class=d']")
    assert "yaml" not in out.split()


def test_nothing_else_of_ours_is_imported(loaded: set[str]) -> None:
    ours = {name for name in loaded if name.startswith("kubelet_plugin.")}
    assert {name for name in ours if not name.startswith("kubelet_plugin.cdi")} == set()


def test_every_public_name_is_there() -> None:
    from kubelet_plugin import cdi

    assert [name for name in cdi.__all__ if not hasattr(cdi, name)] == []
