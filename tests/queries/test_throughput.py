"""Throughput and latencies of the last minutes."""

from datetime import timedelta

import pytest

from tasks import lifecycle
from tasks.queries import throughput
from tasks.states import Status
from tests.factories import make_due, make_task, outcome, start, submit

pytestmark = pytest.mark.django_db


def test_recent_attempts_have_rates_and_percentiles(worker) -> None:
    for seconds in range(1, 101):
        claimed = start(submit(), worker)
        ends = claimed.claimed_at + timedelta(seconds=seconds)
        lifecycle.complete_many([outcome(claimed, worker, finished_at=ends)])
    make_task(Status.DEAD)
    found = throughput.recent(minutes=5)
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
    assert throughput.recent(minutes=5).wait.p50 == pytest.approx(365 * 86_400, abs=60)


def test_nothing_recent_has_no_percentiles(db) -> None:
    found = throughput.recent(minutes=5)
    assert (found.attempts, found.per_second) == ({}, 0)
    assert found.run == found.wait == (None, None, None)


def test_a_busy_period_is_measured_up_to_its_latest_part(worker, monkeypatch) -> None:
    monkeypatch.setattr(throughput, "MOST_ATTEMPTS", 10)
    for minutes in range(1, 40):
        claimed = start(submit(), worker)
        ends = claimed.claimed_at - timedelta(minutes=minutes - 0.5)
        lifecycle.complete_many([outcome(claimed, worker, started_at=ends, finished_at=ends)])
    found = throughput.recent(minutes=60)
    assert found.is_capped
    assert found.measured_minutes == 7.5
    assert found.attempts == {"SUCCEEDED": 7}
    assert found.per_second == pytest.approx(7 / 450)


def test_attempts_of_old_tasks_are_measured_too(worker, monkeypatch) -> None:
    monkeypatch.setattr(throughput, "MOST_ATTEMPTS", 2)
    old = start(submit(), worker)
    for _ in range(3):
        claimed = start(submit(), worker)
        ended = claimed.claimed_at - timedelta(days=1)
        lifecycle.complete_many([outcome(claimed, worker, started_at=ended, finished_at=ended)])
    lifecycle.complete_many([outcome(old, worker)])
    assert throughput.recent(minutes=5).attempts == {"SUCCEEDED": 1}
