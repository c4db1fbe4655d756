import pytest

from benchmarks.procfs import since
from benchmarks.summary import percentile, rate


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_a_percentile_is_a_sample_by_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(range(100, 0, -1), percent) == expected


def test_the_median_of_two_is_the_smaller() -> None:
    assert percentile([3.0, 1.0], 50) == 1.0


@pytest.mark.parametrize(("samples", "percent"), [((), 50), ((1.0,), 0), ((1.0,), 101)])
def test_a_percentile_of_nothing_is_refused(samples: tuple[float, ...], percent: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(samples, percent)


def test_calls_of_a_quarter_second_are_four_a_second() -> None:
    assert rate([0.25] * 8) == 4.0


def test_a_new_thread_counts_all_its_wake_ups() -> None:
    assert since({1: 10, 2: 5}, {1: 12, 3: 4}) == 6
