"""What operations do to rows: what the verb does to one; and why they skip some."""

from collections.abc import Callable
from typing import Any

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.models import Journal, Task, Worker
from tasks.states import OperationState, OperationVerb, Status
from tests.factories import make_task
from tests.lifecycle.test_operations import begin, dead, redrive, step

pytestmark = pytest.mark.django_db


def _tasks(status: Status) -> Callable[[Worker], list[Task]]:
    return lambda worker: [make_task(status, worker=worker) for _ in range(2)]


@pytest.mark.parametrize(
    ("verb", "make", "after"),
    [
        (OperationVerb.CANCEL, _tasks(Status.PENDING), Status.CANCELLED),
        (OperationVerb.RETRY, _tasks(Status.CANCELLED), Status.PENDING),
        (OperationVerb.RETRY, _tasks(Status.DEAD), Status.PENDING),
        (OperationVerb.REQUEUE, _tasks(Status.QUEUED), Status.PENDING),
        (OperationVerb.EDIT, _tasks(Status.PENDING), Status.PENDING),
        (OperationVerb.REDRIVE, lambda worker: dead(worker, 2), Status.PENDING),
        (OperationVerb.DISCARD, lambda worker: dead(worker, 2), Status.DEAD),
    ],
)
def test_each_verb_does_what_it_does_to_one(worker, lead, verb: Any, make: Any, after: Status) -> None:
    rows = make(worker)
    change = {"priority": 9} if verb is OperationVerb.EDIT else {}
    operation = begin(verb, rows, change=change)
    step(operation, lead)
    assert (operation.moved, operation.skipped) == (2, 0)
    tasks = Task.objects.filter(pk__in=operation.items.values("task_id"))
    assert {task.status for task in tasks} == {after}
    assert not change or {task.priority for task in tasks} == {9}
    assert verb is not OperationVerb.DISCARD or not DeadLetter.objects.open().exists()


def test_rows_that_cannot_be_done_are_skipped_and_say_why(worker, lead) -> None:
    letters = dead(worker, 3)
    operation = redrive(letters)
    lifecycle.discard(letters[0].pk)
    lifecycle.redrive(letters[1].pk)
    step(operation, lead)
    assert (operation.moved, operation.skipped) == (1, 2)
    assert operation.skips == {
        "the dead letter was discarded before": 1,
        "the dead letter was re-driven before": 1,
    }


def test_tasks_whose_status_does_not_fit_are_skipped_and_say_so(worker, lead) -> None:
    tasks = [make_task(Status.SUCCEEDED, worker=worker), make_task(Status.PENDING)]
    gone = make_task(Status.PENDING)
    operation = begin(OperationVerb.CANCEL, [*tasks, gone])
    lifecycle.delete(gone.pk)
    step(operation, lead)
    assert operation.skips == {"the task is SUCCEEDED": 1, "the task was removed": 1}
    assert operation.state == OperationState.DONE
    edit = begin(OperationVerb.EDIT, tasks, change={"priority": 9})
    step(edit, lead)
    assert (edit.skipped, edit.state) == (2, OperationState.DONE)


def test_a_restore_of_many_opens_them_again_and_says_why_it_skips_some(worker, lead) -> None:
    letters = dead(worker, 4)
    lifecycle.discard_many([one.pk for one in letters[:3]])
    lifecycle.retry(letters[0].task_id)
    Task.objects.filter(pk=letters[1].task_id).delete()
    operation = begin(OperationVerb.RESTORE, letters)
    assert step(operation, lead) == 4
    assert (operation.state, operation.moved, operation.skipped) == (OperationState.DONE, 1, 3)
    assert operation.skips == {
        "the task is PENDING": 1,
        "the task was removed": 1,
        "the dead letter is open, not discarded": 1,
    }
    assert {one.pk for one in DeadLetter.objects.open()} == {letters[2].pk, letters[3].pk}
    assert Journal.objects.get(verb="restore", count__isnull=False).count == 1
