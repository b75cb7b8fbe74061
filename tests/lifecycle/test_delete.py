"""delete: one task that is not running is removed."""

from uuid import uuid4

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import IllegalTransition, NotFound, VersionMismatch
from tasks.lifecycle import Author
from tasks.models import Attempt, Journal, Task
from tasks.states import Resolution, Status
from tests.factories import dispatch, make_task, submit

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_a_task_that_is_not_running_is_removed_with_its_attempts(worker, status: Status) -> None:
    task = make_task(status, worker=worker)
    lifecycle.delete(task.pk, by=Author("ann"))
    assert not Task.objects.exists()
    assert not Attempt.objects.exists()
    event = Journal.objects.latest("id")
    assert (event.verb, event.by, event.detail) == ("delete", "ann", {"status": status})


def test_a_running_task_stays(worker) -> None:
    task = make_task(Status.RUNNING, worker=worker)
    with pytest.raises(IllegalTransition, match="cancel it first"):
        lifecycle.delete(task.pk)
    assert Task.objects.get().status == Status.RUNNING


def test_its_dead_letter_stays_and_asks_for_nothing_any_more(worker) -> None:
    task = make_task(Status.DEAD, worker=worker)
    lifecycle.delete(task.pk, by=Author("ann"))
    letter = DeadLetter.objects.get(task_id=task.pk)
    assert (letter.resolution, letter.resolved_by) == (Resolution.DISCARDED, "ann")


def test_its_hint_claims_nothing(worker) -> None:
    task = submit()
    hint = dispatch(task)
    lifecycle.delete(task.pk)
    assert lifecycle.claim_many([hint], worker_id=worker.pk) == []


def test_only_the_version_that_was_read_goes() -> None:
    task = submit()
    lifecycle.edit(task.pk, {"priority": 9})
    with pytest.raises(VersionMismatch, match="at version 2"):
        lifecycle.delete(task.pk, version=1)
    assert Task.objects.exists()
    lifecycle.delete(task.pk, version=2)
    assert not Task.objects.exists()


@pytest.mark.parametrize("version", [None, 1])
def test_there_has_to_be_one(version: int | None) -> None:
    with pytest.raises(NotFound):
        lifecycle.delete(uuid4(), version=version)
