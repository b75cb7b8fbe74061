"""Statistics: what they count, and where they stop."""

from datetime import timedelta

import pytest

from tasks import lifecycle
from tasks.lifecycle import queues
from tasks.queries import queue_stats
from tasks.states import Status
from tests.factories import age, let_lease_run_out, make_due, make_task, make_worker, outcome, start, submit

pytestmark = pytest.mark.django_db


def test_every_status_is_counted(worker) -> None:
    for status in Status:
        make_task(status, worker=worker)
    assert queue_stats.counts_by_status() == dict.fromkeys(Status, queue_stats.Count(1, False))


def test_counting_stops_at_the_cap_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_stats, "COUNT_CAP", 2)
    for _ in range(3):
        submit()
    counts = queue_stats.counts_by_status()
    assert counts[Status.PENDING] == (2, True)
    assert counts[Status.DEAD] == (0, False)


def test_what_has_no_index_says_when_older_tasks_were_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_stats, "NEWEST_TASKS", 2)
    make_task(Status.SUCCEEDED)
    assert queue_stats.counts_by_status()[Status.SUCCEEDED] == (1, False)
    submit()
    submit()
    assert queue_stats.counts_by_status()[Status.SUCCEEDED] == (0, True)


def _standing(name: str) -> queue_stats.Standing:
    return next(one for one in queue_stats.queue_standings() if one.name == name)


def test_a_queue_stands_as_its_tasks_do(worker) -> None:
    make_task(Status.RUNNING, worker=worker)
    make_task(Status.QUEUED)
    submit(delay_seconds=60)
    age(submit(priority=1), run_at=timedelta(seconds=90))
    submit(queue="other")
    standing = _standing("default")
    assert (standing.waiting, standing.queued, standing.running) == ((2, False), 1, 1)
    assert standing.oldest_due_seconds == pytest.approx(90, abs=5)
    assert _standing("other").waiting == (1, False)


def test_a_queue_without_due_tasks_has_no_oldest(worker) -> None:
    submit(delay_seconds=60)
    assert _standing("default").oldest_due_seconds is None


def test_threads_are_those_of_live_workers_of_the_queue_or_one_of_its_bands(worker) -> None:
    make_worker(threads=3, queues=("default.high", "default.low"))
    make_worker(threads=16, queues=("other",))
    let_lease_run_out(make_worker(threads=32, queues=("default",)))
    assert (_standing("default").threads, _standing("other").threads) == (7, 20)


def test_a_paused_queue_says_since_when(worker) -> None:
    queues.pause("default")
    assert _standing("default").paused_at is not None
    assert _standing("other").paused_at is None


def test_recent_attempts_have_rates_and_percentiles(worker) -> None:
    for seconds in range(1, 101):
        claimed = start(submit(), worker)
        ends = claimed.claimed_at + timedelta(seconds=seconds)
        lifecycle.complete_many([outcome(claimed, worker, finished_at=ends)])
    make_task(Status.DEAD)
    found = queue_stats.recent(minutes=5)
    assert found.attempts == {"SUCCEEDED": 100, "FAILED": 1}
    assert found.per_second == pytest.approx(101 / 300)
    assert found.run.p50 == pytest.approx(50, abs=1)
    assert found.run.p99 == pytest.approx(99, abs=1)
    assert found.wait.p50 is not None
    assert 0 <= found.wait.p50 < 5
    assert not found.is_capped


def test_the_wait_counts_from_when_a_task_was_due(worker) -> None:
    task = submit()
    make_due(task)
    claimed = start(task, worker)
    lifecycle.complete_many([outcome(claimed, worker)])
    assert queue_stats.recent(minutes=5).wait.p50 == pytest.approx(365 * 86_400, abs=60)


def test_nothing_recent_has_no_percentiles(db) -> None:
    found = queue_stats.recent(minutes=5)
    assert (found.attempts, found.per_second) == ({}, 0)
    assert found.run == found.wait == (None, None, None)
