"""expire: tasks that are too old to start die."""

from datetime import timedelta
from typing import Any

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.db import statements
from tasks.hint import Hint
from tasks.lifecycle import expire
from tasks.models import Attempt, Task, Term
from tasks.states import Status
from tests.factories import age, claim, make_task, open_letter

pytestmark = pytest.mark.django_db

WAITING = [Status.BLOCKED, Status.PENDING, Status.QUEUED, Status.RETRYING]


def old_task(status: Status) -> Task:
    task = make_task(status, max_age_seconds=60)
    age(task, expires_at=timedelta(minutes=2))
    return task


@pytest.mark.parametrize("status", WAITING)
def test_a_waiting_task_past_its_age_dies(status: Status, lead) -> None:
    task = old_task(status)
    before = (task.dispatch, task.attempt, task.failures, task.crashes, Attempt.objects.count())
    (moved,) = lifecycle.expire_many(**lead)
    task.refresh_from_db()
    assert (moved.id, moved.status, task.status) == (task.pk, Status.DEAD, Status.DEAD)
    assert (task.dispatch, task.attempt, task.failures, task.crashes, Attempt.objects.count()) == before
    assert task.finished_at is not None
    assert task.queued_at is None
    letter = open_letter(task)
    assert (letter.reason, letter.attempt) == ("age_limit_exceeded", task.attempt)
    assert letter.error_message == task.error


@pytest.mark.parametrize("status", [status for status in Status if status not in WAITING])
def test_a_task_that_has_started_or_ended_does_not_expire(status: Status, lead) -> None:
    task = old_task(status)
    letters = DeadLetter.objects.count()
    assert lifecycle.expire_many(**lead) == []
    task.refresh_from_db()
    assert (task.status, DeadLetter.objects.count()) == (status, letters)


def test_a_task_that_is_young_or_has_no_limit_does_not_expire(lead) -> None:
    make_task(Status.PENDING, max_age_seconds=60)
    make_task(Status.PENDING)
    assert lifecycle.expire_many(**lead) == []


def test_a_deposed_leader_lets_nothing_expire(lead) -> None:
    task = old_task(Status.PENDING)
    Term.objects.update(term=2)
    assert lifecycle.expire_many(**lead) == []
    task.refresh_from_db()
    assert task.status == Status.PENDING


def test_a_redriven_task_gets_its_whole_age_again(lead) -> None:
    task = old_task(Status.PENDING)
    lifecycle.expire_many(**lead)
    lifecycle.redrive(open_letter(task).pk)
    task.refresh_from_db()
    assert task.status == Status.PENDING
    assert lifecycle.expire_many(**lead) == []


def test_one_signal_for_a_batch(lead, announcements) -> None:
    for _ in range(3):
        old_task(Status.PENDING)
    with announcements() as heard:
        lifecycle.expire_many(**lead)
    assert [(one.verb, len(one.moves)) for one in heard] == [("expire", 3)]


@pytest.mark.parametrize("meanwhile", ["claimed", "given a second life"])
def test_a_task_that_changed_between_the_read_and_the_write_does_not_expire(
    worker, lead, monkeypatch, meanwhile: str
) -> None:
    task = make_task(Status.QUEUED, max_age_seconds=60)
    overdue = {"expires_at": timedelta(minutes=2)}
    age(task, **overdue)

    def change() -> None:
        if meanwhile == "claimed":
            # It was in time, and its claim was committed a moment later.
            age(task, expires_at=-timedelta(minutes=2))
            claim(Hint(task.pk, 1), worker)
            age(task, **overdue)
        else:
            lifecycle.cancel(task.pk)
            lifecycle.retry(task.pk)

    def fetch(statement: str, parameters: Any) -> Any:
        found = statements.fetch(statement, parameters)
        if statement == expire._EXPIRED:
            change()
        return found

    monkeypatch.setattr(expire, "fetch", fetch)
    assert lifecycle.expire_many(**lead) == []
    task.refresh_from_db()
    assert task.status == (Status.RUNNING if meanwhile == "claimed" else Status.PENDING)
