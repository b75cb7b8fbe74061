"""What a waiting task waits for: all obstacles at once, each in words and as facts."""

from datetime import timedelta
from typing import Any

import pytest

from tasks.lifecycle import Author, queues, schedules
from tasks.models import Journal, Lease, Task, Worker
from tasks.queries.forecast import expected_start
from tasks.states import DUE, Door, Obstacle, Status
from tests import factories
from tests.factories import database_now, make_task, make_worker, submit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _leader(db: None) -> None:
    factories.make_leader()


def told(task: Task) -> list[tuple[str, str]]:
    task.refresh_from_db()
    forecast = expected_start(task)
    return [(one.kind, one.message) for one in forecast.waiting_for] if forecast else []


def facts(task: Task) -> Any:
    forecast = expected_start(task)
    assert forecast is not None
    (one,) = forecast.waiting_for
    return one.facts


def test_a_task_that_can_start_waits_for_nothing(worker: Worker) -> None:
    assert told(submit()) == []


def test_a_pause_says_by_whom_since_when_and_why(worker: Worker) -> None:
    task = submit()
    queues.pause("default", by=Author("ada", Door.API, "too hot"))
    queue = queues.resume("default")
    queue = queues.pause("default", by=Author("bob", Door.CLI, "too cold"))
    since = f"{queue.paused_at:%Y-%m-%d %H:%M:%S} UTC"
    assert told(task) == [("queue_paused", f"queue default is paused by bob since {since}: too cold")]
    assert facts(task) == {"queue": "default", "by": "bob", "since": queue.paused_at, "reason": "too cold"}
    Journal.objects.all().delete()
    assert told(task) == [("queue_paused", f"queue default is paused since {since}")]


def test_nobody_who_serves_the_band_and_nobody_who_knows_the_actor_are_told_apart() -> None:
    task = submit()
    assert told(task) == [("queue_not_served", "no live worker serves the band medium of queue default")]
    only = make_worker(queues=("default.low", "other"))
    assert [kind for kind, _ in told(task)] == [Obstacle.QUEUE_NOT_SERVED]
    Worker.objects.filter(pk=only.pk).update(queues=["default"], actors=["other"])
    assert told(task) == [("actor_not_served", "no live worker that serves queue default knows the actor act")]
    assert facts(task) == {"queue": "default", "actor": "act"}


def test_all_obstacles_are_told_at_once() -> None:
    Lease.objects.all().delete()
    task = submit(run_at=database_now() + timedelta(hours=1))
    queues.pause("default")
    kinds = [Obstacle.NO_SCHEDULER, Obstacle.QUEUE_PAUSED, Obstacle.QUEUE_NOT_SERVED, Obstacle.NOT_DUE]
    assert [kind for kind, _ in told(task)] == kinds
    forecast = expected_start(task)
    assert forecast is not None
    assert forecast.seconds is None
    assert forecast.obstacle.startswith("no scheduler is running; queue default is paused since")
    assert "not due" not in forecast.obstacle


def test_a_dispatched_task_needs_no_scheduler(worker: Worker) -> None:
    task = make_task(Status.QUEUED)
    Lease.objects.all().delete()
    assert told(task) == []


def test_tasks_ahead_and_busy_threads_are_counted() -> None:
    worker = make_worker(threads=1)
    make_task(Status.RUNNING, worker=worker)
    task = submit()
    assert told(task) == [("threads_busy", "the only thread that serves it is busy")]
    submit(priority=9)
    assert told(task) == [
        ("tasks_ahead", "behind 1 other task"), ("threads_busy", "the only thread that serves it is busy"),
    ]  # fmt: skip


def test_the_jitter_of_a_schedule_is_told(worker: Worker) -> None:
    schedule = factories.make_schedule(jitter_seconds=60.0)
    task = schedules.run(schedule.pk)
    task.run_at = task.created_at + timedelta(hours=1)
    task.save(update_fields=["run_at"])
    fired = f"{task.scheduled_at:%Y-%m-%d %H:%M:%S} UTC"
    due = f"not due until {task.run_at:%Y-%m-%d %H:%M:%S} UTC"
    assert told(task) == [("not_due", f"{due}: its schedule fired at {fired} and starts tasks with jitter")]
    assert facts(task)["schedule_id"] == str(schedule.pk)
    # A retry waits for itself.
    task.failures = task.attempt = 1
    task.save(update_fields=["failures", "attempt"])
    assert told(task) == [("not_due", due)]


def test_the_row_alone_tells_when_it_is_due(django_assert_num_queries: Any) -> None:
    later = submit(run_at=database_now() + timedelta(hours=1))
    now = submit()
    with django_assert_num_queries(0):
        assert later.is_early
        assert not now.is_early


@pytest.mark.parametrize("status", [status for status in Status if status not in {*DUE, Status.QUEUED}])
def test_a_task_that_does_not_wait_waits_for_nothing(worker: Worker, status: Status) -> None:
    if status is not Status.BLOCKED:
        assert told(make_task(status, worker=worker)) == []
