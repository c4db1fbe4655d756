import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.errors import ConfigurationError
from kubelet_plugin.kubelet.profile import VERSIONS, Profile

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "kubelet.md").read_text()
SWITCHES: list[dataclasses.Field[Any]] = [each for each in dataclasses.fields(Profile) if each.metadata]

TO_1_20 = "x------"
TO_1_31 = "-x-----"
TO_1_32 = "xxx----"
TO_1_33 = "xxxx---"
TO_1_34 = "xxxxx--"
TO_1_35 = "xxxxxx-"
FROM_1_31 = "-xxxxxx"
FROM_1_33 = "---xxxx"
FROM_1_34 = "----xxx"
FROM_1_35 = "-----xx"
FROM_1_36 = "------x"

TABLE = {
    "removes_every_file": TO_1_32,
    "starts_unclean": TO_1_20,
    "dials_inside_register": FROM_1_31,
    "bounds_dial_by_register": FROM_1_35,
    "disconnects_by_name": FROM_1_31,
    "retries_registration": FROM_1_36,
    "checks_before_need": FROM_1_31,
    "says_cannot": FROM_1_31,
    "refuses_zero": TO_1_20,
    "records_no_numa": FROM_1_31,
    "hints_device_nodes_only": FROM_1_35,
    "merges_strictly": FROM_1_31,
    "counts_empty_topology": TO_1_20,
    "dumps_go_structs": TO_1_33,
    "passes_cdi_devices": FROM_1_31,
    "annotates_cdi_devices": TO_1_31,
    "skips_zero_at_start": FROM_1_31,
    "reallocates_any_pod": TO_1_20,
    "lists_allocatable": FROM_1_31,
    "has_get": FROM_1_31,
    "gets_pods": FROM_1_34,
    "limits_pod_resources": FROM_1_31,
    "lists_each_device": FROM_1_31,
    "lists_active_pods": FROM_1_34,
    "tells_todays_status": FROM_1_31,
    "leaves_out_creation": FROM_1_34,
    "reports_health": FROM_1_36,
    "logs_pods": FROM_1_33,
    "logs_endpoints": TO_1_35,
    "logs_expiry_twice": TO_1_34,
}


def on(switch: str) -> list[str]:
    """The versions in which a switch is on."""
    return [version for version in VERSIONS if getattr(Profile.of(version), switch)]


def in_words(versions: list[str]) -> str:
    """Versions as the page says them."""
    if len(versions) == 1:
        return versions[0]
    return f"from {versions[0]}" if versions[-1] == VERSIONS[-1] else f"up to {versions[-1]}"


def test_there_are_profiles_of_these_versions() -> None:
    assert VERSIONS == ("1.20", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36")


def test_every_switch_is_in_the_table() -> None:
    assert list(TABLE) == [each.name for each in SWITCHES]


@pytest.mark.parametrize(("switch", "marks"), TABLE.items(), ids=TABLE)
def test_a_switch_is_on_in_its_versions(switch: str, marks: str) -> None:
    assert on(switch) == [version for version, mark in zip(VERSIONS, marks, strict=True) if mark == "x"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_profile_knows_its_version(version: str) -> None:
    assert Profile.of(version).version == version


@pytest.mark.parametrize("version", ["1.19", "1.30", "1.37", "1.36.1", "36", "", "v1.36"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(ConfigurationError, match=r"give one of 1\.20, 1\.31, 1\.32, 1\.33, 1\.34, 1\.35, 1\.36$"):
        Profile.of(version)


def test_a_single_switch_can_be_turned() -> None:
    turned = dataclasses.replace(Profile.of("1.36"), disconnects_by_name=False)
    assert (turned.disconnects_by_name, turned.reports_health) == (False, True)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda each: each.name)
def test_a_switch_is_described(switch: dataclasses.Field[Any]) -> None:
    assert re.search(rf"^        {switch.name}: ", Profile.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda each: each.name)
def test_a_switchs_section_is_on_the_page(switch: dataclasses.Field[Any]) -> None:
    assert f"\n## {switch.metadata['section']}\n" in PAGE


def test_the_page_says_in_which_versions_each_switch_is_on() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| \[([^\]]+)\]\(#([^)]+)\) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (
            each.name,
            in_words(on(each.name)),
            each.metadata["section"],
            each.metadata["section"].lower().replace(" ", "-"),
        )
        for each in SWITCHES
    ]
