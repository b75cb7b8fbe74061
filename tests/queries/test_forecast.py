"""When a waiting task is expected to start."""

from datetime import timedelta

import pytest

from tasks import lifecycle
from tasks.lifecycle import queues
from tasks.queries import forecast
from tasks.queries.forecast import Forecast, expected_start, free_in_seconds
from tasks.states import DUE, Obstacle, Status
from tests import factories
from tests.factories import age, make_due, make_task, make_worker, submit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _leader(db):
    factories.make_leader()


def seconds(task):
    task.refresh_from_db()
    found = expected_start(task)
    assert found is not None
    return found.seconds


@pytest.mark.parametrize(
    ("ahead", "threads", "expected"),
    [
        ([], 2, 0),
        ([60], 2, 0),
        ([60, 60], 2, 60),
        ([60, 60, 60], 2, 60),
        ([60, 10, 10], 2, 20),
        ([5] * 8, 4, 10),
        ([0] * 1000, 1, 0),
    ],
)
def test_each_task_goes_to_the_thread_that_is_free_first(ahead, threads, expected):
    assert free_in_seconds(ahead, threads=threads) == expected


def test_with_nothing_ahead_it_starts_now(worker):
    assert expected_start(submit()) == Forecast(0)


def test_higher_priorities_and_older_tasks_go_first():
    make_worker(threads=1)
    old = submit(estimated_seconds=100, priority=4)
    make_due(old)
    task = submit(estimated_seconds=7, priority=5)
    submit(estimated_seconds=20, priority=9)
    make_due(submit(estimated_seconds=3, priority=5))
    submit(estimated_seconds=1000, priority=5)
    assert seconds(task) == 23
    assert seconds(old) == 20 + 3 + 7 + 1000


def test_queued_tasks_are_ahead_of_waiting_ones():
    make_worker(threads=1)
    queued = make_task(Status.QUEUED, estimated_seconds=30)
    task = submit()
    assert seconds(task) == 30
    assert seconds(queued) == 0


def test_a_running_task_is_ahead_with_the_time_that_it_has_left():
    worker = make_worker(threads=1)
    running = make_task(Status.RUNNING, worker=worker, queue="other", estimated_seconds=60)
    age(running, started_at=timedelta(seconds=20))
    task = submit()
    assert seconds(task) == pytest.approx(40, abs=5)
    age(running, started_at=timedelta(seconds=200))
    assert seconds(task) == 0


def test_other_queues_do_not_count_while_they_wait(worker):
    for _ in range(9):
        submit(queue="other", estimated_seconds=60, priority=9)
    assert seconds(submit()) == 0


def test_without_an_estimate_an_actor_counts_as_long_as_it_ran_lately():
    worker = make_worker(threads=1)
    for ran in (10, 20):
        claimed = factories.start(submit(), worker)
        finished_at = claimed.claimed_at + timedelta(seconds=ran)
        lifecycle.complete_many([factories.outcome(claimed, worker, finished_at=finished_at)])
    submit(priority=9)
    submit(priority=9, estimated_seconds=1)
    assert seconds(submit()) == pytest.approx(16)


def test_there_is_no_forecast_while_no_worker_would_run_it(worker):
    task = submit()
    queues.pause("default")
    assert seconds(task) is None
    queues.resume("default")
    assert seconds(task) == 0
    factories.let_lease_run_out(worker)
    assert seconds(task) is None


def test_workers_of_another_band_are_no_help():
    make_worker(threads=1, queues=("default.low", "other"))
    assert seconds(submit(priority=5)) is None
    assert seconds(submit(priority=1)) == 0


@pytest.mark.parametrize("status", [status for status in Status if status not in DUE | {Status.QUEUED}])
def test_only_waiting_tasks_have_a_forecast(worker, status):
    if status != Status.BLOCKED:
        assert expected_start(make_task(status, worker=worker)) is None


def test_before_its_time_it_does_not_start(worker):
    found = expected_start(submit(delay_seconds=60))
    assert found is not None
    assert found.seconds is not None
    assert found.is_at_least
    assert 50 < found.seconds <= 60


def test_a_backlog_is_looked_at_up_to_a_bound(monkeypatch):
    make_worker(threads=1)
    monkeypatch.setattr(forecast, "MOST_AHEAD", 3)
    for _ in range(5):
        submit(priority=9, estimated_seconds=2)
    found = expected_start(submit())
    assert found is not None
    assert found[:2] == (6, True)
    assert [(one.kind, one.message) for one in found.waiting_for] == [
        (Obstacle.TASKS_AHEAD, "behind at least 3 other tasks")
    ]
