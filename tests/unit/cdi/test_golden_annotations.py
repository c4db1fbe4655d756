"""Annotations: what the reference implementation makes of them."""

from typing import Any

import pytest

from kubelet_plugin import cdi
from tests.unit.cdi.golden import Case, cases


def outcome(given: dict[str, Any]) -> dict[str, Any]:
    annotations = given.get("annotations") or {}
    match given["op"]:
        case "key":
            return {"key": cdi.annotation_key(given["plugin"], given["device_id"])}
        case "value":
            return {"value": cdi.annotation_value(given["devices"])}
        case "parse":
            found = cdi.annotated_devices(annotations)
            devices = [name for names in found.values() for name in names]
            return {"keys": sorted(found), "devices": sorted(devices) if len(found) > 1 else devices}
        case _:
            updated = cdi.annotate(annotations, given["plugin"], given["device_id"], given["devices"])
            return {"annotations": updated}


def outcome_or_error(given: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": "ok", **outcome(given)}
    except cdi.Error:
        return {"result": "error"}


@pytest.mark.parametrize("case", cases("annotations.jsonl"))
def test_annotations_are_what_they_are_to_the_reference(case: Case) -> None:
    out = case["out"]
    expected = {"result": "error"} if out["result"] == "error" else out
    assert outcome_or_error(case["in"]) == expected
