"""Directories of specs: what the reference implementation finds in them, and where we differ on purpose."""

import os
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin import cdi
from tests.unit.cdi.golden import Case, cases, check_differences, plant, rooted

UNREADABLE = "an unreadable directory takes nothing from the others, and its error is kept"

DIFFERENCES = {
    "cache-035": UNREADABLE,
    "cache-037": UNREADABLE,
    "cache-039": "a null device node is an error of its file, not the end of the process",
}


def found(registry: cdi.Registry, root: Path) -> dict[str, Any]:
    def relative(path: str) -> str:
        return os.path.relpath(path, root)

    conflicts = {
        relative(path): [error.name for error in errors if isinstance(error, cdi.ConflictError)]
        for path, errors in registry.errors.items()
    }
    return {
        "devices": registry.devices(),
        "vendors": registry.vendors(),
        "classes": registry.classes(),
        "vendor_specs": {
            vendor: [relative(file.path) for file in registry.specs(vendor)] for vendor in registry.vendors()
        },
        "device_from": {name: relative(registry.spec_path_of(name)) for name in registry.devices()},
        "errors": {
            relative(path): {
                "conflicts": conflicts[relative(path)],
                "load_errors": len(errors) - len(conflicts[relative(path)]),
            }
            for path, errors in registry.errors.items()
        },
        "conflicts": sorted({name for names in conflicts.values() for name in names}),
    }


def test_every_difference_is_debatable() -> None:
    check_differences(DIFFERENCES, "cache.jsonl")


@pytest.mark.parametrize("case", cases("cache.jsonl"))
def test_what_is_found_is_what_the_reference_finds(case: Case, tmp_path: Path) -> None:
    """SPEC.md "CDI Devices": which of them can be asked for."""
    given = rooted(case["in"], tmp_path)
    plant(given["files"], tmp_path)
    actual = found(cdi.Registry([str(tmp_path / each) for each in given["dirs"]]), tmp_path)
    if case["id"] in DIFFERENCES:
        assert actual != case["out"]
    else:
        assert actual == case["out"]
