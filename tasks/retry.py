"""When a failed task runs again: pure functions, no clock and no database."""

import random
from collections.abc import Callable

#: A hundred years: more than any limit or delay means, and what PostgreSQL's intervals and Python's dates can hold.
MOST_SECONDS = 100 * 365.25 * 86_400


def backoff_seconds(
    failures: int, *, minimum: float, maximum: float, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Draw the delay before the retry that follows the ``failures``-th failure (1 for the first).

    Uniform in [d, 1.25 d] with d = min(maximum, minimum · 2ⁿ⁻¹): doubling spreads load, the quarter of jitter
    keeps a crowd that failed together from coming back together.
    """
    # 2 ** 1024 would overflow a float; long before that the cap has decided.
    delay = min(maximum, minimum * 2.0 ** min(failures - 1, 1000))
    return uniform(delay, 1.25 * delay)


def may_retry(failures: int, *, max_retries: int | None) -> bool:
    """Tell whether a task that has now failed ``failures`` times runs again; ``max_retries=None`` means always."""
    return max_retries is None or failures <= max_retries
