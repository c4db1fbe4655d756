"""Injections: what the reference implementation makes of a configuration, and where we differ on purpose."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin import cdi
from tests.unit.cdi.golden import Case, cases, check_differences, plant, rooted

DIFFERENCES = {"inject-115": 'SPEC.md "OCI Edits": the timeout of a hook is more than zero, so the file is not valid'}


def as_go_writes(value: Any) -> Any:
    """The document without what Go leaves out."""
    if isinstance(value, dict):
        return {key: as_go_writes(item) for key, item in value.items() if item is not None and item != []}
    return [as_go_writes(item) for item in value] if isinstance(value, list) else value


def normal(oci: dict[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = as_go_writes(oci)
    if "process" in written:
        process = {"cwd": "", **written["process"]}
        written["process"] = process | {"user": {"uid": 0, "gid": 0, **process.get("user", {})}}
    return written


def outcome(registry: cdi.Registry, oci: dict[str, Any], calls: list[list[str]]) -> dict[str, Any]:
    for index, names in enumerate(calls):
        try:
            oci = registry.inject(oci, *names)
        except cdi.UnresolvableError as error:
            return {"result": "error", "failed_call": index, "unresolved": [*error.names], "error": str(error)}
        except cdi.Error as error:
            return {"result": "error", "failed_call": index, "error": str(error)}
    return {"result": "ok", "out": normal(oci)}


def test_every_difference_is_debatable() -> None:
    check_differences(DIFFERENCES, "inject.jsonl")


@pytest.mark.parametrize("case", cases("inject.jsonl"))
def test_what_is_injected_is_what_the_reference_injects(case: Case, tmp_path: Path) -> None:
    """SPEC.md "OCI Edits", and "Error Handling" of what cannot be injected."""
    given, out = rooted(case["in"], tmp_path), rooted(case["out"], tmp_path)
    plant(given["files"], tmp_path)
    registry = cdi.Registry([str(tmp_path / each) for each in given["dirs"]])
    expected = {key: out[key] for key in ("result", "failed_call", "unresolved", "error", "out") if key in out}
    actual = outcome(registry, given["oci"], given["calls"])
    if case["id"] in DIFFERENCES:
        assert actual != expected
    else:
        assert actual == expected


@pytest.mark.parametrize("case", cases("inject.jsonl"))
def test_the_given_configuration_stays_as_it_is(case: Case, tmp_path: Path) -> None:
    given = rooted(case["in"], tmp_path)
    plant(given["files"], tmp_path)
    before = json.dumps(given["oci"])
    outcome(cdi.Registry([str(tmp_path / each) for each in given["dirs"]]), given["oci"], given["calls"])
    assert json.dumps(given["oci"]) == before
