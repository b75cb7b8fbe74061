"""cancel: a waiting task ends at once, a running one is asked to end."""

from uuid import uuid4

import pytest

from tasks import lifecycle
from tasks.errors import IllegalTransition, NotFound
from tasks.hint import Hint
from tasks.lifecycle import Author
from tasks.models import Journal
from tasks.states import FINAL, WAITING, Status
from tests.factories import dispatch, make_task, start, submit

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", sorted(WAITING))
def test_a_waiting_task_is_cancelled_at_once(status: Status) -> None:
    task = make_task(status)
    assert lifecycle.cancel(task.pk, by=Author("ann")) == Status.CANCELLED
    task.refresh_from_db()
    assert (task.status, task.queued_at) == (Status.CANCELLED, None)
    assert task.finished_at is not None
    event = Journal.objects.get()
    assert (event.task_id, event.verb, event.by) == (task.pk, "cancel", "ann")


def test_a_running_task_is_asked_to_stop_once(worker) -> None:
    task = submit()
    start(task, worker)
    assert lifecycle.cancel(task.pk) == Status.RUNNING
    task.refresh_from_db()
    asked = task.cancel_requested_at
    assert (task.status, task.worker_id, task.finished_at) == (Status.RUNNING, worker.pk, None)
    assert asked is not None
    assert lifecycle.cancel(task.pk) == Status.RUNNING
    task.refresh_from_db()
    assert task.cancel_requested_at == asked
    assert Journal.objects.count() == 1


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_task_that_has_ended_is_refused_by_its_status(status: Status) -> None:
    task = make_task(status)
    events = Journal.objects.count()
    with pytest.raises(IllegalTransition, match=f"cannot cancel a task that is {status}") as caught:
        lifecycle.cancel(task.pk)
    assert caught.value.status == status
    assert Journal.objects.count() == events


def test_a_missing_row_is_not_found() -> None:
    with pytest.raises(NotFound):
        lifecycle.cancel(uuid4())


def test_a_cancelled_tasks_hint_is_stale(worker) -> None:
    task = submit()
    hint = dispatch(task)
    lifecycle.cancel(task.pk)
    assert lifecycle.claim_many([hint], worker_id=worker.pk) == []
    assert hint == Hint(task.pk, 1)


def test_many_skip_tasks_that_they_cannot_move(worker, announcements) -> None:
    waiting, done, running = submit(), make_task(Status.SUCCEEDED), submit()
    start(running, worker)
    with announcements() as heard:
        moves = lifecycle.cancel_many([waiting.pk, done.pk, running.pk, uuid4()], by=Author("bob"))
    assert {move.id: move.status for move in moves} == {waiting.pk: Status.CANCELLED, running.pk: Status.RUNNING}
    assert [(one.verb, len(one.moves)) for one in heard] == [("cancel", 2)]
    assert Journal.objects.filter(by="bob").count() == 2
    assert lifecycle.cancel_many([]) == []
