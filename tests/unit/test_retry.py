"""What follows from a failure or a crash: pure functions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import retry
from tasks.states import DeathReason

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BACKOFF: dict[str, Any] = {"min_backoff_seconds": 2, "max_backoff_seconds": 3600}


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(0, 1e9))
def test_a_delay_lies_between_d_and_a_quarter_more(failures: int, minimum: float, maximum: float) -> None:
    d = min(maximum, minimum * 2.0 ** min(failures - 1, 1000))
    assert d <= retry.backoff_seconds(failures, minimum=minimum, maximum=maximum) <= 1.25 * d or d == 0
    assert retry.backoff_seconds(failures, minimum=minimum, maximum=maximum, uniform=lambda low, high: low) == d


def test_the_first_delays_are_two_four_eight_seconds() -> None:
    def shortest(failures: int) -> float:
        return retry.backoff_seconds(failures, minimum=2, maximum=3600, uniform=lambda low, high: low)

    assert [shortest(n) for n in (1, 2, 3, 12, 99)] == [2, 4, 8, 3600, 3600]


def test_retries_are_counted_after_the_first_failure() -> None:
    assert [retry.may_retry(n, max_retries=2) for n in (1, 2, 3)] == [True, True, False]
    assert not retry.may_retry(1, max_retries=0)
    assert retry.may_retry(10**9, max_retries=None)


# --- Verdicts ---


def test_a_failure_with_retries_left_runs_again_after_its_backoff() -> None:
    verdict = retry.after_failure(3, max_retries=3, **BACKOFF)
    assert 8 <= verdict.delay_seconds <= 10
    assert verdict.death is None


@pytest.mark.parametrize("reason", [DeathReason.MAX_RETRIES_EXCEEDED, DeathReason.STUCK_TASK_TIMEOUT])
def test_a_failure_without_retries_left_dies_for_the_callers_reason(reason: DeathReason) -> None:
    given: dict[str, Any] = {} if reason == DeathReason.MAX_RETRIES_EXCEEDED else {"exhausted": reason}
    assert retry.after_failure(4, max_retries=3, **BACKOFF, **given).death == reason


@pytest.mark.parametrize(("window", "death"), [(10, None), (9.9, DeathReason.GAVE_UP)])
def test_a_retry_that_would_begin_after_the_retry_window_is_given_up(window: float, death: Any) -> None:
    verdict = retry.after_failure(
        1,
        max_retries=3,
        **BACKOFF,
        delay_seconds=10,
        failed_at=NOW,
        retry_until=NOW + timedelta(seconds=window),
    )
    assert verdict == (10, death)


def test_the_longest_delay_is_compared_with_the_retry_window_without_overflow() -> None:
    late = datetime(9999, 12, 31, tzinfo=UTC)
    verdict = retry.after_failure(
        1, max_retries=3, **BACKOFF, delay_seconds=retry.MOST_SECONDS, failed_at=late, retry_until=late
    )
    assert verdict.death == DeathReason.GAVE_UP


def test_retries_that_are_exhausted_are_the_reason_even_after_the_retry_window() -> None:
    verdict = retry.after_failure(1, max_retries=0, **BACKOFF, failed_at=NOW, retry_until=NOW)
    assert verdict.death == DeathReason.MAX_RETRIES_EXCEEDED


def test_a_task_dies_at_the_crash_limit() -> None:
    assert [retry.after_crash(crashes, limit=2) for crashes in (1, 2, 3)] == [
        None,
        DeathReason.CRASH_LOOP,
        DeathReason.CRASH_LOOP,
    ]
