"""Task statistics: what is counted of the verbs, when it is written, and what a process may lose."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from tasks import lifecycle
from tasks.lifecycle import Moved
from tasks.lifecycle.stats import record_stats
from tasks.models import TaskStat, new_id
from tasks.states import Status, TaskOutcome
from tasks.telemetry import task_stats
from tasks.telemetry.task_stats import MOST_KEYS, Counts, Recorder, outcome_of
from tests.factories import database_now, outcome, start, submit


def counted() -> dict[tuple[str, str], int]:
    """Sum up what is written, by actor and outcome."""
    sums: dict[tuple[str, str], int] = {}
    for one in TaskStat.objects.all():
        sums[one.actor, one.outcome] = sums.get((one.actor, one.outcome), 0) + one.count
    return sums


@pytest.fixture
def recorder(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Give a recorder that hears lifecycle, and end its session."""
    mine = Recorder()
    monkeypatch.setattr(task_stats, "recorder", mine)
    monkeypatch.setattr(task_stats, "IDLE_SECONDS", 0.01)
    task_stats.connect()
    yield mine
    task_stats.disconnect()
    mine.flush(5)


@pytest.mark.parametrize(
    ("verb", "status", "counts_as"),
    [
        ("submit", Status.PENDING, TaskOutcome.SUBMITTED),
        ("submit", Status.BLOCKED, TaskOutcome.SUBMITTED),
        ("redrive", Status.PENDING, TaskOutcome.SUBMITTED),
        ("retry", Status.RETRYING, None),
        ("complete", Status.RETRYING, TaskOutcome.RETRYING),
        ("complete", Status.PENDING, TaskOutcome.PENDING),
        ("rescue", Status.DEAD, TaskOutcome.DEAD),
        ("expire", Status.DEAD, TaskOutcome.DEAD),
        ("cancel", Status.CANCELLED, TaskOutcome.CANCELLED),
        ("cancel", Status.RUNNING, None),
        ("dispatch", Status.QUEUED, None),
    ],
)
def test_each_move_counts_as_what_it_did(verb: str, status: Status, counts_as: TaskOutcome | None) -> None:
    assert outcome_of(verb, status) is counts_as


def test_actors_beyond_the_bound_are_counted_together() -> None:
    counts = Counts()
    counts.add("submit", [Moved(new_id(), "PENDING", f"a{nth}", "q", "") for nth in range(MOST_KEYS + 5)], 0.0)
    rows = counts.rows()
    assert len(rows) == MOST_KEYS + 1
    assert {row["count"] for row in rows if not row["actor"]} == {5}


def test_a_life_is_counted_with_its_wait_and_its_run(recorder: Recorder, worker: Any) -> None:
    held = start(submit(), worker)
    began = database_now()
    ended = outcome(held, worker, started_at=began, finished_at=began + timedelta(seconds=2))
    assert lifecycle.succeed(ended)
    assert recorder.flush(5)
    assert counted() == {("act", "SUBMITTED"): 1, ("act", "SUCCEEDED"): 1}
    (row,) = TaskStat.objects.filter(outcome="SUCCEEDED")
    assert row.run_seconds == pytest.approx(2)
    assert row.runs == [0] * 10 + [1]
    assert sum(row.waits) == 1


def test_what_is_rolled_back_is_not_counted(recorder: Recorder) -> None:
    with transaction.atomic():
        submit()
        transaction.set_rollback(True)
    submit()
    assert recorder.flush(5)
    assert counted() == {("act", "SUBMITTED"): 1}


def test_counts_wait_while_they_cannot_be_written(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def failing(rows: Any, **options: Any) -> int:
        tries.append(len(rows))
        if len(tries) == 1:
            raise DatabaseError("away")
        return record_stats(rows, **options)

    monkeypatch.setattr(task_stats, "record_stats", failing)
    monkeypatch.setattr(task_stats, "PAUSE_AFTER_ERROR_SECONDS", 0.05)
    submit()
    assert recorder.flush(5)
    assert counted() == {("act", "SUBMITTED"): 1}
    assert tries == [1, 1]


def test_a_forked_child_counts_nothing_of_its_parent() -> None:
    recorder = Recorder()
    recorder._pid = os.getpid()
    recorder.note(verb="submit", moves=[Moved(new_id(), "PENDING", "act", "q", "")], at=0.0)
    recorder.reset()
    assert recorder._pending.empty()
    assert recorder._pid is None
