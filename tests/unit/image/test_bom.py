import json
from typing import Any

import pytest

from deploy.image import bom
from deploy.image.platforms import ARM64

SUBJECT = bom.Subject("kubelet-plugin-image", "1.0", ARM64, 86400)
LIBC = bom.Component(
    "libc6", "2:2.36+x", "a" * 64, bom.debian_purl("libc6", "2:2.36+x", "arm64", "12"), supplier="Debian"
)
H11 = bom.Component("h11", "0.16", "b" * 64, bom.python_purl("h11", "0.16"), license="MIT")


def bill(suffix: str, *components: bom.Component) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bom.bills(SUBJECT, components)[suffix])
    return document


def test_a_package_url_has_its_version_encoded() -> None:
    assert LIBC.purl == "pkg:deb/debian/libc6@2%3A2.36%2Bx?arch=arm64&distro=debian-12"


def test_spdx_names_all_components_with_version_checksum_and_package_url() -> None:
    packages = {package["name"]: package for package in bill(bom.SPDX, LIBC, H11)["packages"]}

    assert packages["libc6"]["versionInfo"] == "2:2.36+x"
    assert packages["libc6"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": "a" * 64}]
    assert packages["libc6"]["externalRefs"][0]["referenceLocator"] == LIBC.purl
    assert (packages["libc6"]["licenseDeclared"], packages["h11"]["licenseDeclared"]) == ("NOASSERTION", "MIT")


def test_spdx_says_that_the_image_contains_them() -> None:
    document = bill(bom.SPDX, LIBC, H11)
    ids = {package["name"]: package["SPDXID"] for package in document["packages"]}
    contained = {r["relatedSpdxElement"] for r in document["relationships"] if r["relationshipType"] == "CONTAINS"}
    assert contained == {ids["libc6"], ids["h11"]}


def test_cyclonedx_names_all_components_with_version_checksum_and_package_url() -> None:
    components = {each["name"]: each for each in bill(bom.CYCLONEDX, LIBC, H11)["components"]}

    assert components["libc6"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert components["libc6"]["purl"] == LIBC.purl
    assert components["h11"]["licenses"] == [{"expression": "MIT"}]


@pytest.mark.parametrize("suffix", [bom.SPDX, bom.CYCLONEDX])
def test_a_bill_depends_on_what_it_lists_alone(suffix: str) -> None:
    assert bom.bills(SUBJECT, [LIBC, H11])[suffix] == bom.bills(SUBJECT, [H11, LIBC])[suffix]


def test_bills_of_different_contents_have_different_identities() -> None:
    one, other = bill(bom.SPDX, LIBC), bill(bom.SPDX, H11)
    assert one["documentNamespace"] != other["documentNamespace"]
    assert bill(bom.CYCLONEDX, LIBC)["serialNumber"] != bill(bom.CYCLONEDX, H11)["serialNumber"]


def test_the_time_is_that_of_the_image() -> None:
    assert bill(bom.SPDX)["creationInfo"]["created"] == "1970-01-02T00:00:00Z"
