"""stats: counts of processes add up in the row of their minute, and old rows move into longer periods unchanged."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.lifecycle.stats import fold_stats, forget_stats, record_stats
from tasks.models import TaskStat, Term
from tests.factories import Lead, database_now

pytestmark = pytest.mark.django_db

HOUR, DAY = 3_600, 86_400


def counted(count: int = 1, **fields: Any) -> dict[str, Any]:
    """Give a row as a process counts it."""
    row = {"actor": "act", "queue": "default", "outcome": "SUCCEEDED", "run_seconds": 0.5 * count, "waits": [count]}
    return {**row, "count": count, "runs": [0, count], **fields}


def minutes_of(moment: datetime, *, step: int, number: int = 3, **fields: Any) -> None:
    """Store one row for each of some periods from a moment on."""
    for nth in range(number):
        TaskStat.objects.create(
            span_seconds=60, start=moment + timedelta(seconds=nth * step), **counted(nth + 1, **fields)
        )


def rows(span: int) -> list[TaskStat]:
    return list(TaskStat.objects.filter(span_seconds=span).order_by("start", "actor"))


def test_counts_of_two_processes_add_up_in_one_row() -> None:
    record_stats([counted(2), counted(3, actor="other", waits=[], runs=[])], age_seconds=0)
    record_stats([counted(5, waits=[1, 0, 4], runs=[])], age_seconds=0)
    (act, other) = rows(60)
    assert (act.count, act.run_seconds, act.waits, act.runs) == (7, 3.5, [3, 0, 4], [0, 2])
    assert (other.count, other.waits, other.runs) == (3, [], [])
    assert act.start == database_now().replace(second=0, microsecond=0)


def test_counts_belong_to_the_minute_in_which_they_began() -> None:
    record_stats([counted()], age_seconds=180)
    assert rows(60)[0].start == (database_now() - timedelta(minutes=3)).replace(second=0, microsecond=0)


def test_old_minutes_become_hours_and_nothing_is_lost(lead: Lead) -> None:
    old = (database_now() - timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    minutes_of(old, step=60)
    minutes_of(old, step=60, actor="other", waits=[], runs=[])
    record_stats([counted()], age_seconds=0)
    bounds: dict[str, Any] = {"into": HOUR, "keep_seconds": DAY, "batch": 4, **lead}
    assert [fold_stats(60, **bounds) for _ in range(3)] == [4, 2, 0]
    (act, other) = rows(HOUR)
    assert (act.start, act.count, act.run_seconds, act.waits, act.runs) == (old, 6, 3.0, [6, 0], [0, 6])
    assert (other.count, other.waits, other.runs) == (6, [], [])
    assert [one.count for one in rows(60)] == [1]


def test_an_hour_that_is_not_over_is_not_folded(lead: Lead) -> None:
    now = database_now()
    TaskStat.objects.create(span_seconds=60, start=now.replace(minute=0, second=0, microsecond=0), **counted())
    assert fold_stats(60, into=HOUR, keep_seconds=0, batch=10, **lead) == 0


def test_a_deposed_leader_folds_and_removes_nothing(lead: Lead) -> None:
    minutes_of(datetime(2026, 1, 1, tzinfo=UTC), step=60)
    Term.objects.update(term=lead["term"] + 1)
    assert fold_stats(60, into=HOUR, keep_seconds=0, batch=10, **lead) == 0
    assert forget_stats(60, keep_seconds=0, batch=10, **lead) == 0


def test_the_oldest_are_removed(lead: Lead) -> None:
    minutes_of(database_now() - timedelta(days=3), step=DAY)
    assert forget_stats(60, keep_seconds=1.5 * DAY, batch=10, **lead) == 2
    assert len(rows(60)) == 1
