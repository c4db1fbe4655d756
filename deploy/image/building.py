"""From records to an archive with the images of all platforms."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.image import bom, contents, deb, debian, layers, oci, record, wheels
from deploy.image.bytecode import bytecode
from deploy.image.cache import Cache, digest
from deploy.image.platforms import PLATFORMS, Platform, of_this_machine
from deploy.image.recorded_python import RecordedPython
from deploy.image.report import Row, rows
from deploy.image.selection import DEBUG_PACKAGES, DEBUG_REQUIREMENTS, PACKAGES, Wanted, selected
from deploy.image.tree import OURS, PYTHON, Tree, tree_of

_NAME = "kubelet-plugin"
_BUSYBOX = "bin/busybox"

Fetched = tuple[Mapping[str, bytes], Mapping[str, bytes]]  # Debian packages and wheels, by name


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built.

    Attributes:
        project: The repository.
        wheel: The project's wheel.
        debug: The image with a shell and a debugger?
        output: The directory for what is built.
        repository: The image's name in the archive.
        created: The time that all files have, in seconds since 1970.
        revision: The commit; empty where it is not known.
        cache: Where fetched files are kept.
    """

    project: Path
    wheel: bytes
    debug: bool
    output: Path
    repository: str
    created: int
    revision: str
    cache: Cache

    @property
    def stem(self) -> str:
        """What the names of the files that are built begin with."""
        return f"{_NAME}-image{'-debug' if self.debug else ''}"


@dataclass(frozen=True, slots=True)
class Built:
    """What was built.

    Attributes:
        archive: The images.
        reference: Their name, with tag and digest.
        rows: What each platform's image is made of, by the platform's name.
    """

    archive: Path
    reference: str
    rows: Mapping[str, list[Row]]


def build(order: Order) -> Built:
    """Build the images of all platforms, and their bills of materials beside them.

    Raises:
        ImageError: A package has left the archive, or something that is needed is in none.
    """
    version = wheels.metadata(order.wheel).version
    tag = version.replace("+", "-") + ("-debug" if order.debug else "")
    labels = _labels(order, version)
    fetched = {platform: _fetched(platform, order) for platform in PLATFORMS}
    blobs, manifests, tables = oci.Blobs(), [], {}
    with tempfile.TemporaryDirectory(prefix="kubelet-plugin-image-") as directory:
        own = _installed(*fetched[of_this_machine()], order)
        python = RecordedPython(own, of_this_machine(), Path(directory, "python"))
        applets = _applets(Path(directory, "python")) if order.debug else []
        for platform, (debs, distributions) in fetched.items():
            tree = _image(platform, debs, distributions, order, python, applets)
            files = _bills(platform, debs, distributions, order)
            tree |= tree_of(contents.boms(files))
            _write_bills(files, order, platform)
            packed = layers.layers(tree, python, Path(directory), order.created)
            settings = oci.Settings([f"/usr/bin/{_NAME}"], ["run"], labels, order.created)
            manifests.append(oci.add_platform(blobs, platform, packed, settings))
            tables[platform.name] = rows(tree, packed)
    index = oci.add_index(blobs, manifests, labels)
    archive = order.output / f"{order.stem}.tar"
    oci.write(archive, blobs, index, order.repository, tag)
    return Built(archive, f"{order.repository}:{tag}@{index['digest']}", tables)


def _fetched(platform: Platform, order: Order) -> Fetched:
    recorded = record.read(platform)
    with debian.Archive(platform) as archive:
        debs = debian.fetch(recorded.packages(debug=order.debug), archive, order.cache)
    return debs, wheels.fetch(recorded.distributions(debug=order.debug), platform, order.cache)


def _installed(debs: Mapping[str, bytes], distributions: Mapping[str, bytes], order: Order) -> Tree:
    """All that the packages install."""
    return tree_of(
        [
            *(entry for name, data in debs.items() for entry in deb.entries(data, name)),
            *(entry for name, data in distributions.items() for entry in wheels.entries(data, name, PYTHON)),
            *wheels.entries(order.wheel, _NAME, OURS),
        ]
    )


def _image(
    platform: Platform,
    debs: Mapping[str, bytes],
    distributions: Mapping[str, bytes],
    order: Order,
    python: RecordedPython,
    applets: Iterable[str],
) -> Tree:
    wanted = Wanted(platform, order.debug, python.builtin_modules())
    tree = selected(_installed(debs, distributions, order), wanted)
    tree |= tree_of(bytecode(tree, python))
    tree |= tree_of([*contents.ours(debug=order.debug), *contents.statuses(debs)])
    return tree | tree_of(contents.shell(applets))


def _applets(directory: Path) -> list[str]:
    """The names that this machine's busybox can be called by; the other platforms' is of the same version."""
    done = subprocess.run([directory / _BUSYBOX, "--list"], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return done.stdout.split()


def _bills(
    platform: Platform, debs: Mapping[str, bytes], distributions: Mapping[str, bytes], order: Order
) -> Mapping[str, bytes]:
    version = wheels.metadata(order.wheel).version
    subject = bom.Subject(order.stem, version, platform, order.created)
    python = {**distributions, _NAME: order.wheel}
    return bom.bills(subject, [*_debian_components(platform, debs), *map(_python_component, python.values())])


def _debian_components(platform: Platform, debs: Mapping[str, bytes]) -> Iterator[bom.Component]:
    for name, data in debs.items():
        version = deb.field(deb.control(data), "Version")
        purl = bom.debian_purl(name, version, platform.name, debian.VERSION_ID)
        yield bom.Component(name, version, digest(data), purl, supplier="Debian")


def _python_component(wheel: bytes) -> bom.Component:
    stated = wheels.metadata(wheel)
    name = wheels.normalized(stated.name)
    purl = bom.python_purl(name, stated.version)
    return bom.Component(name, stated.version, digest(wheel), purl, license=stated.license)


def _write_bills(files: Mapping[str, bytes], order: Order, platform: Platform) -> None:
    for suffix, data in files.items():
        (order.output / f"{order.stem}.{platform.name}.{suffix}").write_bytes(data)


def _labels(order: Order, version: str) -> dict[str, str]:
    """`org.opencontainers.image.*`."""
    labels = {
        "title": _NAME + (", to be debugged" if order.debug else ""),
        "description": "Offers a node's devices to pods through the kubelet and CDI, without privileged containers.",
        "version": version,
        "revision": order.revision,
        "created": bom.timestamp(order.created),
        "source": bom.SOURCE,
        "url": bom.SOURCE,
        "documentation": f"{bom.SOURCE}/tree/main/docs",
        "licenses": "Apache-2.0",
        "vendor": "ihcsim",
    }
    return {f"org.opencontainers.image.{key}": value for key, value in labels.items() if value}


def revision(project: Path) -> str:
    """The commit that a repository stands at, with `-dirty` behind it where files differ; empty outside of git."""
    command = ["git", "-C", str(project), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def created() -> int:
    """`SOURCE_DATE_EPOCH`, or else 1970: a build's own time would be in all that it makes."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


def refresh(project: Path, cache: Cache, say: Callable[[str], None]) -> None:
    """Record the newest packages that the archive has, and the wheels that constraints.txt pins.

    Raises:
        ImageError: The archive or the index cannot be read.
    """
    pins = wheels.pins((project / "constraints.txt").read_text(encoding="utf-8"))
    for platform in PLATFORMS:
        with debian.Archive(platform) as archive:
            packages, debug_packages = (_recorded(names, archive, cache) for names in (PACKAGES, DEBUG_PACKAGES))
        found = record.Record(
            debian=packages,
            wheels=tuple(wheels.resolve(wheels.dependencies(project), platform, pins, cache)),
            debug_debian=debug_packages,
            debug_wheels=tuple(wheels.resolve(DEBUG_REQUIREMENTS, platform, pins, cache)),
        )
        say(f"recorded: {record.write(found, platform)}")


def requirements(project: Path) -> str:
    """The recorded wheels as pip's requirements, with the checksums of all files that constraints.txt has of them."""
    pins = wheels.pins((project / "constraints.txt").read_text(encoding="utf-8"))
    found = [(wheel.name, pins[wheel.name]) for wheel in record.read(of_this_machine()).wheels]
    lines = [
        (f"{name}=={pin.version}", *(f"--hash=sha256:{each}" for each in sorted(pin.hashes))) for name, pin in found
    ]
    return "\n".join(" ".join(line) for line in lines)


def _recorded(names: Iterable[str], archive: debian.Archive, cache: Cache) -> tuple[record.Package, ...]:
    names = list(names)
    found = []
    for name, version in archive.candidates(names).items():
        data = archive.download(name, version)
        assert data is not None, f"{name} {version} is what the archive just offered"
        found.append(record.Package(name, version, cache.keep(data)))
    return tuple(found)
