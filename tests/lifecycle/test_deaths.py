"""``on_death``: whoever writes a death submits the callback with it, once."""

from datetime import timedelta
from typing import Any

import pytest
from dramatiq import Message

from tasks import lifecycle
from tasks.conf import conf
from tasks.lifecycle import workers
from tasks.models import Task, Worker
from tasks.states import DeathReason, Status
from tests.factories import age, failure, start, submit
from tests.worker.runs import decide

pytestmark = pytest.mark.django_db

PATIENT: dict[str, Any] = {"actor": "patient", "payload": {"do": "return"}}


def callbacks() -> list[tuple[str, dict[str, Any]]]:
    """Give the id of the dead task, and the details, of each callback."""
    return [
        (Message(**task.args[0]).message_id, task.args[1]) for task in Task.objects.filter(actor="note").order_by("pk")
    ]


def test_a_death_in_a_worker_has_its_callback_and_a_retry_has_none() -> None:
    said = decide(actor="patient", error=KeyError("k"), max_retries=5)
    assert [one.args[1] for one in said.at_death] == [
        {"reason": "max_retries_exceeded", "type": "KeyError", "message": "'k'"}
    ]
    assert decide(actor="patient", error=RuntimeError("r"), max_retries=5).at_death == []


def test_the_callback_is_written_with_the_death_and_only_with_it(worker) -> None:
    said = decide(actor="patient", error=KeyError("k"), max_retries=0)
    dead, cancelled = submit(**PATIENT), submit(**PATIENT)
    claims = [start(task, worker) for task in (dead, cancelled)]
    lifecycle.cancel(cancelled.pk)
    ends = [failure(one, worker, death=DeathReason.NOT_RETRYABLE, at_death=said.at_death) for one in claims]
    assert {move.status for move in lifecycle.complete_many(ends)} == {Status.DEAD, Status.CANCELLED}
    assert len(callbacks()) == 1
    assert lifecycle.complete_many(ends) == []
    assert len(callbacks()) == 1


def test_a_task_that_is_too_old_calls_back(lead) -> None:
    task = submit(**PATIENT, max_age_seconds=60)
    age(task, expires_at=timedelta(days=1))
    for _ in range(2):
        lifecycle.expire_many(**lead)
    ((id, details),) = callbacks()
    assert (id, details["reason"]) == (str(task.pk), "age_limit_exceeded")


def test_a_stuck_task_calls_back_at_its_death(worker, lead) -> None:
    task = submit(**PATIENT, max_retries=0, time_limit_seconds=1)
    start(task, worker)
    age(task, started_at=timedelta(days=1))
    for _ in range(2):
        lifecycle.rescue_stuck(**lead)
    ((id, details),) = callbacks()
    assert (id, details["reason"], details["type"]) == (str(task.pk), "stuck_task_timeout", "Stuck")


def test_a_crash_loop_calls_back_at_its_end(lead) -> None:
    task = submit(**PATIENT)
    for _ in range(conf.CRASH_LIMIT):
        assert callbacks() == []
        worker = Worker.objects.get(pk=_crash(task))
        lifecycle.rescue_lost(**lead)
        task.refresh_from_db()
        assert worker.pk is not None
    assert task.status == Status.DEAD
    ((id, details),) = callbacks()
    assert (id, details["reason"]) == (str(task.pk), "crash_loop")


def _crash(task: Task) -> Any:
    from tests.factories import make_worker

    worker = make_worker()
    claimed = start(task, worker)
    crash = {
        "kind": "crashed",
        "detail": "signal 11",
        "started": {f"{claimed.id}:{claimed.attempt}": claimed.claimed_at.isoformat()},
    }
    workers.leave(worker.pk)
    Worker.objects.filter(pk=worker.pk).update(crash=crash)
    return worker.pk


def test_a_callback_that_cannot_be_submitted_is_dropped_and_the_death_stays(lead) -> None:
    task = submit(**PATIENT, max_age_seconds=60)
    Task.objects.filter(pk=task.pk).update(options={"on_death": "no_such_actor"})
    age(task, expires_at=timedelta(days=1))
    assert [move.status for move in lifecycle.expire_many(**lead)] == [Status.DEAD]
    assert callbacks() == []
