"""put_back: claimed tasks that were not started return."""

from datetime import timedelta

import pytest

from tasks import lifecycle
from tasks.models import Attempt, Task
from tasks.states import Status
from tests.factories import age, database_now, make_task, make_worker, start, submit

pytestmark = pytest.mark.django_db


def test_an_unstarted_task_goes_back_in_its_old_place_without_an_attempt_row(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    run_at = task.run_at
    assert lifecycle.put_back_many([(task.pk, claimed.attempt)], worker_id=worker.pk) == 1
    task.refresh_from_db()
    assert (task.status, task.run_at, task.worker_id) == (Status.PENDING, run_at, None)
    assert (task.started_at, task.queued_at) == (None, None)
    assert (task.dispatch, task.attempt, task.failures, task.crashes) == (1, 1, 0, 0)
    assert not Attempt.objects.exists()


def test_the_attempt_number_stays_used(worker) -> None:
    task = submit()
    lifecycle.put_back_many([(task.pk, start(task, worker).attempt)], worker_id=worker.pk)
    assert start(task, worker).attempt == 2


def test_a_delay_puts_it_off(worker) -> None:
    task = submit()
    lifecycle.put_back_many([(task.pk, start(task, worker).attempt)], worker_id=worker.pk, delay_seconds=30)
    task.refresh_from_db()
    assert timedelta(seconds=29) < task.run_at - database_now() < timedelta(seconds=31)


def test_an_old_attempt_or_another_worker_puts_nothing_back(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    assert lifecycle.put_back_many([(task.pk, claimed.attempt - 1)], worker_id=worker.pk) == 0
    assert lifecycle.put_back_many([(task.pk, claimed.attempt)], worker_id=make_worker().pk) == 0
    task.refresh_from_db()
    assert task.status == Status.RUNNING


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_only_a_running_task_is_put_back(worker, status: Status) -> None:
    task = make_task(status, worker=worker)
    assert lifecycle.put_back_many([(task.pk, task.attempt)], worker_id=worker.pk) == 0
    task.refresh_from_db()
    assert task.status == status


def test_a_requested_cancel_takes_effect(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    lifecycle.cancel(task.pk)
    assert lifecycle.put_back_many([(task.pk, claimed.attempt)], worker_id=worker.pk) == 1
    task.refresh_from_db()
    assert (task.status, task.cancel_requested_at) == (Status.CANCELLED, None)
    assert task.finished_at is not None


def test_a_task_that_it_cancels_is_announced_as_cancelled_so_that_its_children_learn_of_it(
    worker, announcements
) -> None:
    kept, cancelled = submit(), submit()
    keys = [(task.pk, start(task, worker).attempt) for task in (kept, cancelled)]
    lifecycle.cancel(cancelled.pk)
    with announcements() as heard:
        assert lifecycle.put_back_many(keys, worker_id=worker.pk) == 2
    moves = [(one.verb, move.id, move.status) for one in heard for move in one.moves]
    assert moves == [("put_back", kept.pk, Status.PENDING), ("cancel", cancelled.pk, Status.CANCELLED)]


def test_a_batch_skips_tasks_that_it_cannot_move(worker, announcements) -> None:
    held, lost = submit(), submit()
    keys = [(task.pk, start(task, worker).attempt) for task in (held, lost)]
    lifecycle.put_back_many(keys[1:], worker_id=worker.pk)
    with announcements() as heard:
        assert lifecycle.put_back_many(keys, worker_id=worker.pk) == 1
    assert [move.id for move in heard[0].moves] == [held.pk]
    assert lifecycle.put_back_many([], worker_id=worker.pk) == 0
    assert set(Task.objects.values_list("status", flat=True)) == {Status.PENDING}


def test_a_delay_never_brings_it_forward(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    # The database's clock was set back meanwhile.
    age(task, run_at=-timedelta(hours=1))
    due_at = task.run_at
    lifecycle.put_back_many([(task.pk, claimed.attempt)], worker_id=worker.pk, delay_seconds=1)
    task.refresh_from_db()
    assert task.run_at == due_at
