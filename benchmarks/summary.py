"""What is said about many measurements of the same thing."""

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` of all samples do not exceed (the nearest rank).

    Args:
        samples: The measurements, in any order.
        percent: From above 0 to 100; 50 is the median, 100 the largest sample.

    Raises:
        ValueError: There are no samples, or `percent` is out of range.
    """
    if not samples or not 0 < percent <= 100:
        raise ValueError(f"no percentile {percent} of {len(samples)} samples")
    return sorted(samples)[math.ceil(len(samples) * percent / 100) - 1]


def rate(durations: Sequence[float]) -> float:
    """Return how many calls a second calls of these durations (s), made one after the other, are."""
    return len(durations) / math.fsum(durations)
