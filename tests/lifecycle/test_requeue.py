"""requeue: a task whose hint was lost goes back to the table."""

import pytest

from tasks import lifecycle
from tasks.hint import Hint
from tasks.models import Term
from tasks.states import Status
from tests.factories import dispatch, make_task, submit

pytestmark = pytest.mark.django_db


def test_a_queued_task_goes_back_with_its_dispatch_number(lead) -> None:
    task = submit()
    hint = dispatch(task)
    assert lifecycle.requeue_many([hint], **lead) == 1
    task.refresh_from_db()
    assert (task.status, task.dispatch, task.queued_at) == (Status.PENDING, 1, None)


def test_the_next_hand_over_outdates_the_old_hint(lead, worker) -> None:
    task = submit()
    old = dispatch(task)
    lifecycle.requeue_many([old], **lead)
    new = dispatch(task)
    assert new.dispatch == old.dispatch + 1
    assert lifecycle.claim_many([old], worker_id=worker.pk) == []
    assert len(lifecycle.claim_many([new], worker_id=worker.pk)) == 1


def test_a_requeue_for_an_older_hand_over_changes_nothing(lead) -> None:
    task = submit()
    old = dispatch(task)
    lifecycle.requeue_many([old], **lead)
    dispatch(task)
    assert lifecycle.requeue_many([old], **lead) == 0
    task.refresh_from_db()
    assert task.status == Status.QUEUED


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
def test_only_a_queued_task_goes_back(status: Status, lead) -> None:
    task = make_task(status)
    assert lifecycle.requeue_many([Hint(task.pk, task.dispatch)], **lead) == 0
    task.refresh_from_db()
    assert task.status == status


def test_a_deposed_leader_takes_nothing_back(lead) -> None:
    task = submit()
    hint = dispatch(task)
    Term.objects.update(term=2)
    assert lifecycle.requeue_many([hint], **lead) == 0


def test_a_batch_skips_tasks_that_it_cannot_move(lead, announcements) -> None:
    good, gone = submit(), submit()
    hints = [dispatch(good), dispatch(gone)]
    lifecycle.cancel(gone.pk)
    with announcements() as heard:
        assert lifecycle.requeue_many(hints, **lead) == 1
    assert [(one.verb, [move.id for move in one.moves]) for one in heard] == [("requeue", [good.pk])]
    assert lifecycle.requeue_many([], **lead) == 0
