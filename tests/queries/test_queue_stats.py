"""The statistics of a queue."""

from datetime import timedelta

import pytest

from tasks.lifecycle import queues
from tasks.queries import queue_stats
from tasks.states import Status
from tests.factories import age, let_lease_run_out, make_task, make_worker, submit

pytestmark = pytest.mark.django_db


def stats_of(name: str) -> queue_stats.QueueStats:
    return next(one for one in queue_stats.all_queue_stats() if one.name == name)


def test_tasks_of_a_queue_are_counted_by_where_they_stand(worker) -> None:
    make_task(Status.RUNNING, worker=worker)
    make_task(Status.QUEUED)
    submit(delay_seconds=60)
    age(submit(priority=1), run_at=timedelta(seconds=90))
    submit(queue="other")
    stats = stats_of("default")
    assert (stats.waiting, stats.queued, stats.running) == ((2, False), 1, 1)
    assert stats.oldest_due_seconds == pytest.approx(90, abs=5)
    assert stats_of("other").waiting == (1, False)


def test_a_queue_without_due_tasks_has_no_oldest(worker) -> None:
    submit(delay_seconds=60)
    assert stats_of("default").oldest_due_seconds is None


def test_threads_are_those_of_live_workers_of_the_queue_or_one_of_its_bands(worker) -> None:
    make_worker(threads=3, queues=("default.high", "default.low"))
    make_worker(threads=16, queues=("other",))
    let_lease_run_out(make_worker(threads=32, queues=("default",)))
    assert (stats_of("default").threads, stats_of("other").threads) == (7, 20)


def test_a_paused_queue_says_since_when(worker) -> None:
    queues.pause("default")
    assert stats_of("default").paused_at is not None
    assert stats_of("other").paused_at is None
