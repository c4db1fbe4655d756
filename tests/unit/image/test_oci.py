import json
import tarfile
from pathlib import Path

import pytest

from deploy.image import oci
from deploy.image.errors import ImageError
from tests.unit.image import packing


def test_the_index_leads_to_an_image_for_each_platform(tmp_path: Path) -> None:
    archive = packing.image(tmp_path / "image.tar")

    platforms = [manifest["platform"] for manifest in archive.manifests()]
    assert platforms == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]


def test_each_image_has_its_own_layer_and_configuration(tmp_path: Path) -> None:
    archive = packing.image(tmp_path / "image.tar")

    for described in archive.manifests():
        manifest = json.loads(archive.blob(described["digest"]))
        config = json.loads(archive.blob(manifest["config"]["digest"]))
        name = described["platform"]["architecture"]
        assert archive.blob(manifest["layers"][0]["digest"]) == f"layer of {name}".encode()
        assert config["architecture"] == name
        assert (config["config"]["Entrypoint"], config["config"]["Cmd"]) == (["/usr/bin/thing"], ["run"])
        assert config["config"]["Labels"] == manifest["annotations"] == {"org.opencontainers.image.version": "1.0"}


def test_containerd_is_told_the_whole_name_and_others_the_tag(tmp_path: Path) -> None:
    annotations = packing.image(tmp_path / "image.tar", "1.0-debug").index["annotations"]

    assert annotations["io.containerd.image.name"] == "localhost/thing:1.0-debug"
    assert annotations["org.opencontainers.image.ref.name"] == "1.0-debug"


def test_an_archive_is_an_image_layout(tmp_path: Path) -> None:
    packing.image(tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as tar:
        layout = tar.extractfile("oci-layout")
        assert layout
        assert json.load(layout) == {"imageLayoutVersion": "1.0.0"}


def test_two_archives_of_one_image_are_the_same(tmp_path: Path) -> None:
    for name in ("one", "other"):
        packing.image(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_damaged_blob_is_not_given_out(tmp_path: Path) -> None:
    archive = packing.image(tmp_path / "image.tar")
    data = archive.path.read_bytes().replace(b"layer of amd64", b"layer of evil!")
    archive.path.write_bytes(data)
    (manifest, _) = archive.manifests()

    with pytest.raises(ImageError, match="damaged"):
        archive.blob(json.loads(archive.blob(manifest["digest"]))["layers"][0]["digest"])


def test_an_image_that_is_not_there_is_told_with_what_builds_it(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="make image"):
        oci.read(tmp_path / "image.tar")


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ImageError, match="no image archive"):
        oci.read(tmp_path / "image.tar")
