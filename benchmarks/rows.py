"""The rows of the table: what is measured, in which unit, and what it is to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

OURS, SAMPLE, THOUSAND, TEN_THOUSAND = "kvm", "go-sample", "kvm-1000", "kvm-10000"
TITLES = {OURS: "kvm", SAMPLE: "Go sample", THOUSAND: "kvm, 1,000", TEN_THOUSAND: "kvm, 10,000"}


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for a figure that there is not.

    Attributes:
        reason: Why, for people.
    """

    reason: str


Figure = float | Missing
Figures = Mapping[str, Figure]  # by the key of the row
Results = Mapping[str, Figures]  # by the key of the column


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured.

    Attributes:
        key: Its name in the JSON file.
        title: Its name in the table.
        unit: Of the figures and the limits.
        digits: How many decimals are shown.
        limits: What the figure of a column is to be at most.
        factor: How many times the Go sample's figure ours is to be at most; 0 where there is no such target.
    """

    key: str
    title: str
    unit: str
    digits: int = 1
    limits: Mapping[str, float] = field(default_factory=dict)
    factor: float = 0.0


ROWS = (
    Row("start_to_register_p50", "start to Register, p50", "ms"),
    Row("start_to_list_p50", "start to first list, p50", "ms", limits={OURS: 300}),
    Row("start_to_list_max", "start to first list, max", "ms"),
    Row("stream_to_list_p50", "stream opened to first list, p50", "ms", limits={TEN_THOUSAND: 300}),
    Row("stream_to_list_max", "stream opened to first list, max", "ms"),
    Row("allocate_p50", "Allocate, p50", "µs", 0, factor=2),
    Row("allocate_p99", "Allocate, p99", "µs", 0),
    Row("allocate_rate", "Allocate, one after the other", "1/s", 0),
    Row("rss_idle", "RSS, idle", "MiB", limits={OURS: 24, TEN_THOUSAND: 40}),
    Row("pss_idle", "PSS, idle", "MiB"),
    Row("rss_after", "RSS, after the Allocates", "MiB", limits={OURS: 26, TEN_THOUSAND: 40}),
    Row("pss_after", "PSS, after the Allocates", "MiB"),
    Row("threads", "threads", "", 0, limits={OURS: 1}),
    Row("wakeups", "wake-ups in 10 s, idle", "", limits={OURS: 1}),
    Row("lost_p50", "device lost to Unhealthy, p50", "ms"),
    Row("lost_p99", "device lost to Unhealthy, p99", "ms"),
    Row("lost_max", "device lost to Unhealthy, max", "ms", limits={OURS: 20}),
    Row("back_p50", "device back to Healthy, p50", "ms"),
    Row("back_p99", "device back to Healthy, p99", "ms"),
    Row("back_max", "device back to Healthy, max", "ms", limits={OURS: 20}),
    Row("restart_p50", "new kubelet.sock to registered, p50", "ms"),
    Row("restart_p99", "new kubelet.sock to registered, p99", "ms"),
    Row("restart_max", "new kubelet.sock to registered, max", "ms", limits={OURS: 20}),
    Row("restart_last", "the last of those", "ms", limits={OURS: 20}),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and whether it was met.

    Attributes:
        column: Whose target it is.
        limit: What the figure was to be at most.
        met: Whether it was; None where there is no figure.
        words: The target for people.
    """

    column: str
    limit: float | None
    met: bool | None
    words: str


def verdicts(row: Row, results: Results) -> list[Verdict]:
    """Hold the figures of one row against its targets."""
    found = []
    for column, limit in row.limits.items():
        if column in results:
            prefix = "" if column == OURS else f"{TITLES[column]}: "
            found.append(_verdict(row, results, column, limit, f"{prefix}≤ {limit:g}"))
    if row.factor and OURS in results:
        theirs = results.get(SAMPLE, {}).get(row.key)
        bar = row.factor * theirs if isinstance(theirs, float) else None
        found.append(_verdict(row, results, OURS, bar, f"≤ {row.factor:g} times {TITLES[SAMPLE]}"))
    return found


def _verdict(row: Row, results: Results, column: str, limit: float | None, words: str) -> Verdict:
    figure = results[column].get(row.key)
    met = figure <= limit if isinstance(figure, float) and limit is not None else None
    return Verdict(column, limit, met, words)
