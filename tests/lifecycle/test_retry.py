"""retry: an operator runs a task again."""

from datetime import timedelta
from uuid import uuid4

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import IllegalTransition, InvalidTask, NotFound
from tasks.lifecycle import Author, workers
from tasks.models import Journal, Task
from tasks.states import Resolution, Status
from tasks.worker.flight_recorder import Record
from tests.factories import database_now, dispatch, failure, make_task, make_worker, open_letter, start, submit

pytestmark = pytest.mark.django_db

RETRYABLE = [Status.DEAD, Status.RETRYING, Status.CANCELLED]


def test_a_retrying_task_runs_now_and_keeps_its_failures() -> None:
    task = make_task(Status.RETRYING)
    assert lifecycle.retry(task.pk, by=Author("ann")) == Status.RETRYING
    task.refresh_from_db()
    assert (task.status, task.failures, task.attempt) == (Status.RETRYING, 1, 1)
    assert dispatch(task).dispatch == 2
    assert Journal.objects.get().verb == "retry"


def test_a_dead_task_starts_a_second_life_and_its_letter_is_resolved(worker) -> None:
    task = submit(max_retries=0, retry_for_seconds=5)
    lifecycle.fail(failure(start(task, worker), worker, death="max_retries_exceeded"))
    letter = open_letter(task)
    assert lifecycle.retry(task.pk, by=Author("ann")) == Status.PENDING
    task.refresh_from_db()
    assert (task.dispatch, task.attempt, task.failures, task.crashes) == (1, 1, 0, 0)
    assert (task.finished_at, task.retry_until, task.result) == (None, None, None)
    letter.refresh_from_db()
    assert (letter.resolution, letter.resolved_by) == (Resolution.REDRIVEN, "ann")
    assert Journal.objects.get().verb == "redrive"


def test_a_cancelled_task_begins_again() -> None:
    task = make_task(Status.CANCELLED, max_age_seconds=60)
    expires_at = task.expires_at
    assert lifecycle.retry(task.pk) == Status.PENDING
    task.refresh_from_db()
    assert (task.status, task.finished_at) == (Status.PENDING, None)
    assert task.expires_at is not None
    assert expires_at is not None
    assert task.expires_at > expires_at
    assert dispatch(task).dispatch == 1


def test_a_cancelled_task_that_was_for_later_runs_now() -> None:
    task = make_task(Status.CANCELLED, delay_seconds=3600)
    lifecycle.retry(task.pk)
    task.refresh_from_db()
    assert task.run_at - task.created_at < timedelta(minutes=1)


@pytest.mark.parametrize("status", [status for status in Status if status not in RETRYABLE])
def test_any_other_task_is_refused_by_its_status(status: Status) -> None:
    task = make_task(status)
    with pytest.raises(IllegalTransition, match=f"cannot retry a task that is {status}; it must be DEAD or"):
        lifecycle.retry(task.pk)
    task.refresh_from_db()
    assert task.status == status
    assert not Journal.objects.exists()


def test_a_missing_row_is_not_found() -> None:
    with pytest.raises(NotFound):
        lifecycle.retry(uuid4())


def test_a_dead_task_whose_letter_was_discarded_can_be_retried() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    lifecycle.discard(letter.pk)
    assert lifecycle.retry(task.pk) == Status.PENDING
    letter.refresh_from_db()
    assert letter.resolution == Resolution.DISCARDED


def test_many_skip_tasks_that_they_cannot_move(announcements) -> None:
    tasks = [make_task(status) for status in (Status.DEAD, Status.SUCCEEDED, Status.CANCELLED, Status.PENDING)]
    with announcements() as heard:
        moves = lifecycle.retry_many([*(task.pk for task in tasks), uuid4()])
    assert {move.id for move in moves} == {tasks[0].pk, tasks[2].pk}
    # What an operator did to a dead task has one name, whichever verb was called.
    assert [(one.verb, [move.id for move in one.moves]) for one in heard] == [
        ("redrive", [tasks[0].pk]),
        ("retry", [tasks[2].pk]),
    ]
    assert not DeadLetter.objects.open().exists()


def test_a_retry_raises_the_version() -> None:
    task = make_task(Status.DEAD)
    lifecycle.retry(task.pk)
    version = task.version
    task.refresh_from_db()
    assert task.version == version + 1


def test_a_retrying_task_that_runs_now_is_still_in_its_first_life(worker, lead) -> None:
    task = submit(max_age_seconds=1000, retry_for_seconds=500)
    claimed = start(task, worker)
    record = Record(f"{claimed.id}:{claimed.attempt}", database_now(), is_stuck=False, has_ended=False)
    workers.report_end(worker.pk, kind="crashed", detail="killed", records=[record])
    lifecycle.rescue_lost(**lead)
    other = make_worker()
    task.refresh_from_db()
    lifecycle.fail(failure(start(task, other), other, retry_delay_seconds=3600))
    task.refresh_from_db()
    before = (task.crashes, task.failures, task.retry_until, task.expires_at)
    assert before[:2] == (1, 1)
    lifecycle.retry(task.pk)
    task.refresh_from_db()
    assert (task.crashes, task.failures, task.retry_until, task.expires_at) == before
    assert None not in before


def outdate(task: Task) -> None:
    """Let a release change what the task's actor takes."""
    Task.objects.filter(pk=task.pk).update(payload={"what": "an older release took"})


@pytest.mark.parametrize("status", RETRYABLE)
def test_a_task_that_no_longer_fits_its_actor_is_not_run_again(status: Status) -> None:
    task = make_task(status)
    outdate(task)
    with pytest.raises(InvalidTask) as refused:
        lifecycle.retry(task.pk)
    assert "payload.what" in [error.field for error in refused.value.errors]
    task.refresh_from_db()
    assert (task.status, task.version) == (status, 1)


def test_many_skip_tasks_that_no_longer_fit_their_actors() -> None:
    fits, does_not = make_task(Status.DEAD), make_task(Status.DEAD)
    outdate(does_not)
    assert [move.id for move in lifecycle.retry_many([does_not.pk, fits.pk])] == [fits.pk]
    assert DeadLetter.objects.open().get().task_id == does_not.pk


def test_a_task_of_an_actor_that_only_workers_know_is_run_again() -> None:
    task = make_task(Status.DEAD)
    Task.objects.filter(pk=task.pk).update(actor="of_another_release")
    assert lifecycle.retry(task.pk) == Status.PENDING


def test_a_callback_with_more_around_its_payload_than_one_may_have_is_run_again(settings) -> None:
    task = make_task(Status.CANCELLED, actor="note", args=[{"kwargs": "x" * 100}], is_followup=True)
    settings.MAX_PAYLOAD_BYTES = 10
    assert lifecycle.retry(task.pk) == Status.PENDING
