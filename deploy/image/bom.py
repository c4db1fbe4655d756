"""Bills of materials: what an image is made of, as SPDX 2.3 and as CycloneDX 1.6."""

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from deploy.image.cache import digest
from deploy.image.platforms import Platform

SOURCE = "https://github.com/ihcsim/kubelet-plugin"
SPDX, CYCLONEDX = "spdx.json", "cdx.json"  # the ends of the files' names
_NAME = "kubelet-plugin"


@dataclass(frozen=True, slots=True)
class Component:
    """A package that the image is made of.

    Attributes:
        name: Its name.
        version: Its version.
        sha256: Of the file it came as.
        purl: Its package URL.
        supplier: Who made the package; empty where that is not known.
        license: An SPDX expression; empty where there is none.
    """

    name: str
    version: str
    sha256: str
    purl: str
    supplier: str = ""
    license: str = ""


def debian_purl(name: str, version: str, architecture: str, release: str) -> str:
    """The package URL of a Debian package."""
    return f"pkg:deb/debian/{name}@{quote(version, safe='.~-')}?arch={architecture}&distro=debian-{release}"


def python_purl(name: str, version: str) -> str:
    """The package URL of a distribution on an index of Python packages."""
    return f"pkg:pypi/{name}@{quote(version, safe='.~-')}"


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that a bill is of.

    Attributes:
        name: Of the image.
        version: Of the image.
        platform: For which platform it is.
        created: Seconds since 1970.
    """

    name: str
    version: str
    platform: Platform
    created: int


def bills(subject: Subject, components: Iterable[Component]) -> Mapping[str, bytes]:
    """The bills of materials of an image, by the ends of their files' names."""
    ordered = sorted(components, key=lambda component: component.purl)
    return {SPDX: _text(_spdx(subject, ordered)), CYCLONEDX: _text(_cyclonedx(subject, ordered))}


def timestamp(seconds: int) -> str:
    """A time as both formats, and OCI, write it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def _identity(subject: Subject, components: list[Component]) -> str:
    """Differs wherever the contents do."""
    parts = [subject.name, subject.version, subject.platform.name, *(f"{c.purl} {c.sha256}" for c in components)]
    return digest("\n".join(parts).encode())


def _spdx(subject: Subject, components: list[Component]) -> dict[str, Any]:
    image = {
        "SPDXID": "SPDXRef-image",
        "name": subject.name,
        "versionInfo": subject.version,
        "supplier": "Organization: ihcsim",
        "downloadLocation": SOURCE,
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
    }
    packages = [_spdx_package(index, component) for index, component in enumerate(components)]
    contains = [("SPDXRef-image", "CONTAINS", package["SPDXID"]) for package in packages]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{subject.name}-{subject.version}-{subject.platform.name}",
        "documentNamespace": f"{SOURCE}/spdx/{_identity(subject, components)}",
        "creationInfo": {"created": timestamp(subject.created), "creators": [f"Tool: {_NAME}-deploy.image"]},
        "packages": [image, *packages],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"), *contains]
        ],
    }


def _spdx_package(index: int, component: Component) -> dict[str, Any]:
    return {
        "SPDXID": f"SPDXRef-package-{index}",
        "name": component.name,
        "versionInfo": component.version,
        "supplier": f"Organization: {component.supplier}" if component.supplier else "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": component.license or "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": component.sha256}],
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": component.purl}
        ],
    }


def _cyclonedx(subject: Subject, components: list[Component]) -> dict[str, Any]:
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, SOURCE + _identity(subject, components))}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(subject.created),
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": subject.name,
                "version": subject.version,
                "properties": [{"name": f"{_NAME}:platform", "value": f"linux/{subject.platform.name}"}],
            },
        },
        "components": [_cyclonedx_component(component) for component in components],
        "dependencies": [{"ref": "image", "dependsOn": [component.purl for component in components]}],
    }


def _cyclonedx_component(component: Component) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
        "hashes": [{"alg": "SHA-256", "content": component.sha256}],
        **({"supplier": {"name": component.supplier}} if component.supplier else {}),
        **({"licenses": [{"expression": component.license}]} if component.license else {}),
    }
