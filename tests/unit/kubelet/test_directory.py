import os
import socket
import stat
from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet.directory import PluginDirectory
from kubelet_plugin.kubelet.profile import VERSIONS, Profile

REMOVING_FILES = ["1.20", "1.31", "1.32"]
CHECKPOINT = "kubelet_internal_checkpoint"


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def directory(path: Path, version: str = "1.36") -> PluginDirectory:
    return PluginDirectory(str(path), Profile.of(version))


def clean(path: Path, version: str = "1.36") -> list[str]:
    """Clean the directory; return what is left."""
    directory(path, version).clean(str(path / CHECKPOINT))
    return sorted(os.listdir(path))


def test_the_directory_is_made(tmp_path: Path) -> None:
    assert clean(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("version", VERSIONS)
def test_sockets_are_removed(tmp_path: Path, version: str) -> None:
    make_socket(tmp_path / "plugin.sock")
    make_socket(tmp_path / "kubelet.sock")
    assert clean(tmp_path, version) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_ordinary_files_are_removed_by_version(tmp_path: Path, version: str) -> None:
    (tmp_path / "file").touch()
    assert clean(tmp_path, version) == ([] if version in REMOVING_FILES else ["file"])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_checkpoint_stays(tmp_path: Path, version: str) -> None:
    (tmp_path / CHECKPOINT).touch()
    assert clean(tmp_path, version) == [CHECKPOINT]


def test_a_checkpoint_of_another_name_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    (tmp_path / CHECKPOINT).touch()
    directory(tmp_path, "1.31").clean(f"{tmp_path}/./mine")
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize("version", VERSIONS)
def test_directories_stay_with_all_that_is_in_them(tmp_path: Path, version: str) -> None:
    (tmp_path / "directory").mkdir()
    make_socket(tmp_path / "directory" / "plugin.sock")
    clean(tmp_path, version)
    assert (tmp_path / "directory" / "plugin.sock").is_socket()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_link_to_a_socket_is_removed(tmp_path: Path, version: str) -> None:
    make_socket(tmp_path / "far.sock")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "near.sock").symlink_to(tmp_path / "far.sock")
    assert clean(plugins, version) == []
    assert (tmp_path / "far.sock").is_socket()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_link_to_a_directory_stays(tmp_path: Path, version: str) -> None:
    (tmp_path / "link").symlink_to("/")
    assert clean(tmp_path, version) == ["link"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dangling_link_stays_and_is_logged(tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert clean(tmp_path, version) == ["link"]
    assert [record.getMessage().split(" err=")[0] for record in caplog.records] == ['"Failed to stat file"']


def test_what_cannot_be_removed_stops_a_kubelet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_socket(tmp_path / "plugin.sock")
    monkeypatch.setattr(os, "unlink", _refuse)
    with pytest.raises(ConfigurationError, match=r"plugin\.sock cannot be removed.*Operation not permitted"):
        clean(tmp_path)


def test_what_cannot_be_removed_does_not_stop_kubelet_1_20(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_socket(tmp_path / "plugin.sock")
    monkeypatch.setattr(os, "unlink", _refuse)
    assert clean(tmp_path, "1.20") == ["plugin.sock"]


def test_the_directory_of_a_living_kubelet_is_refused(tmp_path: Path) -> None:
    with directory(tmp_path).listen(), pytest.raises(ConfigurationError, match="another kubelet answers in"):
        clean(tmp_path)


def test_the_directory_of_a_dead_kubelet_is_cleaned(tmp_path: Path) -> None:
    directory(tmp_path).listen().close()
    assert clean(tmp_path) == []


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used: File exists"):
        clean(tmp_path / "file")


def test_a_directory_in_the_place_of_the_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kubelet.sock").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be used: Address already in use"):
        directory(tmp_path).listen()


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100)
    path.mkdir()
    with pytest.raises(ConfigurationError, match="give one with a shorter path"):
        directory(path).listen()


def test_the_socket_is_made_with_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        directory(tmp_path).listen().close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kubelet.sock").stat().st_mode) == 0o750


@pytest.mark.parametrize("version", VERSIONS)
def test_a_note_is_left(tmp_path: Path, version: str) -> None:
    directory(tmp_path, version).leave_note()
    assert (tmp_path / "DEPRECATION").read_bytes() == b""


def test_a_note_that_cannot_be_left_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory(tmp_path / "nowhere").leave_note()
    assert caplog.records[0].getMessage().startswith('"Failed to create deprecation file at socket dir" err=')


def test_the_socket_is_removed(tmp_path: Path) -> None:
    directory(tmp_path).listen().close()
    directory(tmp_path).remove_socket()
    directory(tmp_path).remove_socket()
    assert os.listdir(tmp_path) == []


def test_all_sockets_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    make_socket(tmp_path / "plugin.sock")
    make_socket(tmp_path / "kubelet.sock")
    (tmp_path / "file").touch()
    directory(tmp_path).delete_sockets()
    assert os.listdir(tmp_path) == ["file"]


def _refuse(path: str) -> None:
    raise PermissionError(1, "Operation not permitted", path)
