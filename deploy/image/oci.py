"""An image as the Open Container Initiative has it: blobs, named by their checksums, and a tar archive of them."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.image.bom import timestamp
from deploy.image.cache import digest
from deploy.image.errors import ImageError
from deploy.image.layers import Layer
from deploy.image.platforms import Platform

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_REFERENCE = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"  # what `ctr images import` calls it

Json = dict[str, Any]


@dataclass(slots=True)
class Blobs:
    """The blobs of an image, by digest."""

    data: dict[str, bytes] = field(default_factory=dict)

    def add(self, data: bytes, media_type: str, **more: Any) -> Json:
        """Add one; return its descriptor."""
        name = f"sha256:{digest(data)}"
        self.data[name] = data
        return {"mediaType": media_type, "digest": name, "size": len(data), **more}

    def add_json(self, document: Json, media_type: str, **more: Any) -> Json:
        """Add one that is a document."""
        return self.add(json.dumps(document, separators=(",", ":")).encode(), media_type, **more)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a container of the image runs, and what the image says of itself.

    Attributes:
        entrypoint: The command.
        arguments: Its arguments, unless others are given.
        labels: `org.opencontainers.image.*`.
        created: Seconds since 1970.
    """

    entrypoint: Sequence[str]
    arguments: Sequence[str]
    labels: Mapping[str, str]
    created: int


def add_platform(blobs: Blobs, platform: Platform, layers: Iterable[Layer], settings: Settings) -> Json:
    """Add the image of one platform; return the descriptor of its manifest."""
    layers = list(layers)
    place = {"architecture": platform.name, "os": "linux"} | ({"variant": platform.variant} if platform.variant else {})
    created = timestamp(settings.created)
    config = {
        "created": created,
        **place,
        "config": {
            "Env": ["PATH=/usr/bin:/bin"],
            "Entrypoint": list(settings.entrypoint),
            "Cmd": list(settings.arguments),
            "WorkingDir": "/",
            "Labels": dict(settings.labels),
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": "deploy.image", "comment": layer.name} for layer in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blobs.add_json(config, CONFIG),
        "layers": [blobs.add(layer.data, LAYER) for layer in layers],
        "annotations": dict(settings.labels),
    }
    return blobs.add_json(manifest, MANIFEST, platform=place)


def add_index(blobs: Blobs, manifests: Sequence[Json], labels: Mapping[str, str]) -> Json:
    """Add the index that leads to the image of each platform; return its descriptor."""
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests), "annotations": dict(labels)}
    return blobs.add_json(index, INDEX)


def write(path: Path, blobs: Blobs, index: Json, repository: str, tag: str) -> None:
    """Write an image layout as a tar archive; it appears complete or not at all.

    Args:
        path: Where to.
        blobs: All blobs.
        index: The descriptor of the image's index.
        repository: The image's name.
        tag: The tag of this one.
    """
    names = {_REFERENCE: tag, _FULL_NAME: f"{repository}:{tag}"}
    top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [index | {"annotations": names}]}
    files = {"oci-layout": _LAYOUT, "index.json": json.dumps(top, separators=(",", ":")).encode()}
    files |= {f"blobs/{name.replace(':', '/')}": data for name, data in sorted(blobs.data.items())}
    part = path.with_name(f".{path.name}.part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    part.rename(path)


@dataclass(frozen=True, slots=True)
class Archive:
    """An image that was written.

    Attributes:
        path: Where.
        index: The descriptor of its index.
        tag: Its tag.
    """

    path: Path
    index: Json
    tag: str

    def blob(self, name: str) -> bytes:
        """A blob by its digest.

        Raises:
            ImageError: There is none, or it is damaged.
        """
        with tarfile.open(self.path) as archive:
            data = _content(archive, f"blobs/{name.replace(':', '/')}", self.path)
        if name != f"sha256:{digest(data)}":
            raise ImageError(f"{self.path}: the blob {name} is damaged: `make image` builds it anew")
        return data

    def manifests(self) -> Iterator[Json]:
        """The descriptors of the platforms' manifests."""
        yield from json.loads(self.blob(self.index["digest"]))["manifests"]


def read(path: Path) -> Archive:
    """An image that was written.

    Raises:
        ImageError: There is none, or it is none of ours.
    """
    try:
        with tarfile.open(path) as archive:
            (index,) = json.loads(_content(archive, "index.json", path))["manifests"]
    except FileNotFoundError:
        raise ImageError(f"{path} is not there: `make image` (or `make image-debug`) builds it") from None
    except (tarfile.TarError, ValueError) as error:
        raise ImageError(f"{path} is no image archive: {error}") from error
    return Archive(path, index, index["annotations"][_REFERENCE])


def _content(archive: tarfile.TarFile, name: str, path: Path) -> bytes:
    try:
        file = archive.extractfile(name)
    except KeyError:
        raise ImageError(f"{path} has no {name}: it is no image archive of ours") from None
    return file.read() if file else b""
