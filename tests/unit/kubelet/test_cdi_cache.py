import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kubelet_plugin import cdi
from kubelet_plugin.kubelet.cdi_cache import CdiCache


def write(path: Path, device: str) -> None:
    edits = {"env": ["A=b"]}
    spec = {"cdiVersion": "0.5.0", "kind": "vendor.example/dev", "devices": [{"name": device, "containerEdits": edits}]}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(spec))
    part.rename(path)


@pytest.fixture
def refreshed(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with each refresh of a registry."""
    calls: list[None] = []
    refresh = cdi.Registry.refresh

    def counted(registry: cdi.Registry) -> None:
        calls.append(None)
        refresh(registry)

    monkeypatch.setattr(cdi.Registry, "refresh", counted)
    return calls


def test_directories_that_have_not_changed_are_not_read_again(tmp_path: Path, refreshed: list[None]) -> None:
    write(tmp_path / "a.json", "one")
    cache = CdiCache([str(tmp_path), str(tmp_path / "absent")])
    for _ in range(3):
        assert cache.registry().devices() == ["vendor.example/dev=one"]
    assert len(refreshed) == 1


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, refreshed: list[None]) -> None:
    CdiCache([str(tmp_path)])
    assert not refreshed


@pytest.mark.parametrize(
    ("change", "devices"),
    [
        pytest.param(lambda at: write(at / "b.json", "two"), ["one", "two"], id="a new file"),
        pytest.param(lambda at: write(at / "a.json", "eno"), ["eno"], id="a file replaced by one of equal size"),
        pytest.param(lambda at: (at / "a.json").unlink(), [], id="a file removed"),
        pytest.param(lambda at: os.truncate(at / "a.json", 0), [], id="a file emptied in place"),
        pytest.param(lambda at: (at / "a.json").rename(at / "b.yaml"), ["one"], id="a file renamed"),
        pytest.param(lambda at: (at / "a.json").rename(at / "a.off"), [], id="a file put aside"),
    ],
)
def test_a_change_is_noticed(tmp_path: Path, change: Callable[[Path], None], devices: list[str]) -> None:
    write(tmp_path / "a.json", "one")
    cache = CdiCache([str(tmp_path)])
    cache.registry()
    change(tmp_path)
    assert cache.registry().devices() == [f"vendor.example/dev={name}" for name in devices]


def test_a_directory_may_come_later(tmp_path: Path) -> None:
    cache = CdiCache([str(tmp_path / "later")])
    assert cache.registry().devices() == []
    (tmp_path / "later").mkdir()
    write(tmp_path / "later/a.json", "one")
    assert cache.registry().devices() == ["vendor.example/dev=one"]


def test_a_change_behind_a_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    write(tmp_path / "real.json", "one")
    (tmp_path / "dir/a.json").symlink_to("../real.json")
    cache = CdiCache([str(tmp_path / "dir")])
    cache.registry()
    write(tmp_path / "real.json", "two")
    assert cache.registry().devices() == ["vendor.example/dev=two"]
