"""The reference implementation's answers, and where we differ on purpose."""

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin import cdi
from kubelet_plugin.cdi.names import split_device, split_kind
from kubelet_plugin.cdi.validation import faults
from kubelet_plugin.cdi.version import VERSIONS

DATA = Path(__file__).parents[2] / "data" / "cdi"

# Features that the data model does not have: where they are in use they decide the answer, so those cases are left out.
NOT_MODELLED = ("intelRdt", "netDevices")

# Specs that the reference reads and we refuse to write.
REFUSED = {
    "versions-017": "permissions `none` is read by no release of the reference",
    "versions-027": "a vendor or class of one character crashes released container runtimes",
}


def cases(name: str) -> list[Any]:
    lines = (DATA / name).read_text().splitlines()
    return [pytest.param(case, id=case["id"]) for case in map(json.loads, lines)]


def modelled_cases(name: str) -> list[Any]:
    return [case for case in cases(name) if not uses_what_is_not_modelled(case.values[0]["in"]["spec"])]


def uses_what_is_not_modelled(spec: dict[str, Any]) -> bool:
    edits = [spec.get("containerEdits", {}), *(device["containerEdits"] for device in spec["devices"])]
    return any(part.get(feature) not in (None, []) for part in edits for feature in NOT_MODELLED)


def text_of(case: dict[str, Any]) -> str:
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
def test_names_are_judged_as_the_reference_does(case: dict[str, Any]) -> None:
    text = text_of(case)
    judged = {
        "vendor": verdict(cdi.validate_vendor, text),
        "class": verdict(cdi.validate_class, text),
        "device": verdict(cdi.validate_device_name, text),
        "qualified": verdict(cdi.parse_qualified_name, text),
    }
    assert judged == {key: case["out"][key] for key in judged}


@pytest.mark.parametrize("case", cases("names.jsonl"))
def test_names_are_split_as_the_reference_does(case: dict[str, Any]) -> None:
    text = text_of(case)
    out = case["out"]
    if "parse_device" in out:
        assert [*split_device(text)] == out["parse_device"]
        assert [*split_kind(text)] == out["parse_qualifier"]
    if out["qualified"] == "ok":
        parts = dict(zip(("vendor", "class", "device"), cdi.parse_qualified_name(text), strict=True))
        assert parts == out["parsed"]


def edits_of(fields: dict[str, Any]) -> cdi.ContainerEdits:
    return cdi.ContainerEdits(
        env=tuple(fields.get("env", ())),
        device_nodes=tuple(
            cdi.DeviceNode(node["path"], host_path=node.get("hostPath", ""), permissions=node.get("permissions", ""))
            for node in fields.get("deviceNodes", ())
        ),
        mounts=tuple(
            cdi.Mount(mount["hostPath"], mount["containerPath"], type=mount.get("type", ""))
            for mount in fields.get("mounts", ())
        ),
        hooks=tuple(
            cdi.Hook(
                hook["hookName"], hook["path"], args=(*hook["args"],), env=(*hook["env"],), timeout=hook["timeout"]
            )
            for hook in fields.get("hooks", ())
        ),
        additional_gids=tuple(fields.get("additionalGids", ())),
    )


def spec_of(fields: dict[str, Any]) -> cdi.Spec:
    return cdi.Spec(
        fields["kind"],
        tuple(
            cdi.Device(
                device["name"],
                edits_of(device["containerEdits"]),
                annotations=tuple(device.get("annotations", {}).items()),
            )
            for device in fields["devices"]
        ),
        container_edits=edits_of(fields.get("containerEdits", {})),
        annotations=tuple(fields.get("annotations", {}).items()),
    )


@pytest.mark.parametrize("case", modelled_cases("versions.jsonl"))
def test_the_lowest_version_is_that_of_the_reference(case: dict[str, Any]) -> None:
    assert cdi.minimum_version(spec_of(case["in"]["spec"])) == case["out"]["min"]


@pytest.mark.parametrize("case", modelled_cases("versions.jsonl"))
def test_what_may_be_written_is_what_the_reference_reads(case: dict[str, Any]) -> None:
    spec = spec_of(case["in"]["spec"])
    accepted = [version for version in VERSIONS if not any(faults(dataclasses.replace(spec, version=version)))]
    assert accepted == ([] if case["id"] in REFUSED else case["out"]["read_ok"])
