"""Decides what follows a failure or a crash: a later run, or death and its reason. Pure functions, without a clock.

No other module counts or delays. ``worker.outcomes`` heeds an actor's own decision first (``throws``, ``retry_when``, a
delay, its retry policies), and ``lifecycle.rescue`` asks what a crash means.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from tasks.states import DeathReason

#: A hundred years: more than any limit or delay means, and what PostgreSQL's intervals and Python's dates can hold.
MOST_SECONDS = 100 * 365.25 * 86_400


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """What differs in the retries of some exceptions.

    An actor's option ``retry_policies`` lists them; the first that is for an exception counts.

    Times are milliseconds or a timedelta, as in all options of actors. None leaves what the task says.
    """

    #: Classes of exceptions.
    on: type[BaseException] | tuple[type[BaseException], ...]
    #: None: as the task says; it counts all failures of the task, whatever their exceptions.
    max_retries: int | None = None
    #: In place of the backoff.
    delay: float | timedelta | None = None
    #: Where the task goes on; it stays there.
    queue: str | None = None
    priority: int | None = None


class Verdict(NamedTuple):
    """The decision after a failure: the task runs again after the delay, or it dies."""

    delay_seconds: float
    death: DeathReason | None


def after_failure(
    failures: int,
    *,
    max_retries: int | None,
    min_backoff_seconds: float,
    max_backoff_seconds: float,
    delay_seconds: float | None = None,
    failed_at: datetime | None = None,
    retry_until: datetime | None = None,
    exhausted: DeathReason = DeathReason.MAX_RETRIES_EXCEEDED,
) -> Verdict:
    """Decide what follows from the ``failures``-th failure of a task (1 for the first).

    Parameters:
        max_retries: None means always.
        delay_seconds: in place of the backoff.
        failed_at, retry_until: a retry that would begin after ``retry_until`` is given up.
        exhausted: what the task dies of when it has no retries left.
    """
    delay = delay_seconds
    if delay is None:
        delay = backoff_seconds(failures, minimum=min_backoff_seconds, maximum=max_backoff_seconds)
    if not may_retry(failures, max_retries=max_retries):
        return Verdict(delay, exhausted)
    # As numbers: a delay of a hundred years may lie beyond the dates that Python knows.
    if retry_until is not None and failed_at is not None and failed_at.timestamp() + delay > retry_until.timestamp():
        return Verdict(delay, DeathReason.GAVE_UP)
    return Verdict(delay, None)


def after_crash(crashes: int, *, limit: int) -> DeathReason | None:
    """Decide what follows when workers have crashed ``crashes`` times under a task: None lets it run again at once."""
    return DeathReason.CRASH_LOOP if crashes >= limit else None


def may_retry(failures: int, *, max_retries: int | None) -> bool:
    """Tell whether a task that has now failed ``failures`` times runs again; ``max_retries=None`` means always."""
    return max_retries is None or failures <= max_retries


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
