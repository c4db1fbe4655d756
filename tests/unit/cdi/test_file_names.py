import errno
import os
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin import cdi

SPEC = cdi.Spec("vendor.com/class", (cdi.Device("d", cdi.ContainerEdits(env=("A=1",))),))
NAME = "vendor.com-class.json"


def test_a_transient_spec_has_its_id_in_the_file_name(tmp_path: Path) -> None:
    assert cdi.write(SPEC, str(tmp_path), id="claim:1") == f"{tmp_path}/vendor.com-class_claim:1.json"


@pytest.mark.parametrize("id_", ["../x", "a/b", "-a", "a.", "ü", "a b"])
def test_an_id_that_could_lead_elsewhere_is_refused(tmp_path: Path, id_: str) -> None:
    with pytest.raises(cdi.Error, match="cannot be part of a file name"):
        cdi.write(SPEC, str(tmp_path), id=id_)
    assert os.listdir(tmp_path) == []


def test_a_spec_is_written_as_yaml_where_that_is_asked_for(tmp_path: Path) -> None:
    path = cdi.write(SPEC, str(tmp_path), yaml=True)
    assert path == f"{tmp_path}/vendor.com-class.yaml"
    assert Path(path).read_text() == cdi.dumps_yaml(SPEC)


@pytest.mark.parametrize(("name", "text"), [("a.json", cdi.dumps(SPEC)), ("a.yml", cdi.dumps_yaml(SPEC))])
def test_a_file_of_any_name_is_written_in_the_form_that_its_ending_says(tmp_path: Path, name: str, text: str) -> None:
    cdi.write_file(SPEC, str(tmp_path / name))
    assert (tmp_path / name).read_text() == text
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


def test_a_file_of_no_directory_is_written_to_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cdi.write_file(SPEC, "a.json")
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("options", [{}, {"id": "claim1"}, {"yaml": True}])
def test_what_was_written_is_removed_and_nothing_else(tmp_path: Path, options: dict[str, Any]) -> None:
    for each in ({}, {"id": "claim1"}, {"yaml": True}):
        cdi.write(SPEC, str(tmp_path), **each)
    path = cdi.spec_path(SPEC.kind, str(tmp_path), **options)
    assert cdi.remove(SPEC.kind, str(tmp_path), **options)
    assert not os.path.exists(path)
    assert len(os.listdir(tmp_path)) == 2


def test_what_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    assert not cdi.remove(SPEC.kind, str(tmp_path / "none"))


def test_a_spec_that_is_no_longer_valid_is_still_its_writer_s(tmp_path: Path) -> None:
    path = Path(cdi.write(SPEC, str(tmp_path)))
    path.write_text(path.read_text().replace('"devices":[', '"devices":[{"name":"-"},'))
    assert cdi.remove(SPEC.kind, str(tmp_path))


def test_a_file_of_another_kind_is_not_removed(tmp_path: Path) -> None:
    path = Path(cdi.write(cdi.Spec("vendor.com-x/class", SPEC.devices), str(tmp_path)))
    with pytest.raises(cdi.Error, match=r"is of the kind vendor\.com-x/class, not vendor\.com/x-class"):
        cdi.remove("vendor.com/x-class", str(tmp_path))
    assert path.exists()


def test_a_file_that_is_no_spec_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text("{")
    with pytest.raises(cdi.Error, match=r"cannot be told whether it was written for vendor\.com/class"):
        cdi.remove(SPEC.kind, str(tmp_path))
    assert path.exists()


def test_a_link_is_not_removed(tmp_path: Path) -> None:
    target = cdi.write(SPEC, str(tmp_path / "elsewhere"))
    (tmp_path / NAME).symlink_to(target)
    with pytest.raises(cdi.Error, match="is no regular file"):
        cdi.remove(SPEC.kind, str(tmp_path))
    assert (tmp_path / NAME).is_symlink()


def test_a_removal_that_the_system_refuses_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    cdi.write(SPEC, str(tmp_path))
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(cdi.Error, match=r"cannot remove CDI spec .*: Read-only file system; the file system is"):
        cdi.remove(SPEC.kind, str(tmp_path))
