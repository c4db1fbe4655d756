import pytest

from kubelet_plugin.kubelet.metrics import Metrics

DURATION = "kubelet_device_plugin_alloc_duration_seconds"
REGISTRATIONS = "kubelet_device_plugin_registration_total"
BOUNDS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]


def buckets(text: str) -> dict[str, int]:
    """The counts by bound."""
    lines = [line for line in text.splitlines() if line.startswith(f"{DURATION}_bucket")]
    return {line.split('le="')[1].split('"')[0]: int(line.rpartition(" ")[2]) for line in lines}


def test_nothing_is_said_of_what_never_was() -> None:
    assert Metrics().text() == ""


def test_registrations_are_counted_by_resource() -> None:
    metrics = Metrics()
    for resource in ("b/x", "a/x", "b/x"):
        metrics.registered(resource)
    assert metrics.text() == (
        f"# HELP {REGISTRATIONS} [ALPHA] Cumulative number of device plugin registrations. "
        "Broken down by resource name.\n"
        f"# TYPE {REGISTRATIONS} counter\n"
        f'{REGISTRATIONS}{{resource_name="a/x"}} 1\n'
        f'{REGISTRATIONS}{{resource_name="b/x"}} 2\n'
    )


def test_allocations_are_a_histogram() -> None:
    metrics = Metrics()
    metrics.allocated("a/x", 0.02)
    lines = metrics.text().splitlines()
    help_text = "Duration in seconds to serve a device plugin Allocation request. Broken down by resource name."
    assert lines[:3] == [
        f"# HELP {DURATION} [ALPHA] {help_text}",
        f"# TYPE {DURATION} histogram",
        f'{DURATION}_bucket{{resource_name="a/x",le="0.005"}} 0',
    ]
    assert lines[-2:] == [f'{DURATION}_sum{{resource_name="a/x"}} 0.02', f'{DURATION}_count{{resource_name="a/x"}} 1']


def test_the_bounds_are_the_kubelets() -> None:
    metrics = Metrics()
    metrics.allocated("a/x", 0)
    assert list(buckets(metrics.text())) == BOUNDS


def test_a_bucket_holds_all_that_took_no_longer() -> None:
    metrics = Metrics()
    for seconds in (0.005, 0.006, 3, 11):
        metrics.allocated("a/x", seconds)
    assert list(buckets(metrics.text()).values()) == [1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 4]


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0"), (2.0, "2"), (0.5, "0.5"), (0.00001, "1e-05")])
def test_a_sum_is_written_as_prometheus_does(seconds: float, text: str) -> None:
    metrics = Metrics()
    metrics.allocated("a/x", seconds)
    assert metrics.text().splitlines()[-2].rpartition(" ")[2] == text


def test_allocations_come_before_registrations() -> None:
    metrics = Metrics()
    metrics.registered("a/x")
    metrics.allocated("a/x", 1)
    assert [line.split()[2] for line in metrics.text().splitlines() if line.startswith("# HELP")] == [
        DURATION,
        REGISTRATIONS,
    ]


def test_a_name_is_escaped() -> None:
    metrics = Metrics()
    metrics.registered('a"\\\n/x')
    assert metrics.text().splitlines()[-1] == REGISTRATIONS + r'{resource_name="a\"\\\n/x"} 1'
