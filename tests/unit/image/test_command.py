import re
import socket
from pathlib import Path

import pytest

from deploy.image import attach, wheels
from deploy.image.__main__ import PROJECT, main
from tests.unit.image import packing


def test_the_digest_is_that_of_the_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = packing.image(tmp_path / "kubelet-plugin-image.tar")

    assert main(["digest", "--output", str(tmp_path)]) == 0

    assert capsys.readouterr().out == f"{archive.index['digest']}\n"


def test_the_debugging_image_has_a_digest_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digest", "--debug", "--output", str(tmp_path)]) == 1
    assert f"{tmp_path}/kubelet-plugin-image-debug.tar is not there" in capsys.readouterr().err


def test_a_push_to_nowhere_is_told_how_to_name_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "--repo", "", "--output", str(tmp_path)]) == 1
    assert "IMAGE_REPO=" in capsys.readouterr().err


def test_requirements_have_every_dependency_with_its_checksums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["requirements"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert all(re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64})+", line) for line in lines)
    names = {line.partition("==")[0] for line in lines}
    for requirement in wheels.dependencies(PROJECT):
        name = re.match(r"[\w.-]+", requirement)
        assert name
        assert wheels.normalized(name[0]) in names


def test_a_debugger_that_finds_nobody_says_where_it_looked(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert attach.main([f"127.0.0.1:{port}"]) == 1

    assert f"nobody waits for a debugger at 127.0.0.1, port {port}" in capsys.readouterr().err
