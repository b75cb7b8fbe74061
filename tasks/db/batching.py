"""The pause between batches: it lets the next batch grow, because a large one costs less for each task."""

#: A pause is this many times as long as the batch took ...
SMALLEST_FACTOR, LARGEST_FACTOR = 2, 6
#: ... but never longer than this.
LONGEST_PAUSE_SECONDS = 0.015


def pause_after_batch_seconds(took_seconds: float, *, moved: int) -> float:
    """Compute how long to wait after a batch, whatever arrives in the meantime.

    The factor is the number of tasks that the batch moved: under load each batch then does more, and a single task
    hardly waits.
    """
    return min(max(SMALLEST_FACTOR, min(moved, LARGEST_FACTOR)) * took_seconds, LONGEST_PAUSE_SECONDS)
