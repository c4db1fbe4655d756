"""Names and versions: the reference implementation's answers, and where we differ on purpose."""

import base64
import dataclasses
import json
from collections.abc import Callable

import pytest

from kubelet_plugin import cdi
from kubelet_plugin.cdi.names import split_device, split_kind
from kubelet_plugin.cdi.validation import faults
from kubelet_plugin.cdi.version import VERSIONS
from tests.unit.cdi.golden import Case, cases

# Specs that the reference, and we, read, but that we refuse to write.
NOT_WRITTEN = {
    "versions-017": "permissions `none` is read by no release of the reference",
    "versions-027": "a vendor or class of one character crashes released container runtimes",
}


def text_of(case: Case) -> str:
    if "b64" in case["in"]:
        return base64.b64decode(case["in"]["b64"]).decode(errors="surrogateescape")
    return str(case["in"]["s"])


def verdict(function: Callable[[str], object], text: str) -> str:
    try:
        function(text)
    except cdi.Error:
        return "error"
    return "ok"


@pytest.mark.parametrize("case", cases("names.jsonl"))
def test_names_are_judged_as_the_reference_does(case: Case) -> None:
    """SPEC.md "Kind" and "CDI Devices"."""
    text = text_of(case)
    judged = {
        "vendor": verdict(cdi.validate_vendor, text),
        "class": verdict(cdi.validate_class, text),
        "device": verdict(cdi.validate_device_name, text),
        "qualified": verdict(cdi.parse_qualified_name, text),
    }
    assert judged == {key: case["out"][key] for key in judged}


@pytest.mark.parametrize("case", cases("names.jsonl"))
def test_names_are_split_as_the_reference_does(case: Case) -> None:
    """SPEC.md "Kind": a prefix and a name, separated by a slash."""
    text = text_of(case)
    out = case["out"]
    if "parse_device" in out:
        assert [*split_device(text)] == out["parse_device"]
        assert [*split_kind(text)] == out["parse_qualifier"]
    if out["qualified"] == "ok":
        parts = dict(zip(("vendor", "class", "device"), cdi.parse_qualified_name(text), strict=True))
        assert parts == out["parsed"]


def document_of(case: Case, version: str) -> bytes:
    return json.dumps({"cdiVersion": version, **case["in"]["spec"]}).encode()


def is_read(case: Case, version: str) -> bool:
    try:
        cdi.parse(document_of(case, version))
    except cdi.Error:
        return False
    return True


@pytest.mark.parametrize("case", cases("versions.jsonl"))
def test_the_lowest_version_is_that_of_the_reference(case: Case) -> None:
    """SPEC.md "Released versions": what each of them added."""
    assert cdi.minimum_version(cdi.decode(document_of(case, ""))) == case["out"]["min"]


@pytest.mark.parametrize("case", cases("versions.jsonl"))
def test_a_spec_is_read_with_the_versions_that_the_reference_reads_it_with(case: Case) -> None:
    """SPEC.md "Specification version" and "Released versions"."""
    assert [version for version in ("0.1.0", "0.2.0", *VERSIONS) if is_read(case, version)] == case["out"]["read_ok"]


@pytest.mark.parametrize("case", cases("versions.jsonl"))
def test_what_may_be_written_is_what_the_reference_reads(case: Case) -> None:
    """SPEC.md "Released versions"."""
    spec = cdi.decode(document_of(case, ""))
    accepted = [version for version in VERSIONS if not any(faults(dataclasses.replace(spec, version=version)))]
    assert accepted == ([] if case["id"] in NOT_WRITTEN else case["out"]["read_ok"])
