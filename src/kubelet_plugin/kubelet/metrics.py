"""The kubelet's own two metrics of device plugins, in Prometheus' text format."""

from collections import Counter, defaultdict

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REGISTRATIONS = "kubelet_device_plugin_registration_total"
_DURATION = "kubelet_device_plugin_alloc_duration_seconds"


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * len(_BUCKETS)
        self.count = 0
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        for index, bound in enumerate(_BUCKETS):
            self.counts[index] += seconds <= bound
        self.count += 1
        self.sum += seconds


class Metrics:
    """Counts registrations and measures allocations, by resource."""

    def __init__(self) -> None:
        self.registrations: Counter[str] = Counter()
        self._durations: defaultdict[str, _Histogram] = defaultdict(_Histogram)

    def registered(self, resource: str) -> None:
        """Count a Register call, accepted or not."""
        self.registrations[resource] += 1

    def allocated(self, resource: str, seconds: float) -> None:
        """Take in how long an Allocate call took, whatever came of it."""
        self._durations[resource].observe(seconds)

    def text(self) -> str:
        """The metrics as `/metrics` gives them."""
        lines = []
        if self._durations:
            help_text = "Duration in seconds to serve a device plugin Allocation request. Broken down by resource name."
            lines += [f"# HELP {_DURATION} [ALPHA] {help_text}", f"# TYPE {_DURATION} histogram"]
        for resource, histogram in sorted(self._durations.items()):
            label = f'resource_name="{_escaped(resource)}"'
            bounds = [*(f"{bound:g}" for bound in _BUCKETS), "+Inf"]
            for bound, count in zip(bounds, [*histogram.counts, histogram.count], strict=True):
                lines.append(f'{_DURATION}_bucket{{{label},le="{bound}"}} {count}')
            lines += [
                f"{_DURATION}_sum{{{label}}} {repr(histogram.sum).removesuffix('.0')}",
                f"{_DURATION}_count{{{label}}} {histogram.count}",
            ]
        if self.registrations:
            help_text = "Cumulative number of device plugin registrations. Broken down by resource name."
            lines += [f"# HELP {_REGISTRATIONS} [ALPHA] {help_text}", f"# TYPE {_REGISTRATIONS} counter"]
        lines += [
            f'{_REGISTRATIONS}{{resource_name="{_escaped(resource)}"}} {count}'
            for resource, count in sorted(self.registrations.items())
        ]
        return "".join(f"{line}\n" for line in lines)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
