import os
from pathlib import Path

import pytest

from kubelet_plugin import cdi

SPEC = cdi.Spec("vendor.com/class", (cdi.Device("d", cdi.ContainerEdits(env=("A=1",))),), version="0.3.0")


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a"])
@pytest.mark.parametrize("text", [cdi.dumps(SPEC), cdi.dumps_yaml(SPEC)], ids=["JSON", "YAML"])
def test_a_spec_is_read_whatever_its_file_is_called(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert cdi.read(str(tmp_path / name)) == SPEC


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert cdi.read(cdi.write(SPEC, str(tmp_path))) == SPEC


def test_a_link_to_a_spec_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(cdi.write(SPEC, str(tmp_path)))
    assert cdi.read(str(tmp_path / "link.json")) == SPEC


def test_a_file_that_is_not_there_is_named_with_the_reason(tmp_path: Path) -> None:
    path = str(tmp_path / "none.json")
    with pytest.raises(cdi.Error, match=f"^cannot read CDI spec {path}: No such file or directory$"):
        cdi.read(path)


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(cdi.Error, match=r"a\.json: it is no regular file$"):
        cdi.read(str(tmp_path / "a.json"))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cdi.Error, match="Is a directory"):
        cdi.read(str(tmp_path))


def test_what_is_wrong_in_a_file_is_said_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(cdi.dumps(SPEC).replace("A=1", "A"))
    with pytest.raises(cdi.ParseError, match=r"a\.json:1: device 'd': env 'A' has not the form NAME=value$"):
        cdi.read(str(path))


def test_warnings_have_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(cdi.dumps_yaml(SPEC) + "---\n")
    warnings: list[cdi.ParseError] = []
    cdi.read(str(path), warn=warnings.append)
    assert [warning.path for warning in warnings] == [str(path)]


def test_a_huge_file_is_refused_without_reading_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 100 * 2**20)
    with pytest.raises(cdi.ParseError, match="bytes are too many: 16777216 at most are read"):
        cdi.read(str(path))
