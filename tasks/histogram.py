"""Histograms of durations: counts in fixed buckets, which add up, unlike percentiles."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

#: The upper bounds of the buckets in seconds; a last one holds what is longer. Rows keep counts by position, so a bound
#: may never change.
BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 10_800, 43_200, 86_400,
)  # fmt: skip


def bucket_of(seconds: float) -> int:
    """Find the bucket of a duration.

    >>> bucket_of(0.0), bucket_of(0.001), bucket_of(0.002), bucket_of(1e9) == len(BOUNDS)
    (0, 0, 1, True)
    """
    return bisect_left(BOUNDS, seconds)


def count_in(counts: list[int], seconds: float) -> None:
    """Count a duration; the list grows to its bucket, so that short durations take little room."""
    bucket = bucket_of(seconds)
    if bucket >= len(counts):
        counts.extend([0] * (bucket + 1 - len(counts)))
    counts[bucket] += 1


def percentile(counts: Sequence[int], part: float) -> float | None:
    """Estimate the duration that this part of all is not longer than, in proportion within its bucket.

    What is longer than the last bound counts as that long. None if nothing was counted.

    >>> percentile([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], 0.5)
    0.75
    """
    wanted = sum(counts) * part
    if not wanted:
        return None
    for bucket, below in enumerate(accumulate(counts)):
        if counts[bucket] and below >= wanted:
            lower = BOUNDS[bucket - 1] if bucket else 0.0
            upper = BOUNDS[min(bucket, len(BOUNDS) - 1)]
            return lower + (upper - lower) * (wanted - (below - counts[bucket])) / counts[bucket]
    return float(BOUNDS[-1])
