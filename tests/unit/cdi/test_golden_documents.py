"""Documents: which of them the reference implementation reads and as what, and where we differ on purpose."""

import pytest

from kubelet_plugin import cdi
from tests.unit.cdi.golden import Case, bytes_of, cases, check_differences

NULL_IN_A_LIST = "a null in a list is nothing, and the reference crashes on it or makes something up"
TEXT = 'SPEC.md "JSON Definition": it is text; in JSON, unlike in YAML, a number or a boolean is plainly something else'

DIFFERENCES = {
    "validate-033": NULL_IN_A_LIST,
    "validate-035": NULL_IN_A_LIST,
    "validate-041": NULL_IN_A_LIST,
    "validate-057": 'one field twice: fields have the names of SPEC.md "JSON Definition" and no others',
    "validate-059": 'fields have the names of SPEC.md "JSON Definition", not those that look alike',
    "validate-075": TEXT,
    "validate-077": 'SPEC.md "JSON Definition": the value of an annotation is text, and a null is none',
    "validate-083": TEXT,
    "validate-085": TEXT,
    "validate-089": TEXT,
    "validate-135": TEXT,
    "validate-145": TEXT,
    "validate-151": 'SPEC.md "OCI Edits": a timeout is more than zero',
    "validate-207": 'SPEC.md "Kind": its name has 63 characters at most, its prefix 253',
    "validate-309": 'SPEC.md "OCI Edits": the path of a hook is absolute',
    "validate-423": 'SPEC.md "JSON Definition": the value of an annotation is text, and a null is none',
    "validate-447": "legal JSON is read",
}


def verdict(case: Case) -> str:
    try:
        cdi.parse(bytes_of(case))
    except cdi.Error:
        return "error"
    return "ok"


def test_every_difference_is_debatable() -> None:
    check_differences(DIFFERENCES, "validate.jsonl")


@pytest.mark.parametrize("case", cases("validate.jsonl"))
def test_a_document_is_read_if_the_reference_reads_it(case: Case) -> None:
    """SPEC.md "CDI JSON Specification", all of it."""
    if case["id"] in DIFFERENCES:
        assert verdict(case) != case["out"]["read"]
    else:
        assert verdict(case) == case["out"]["read"]


@pytest.mark.parametrize("case", [each for each in cases("validate.jsonl") if each.values[0]["out"].get("parsed")])
def test_a_document_is_read_as_the_reference_reads_it(case: Case) -> None:
    """SPEC.md "JSON Definition": the fields and their types."""
    if verdict(case) == case["out"]["read"] == "ok":
        assert {"containerEdits": {}, **cdi.document(cdi.parse(bytes_of(case)))} == case["out"]["parsed"]
