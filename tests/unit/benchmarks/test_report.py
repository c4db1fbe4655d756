import json

import pytest

from benchmarks.report import Conditions, document, table
from benchmarks.rows import OURS, ROWS, SAMPLE, TEN_THOUSAND, Figure, Missing

CONDITIONS = Conditions(
    interpreter="CPython 3.11.2", grpcio="1.80.0", cpus=2, load=0.1, idle=60, calls=10_000, repetitions=100, starts=10
)


def results(**ours: Figure) -> dict[str, dict[str, Figure]]:
    base: dict[str, Figure] = {row.key: 1.0 for row in ROWS}
    return {OURS: base | ours, SAMPLE: dict(base), TEN_THOUSAND: dict(base)}


def line(text: str, title: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(title))


def test_a_figure_at_its_limit_is_met() -> None:
    assert line(table(results(rss_idle=24.0), CONDITIONS), "RSS, idle").endswith("≤ 24 met; kvm, 10,000: ≤ 40 met")


def test_a_figure_over_its_limit_is_missed() -> None:
    assert "≤ 24 MISSED" in line(table(results(rss_idle=24.1), CONDITIONS), "RSS, idle")


@pytest.mark.parametrize(("p50", "word"), [(2.0, "met"), (2.1, "MISSED")])
def test_allocate_is_held_against_the_go_sample(p50: float, word: str) -> None:
    assert line(table(results(allocate_p50=p50), CONDITIONS), "Allocate, p50").endswith(f"≤ 2 times Go sample {word}")


def test_without_the_go_sample_its_target_is_not_known() -> None:
    found = results()
    del found[SAMPLE]
    assert line(table(found, CONDITIONS), "Allocate, p50").endswith("not known")


def test_a_missing_figure_is_a_dash_whose_reason_is_given_once() -> None:
    text = table(results(lost_p50=Missing("no root"), lost_max=Missing("no root")), CONDITIONS)
    assert "- [1]" in line(text, "device lost to Unhealthy, max")
    assert text.count("[1] no root") == 1


def test_a_column_left_out_is_explained() -> None:
    assert table(results(), CONDITIONS, ("the Go sample is left out: fetch it",)).endswith("fetch it")


def test_the_columns_of_figures_are_aligned_to_the_right() -> None:
    text = table(results(allocate_rate=12345.0), CONDITIONS)
    header, row = line(text, " "), line(text, "Allocate, one")
    assert header.index("kvm") + len("kvm") == row.index("12,345") + len("12,345")


def test_the_json_has_null_and_a_reason_for_a_missing_figure() -> None:
    rows = json.loads(json.dumps(document(results(threads=Missing("gone")), CONDITIONS)))["rows"]
    row = next(row for row in rows if row["key"] == "threads")
    assert row["figures"][OURS] is None
    assert row["missing"] == {OURS: "gone"}
    assert row["targets"] == [{"column": OURS, "limit": 1, "met": None}]


def test_the_json_names_conditions_and_columns() -> None:
    written = document(results(), CONDITIONS)
    assert written["conditions"]["interpreter"] == "CPython 3.11.2"
    assert list(written["columns"]) == [OURS, SAMPLE, TEN_THOUSAND]
