"""An actor's own writes and its task's success in one commit."""

import logging
from typing import Any

import pytest
from django.contrib.auth.models import Group

from dlq.models import DeadLetter
from tasks import current
from tasks.models import Task
from tasks.states import AttemptOutcome, DeathReason, Status
from tasks.worker import outcomes
from tests.factories import submit
from tests.waiting import wait_until


def book(what: str, *, do: str = "complete") -> Task:
    return submit(payload={"do": do, "value": what}, max_retries=0)


def groups() -> list[str]:
    return list(Group.objects.exclude(name__in=["viewer", "operator", "admin"]).values_list("name", flat=True))


def test_the_writes_and_the_success_are_there_together(engine) -> None:
    (task,) = engine.wait_for(book("booked"))
    assert (task.status, task.result, task.attempt) == (Status.SUCCEEDED, "kept", 1)
    attempt = task.attempts.get()
    assert (attempt.outcome, attempt.worker_id) == (AttemptOutcome.SUCCEEDED, engine.runtime.inflight.worker_id)
    assert groups() == ["booked"]
    wait_until(lambda: engine.runtime.inflight.keys == [])
    wait_until(lambda: engine.runtime.inflight.slots.held == 0)


def test_a_failure_rolls_the_writes_back(engine) -> None:
    (task,) = engine.wait_for(book("raise"))
    assert (task.status, task.error) == (Status.DEAD, "RuntimeError: as asked")
    assert groups() == []


def test_a_result_that_cannot_be_kept_rolls_nothing_back(engine) -> None:
    (task,) = engine.wait_for(book("not json"))
    assert (task.status, task.result, task.attempt, groups()) == (Status.SUCCEEDED, None, 1, ["not json"])
    assert task.attempts.get().note == "the result was not kept: result: expected a JSON value, got NotJson"


def test_a_followup_that_cannot_be_submitted_rolls_the_writes_back_and_no_attempt_follows(engine) -> None:
    payload = {"do": "complete", "value": "booked"}
    (task,) = engine.wait_for(submit("calls_back_nobody", payload=payload, max_retries=5))
    assert (task.status, task.attempt, groups()) == (Status.DEAD, 1, [])
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.error_type) == (DeathReason.NOT_RETRYABLE, "FollowupNotSubmitted")
    assert "no_such_actor" in letter.error_message


def test_a_time_limit_that_comes_while_the_result_is_checked_times_the_attempt_out(engine, monkeypatch) -> None:
    def check(value: Any, **_: Any) -> list[Any]:
        wait_until(lambda: False, timeout=30)
        return []

    monkeypatch.setattr(outcomes, "check_json", check)
    payload = {"do": "complete", "value": "booked"}
    (task,) = engine.wait_for(submit(payload=payload, max_retries=0, time_limit_seconds=0.2))
    assert (task.status, groups()) == (Status.DEAD, [])
    assert task.attempts.get().outcome == AttemptOutcome.TIMED_OUT


def test_inside_another_transaction_it_is_refused(engine) -> None:
    (task,) = engine.wait_for(book("booked", do="complete inside"))
    assert task.status == Status.DEAD
    assert "durable" in task.error
    assert groups() == []


def test_what_an_actor_raises_after_its_completion_changes_nothing(engine, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        (task,) = engine.wait_for(book("booked", do="complete and raise"))
        wait_until(lambda: engine.runtime.inflight.keys == [])
    assert (task.status, task.failures, groups()) == (Status.SUCCEEDED, 0, ["booked"])
    assert task.attempts.get().outcome == AttemptOutcome.SUCCEEDED
    assert "an actor raised after it had completed its task" in caplog.text


def test_a_worker_that_lost_the_task_writes_nothing(engine, monkeypatch) -> None:
    # As after a pause beyond the lease: another attempt is running when this one commits.
    def lose(name: str, create=Group.objects.create) -> None:
        create(name=name)
        Task.objects.update(attempt=7)

    monkeypatch.setattr(Group.objects, "create", lose)
    book("booked")
    wait_until(lambda: Task.objects.filter(attempt=1, status=Status.RUNNING).exists())
    wait_until(lambda: engine.runtime.inflight.keys == [])
    assert groups() == []


def test_the_key_for_effects_elsewhere_is_the_same_for_all_attempts(engine) -> None:
    first, second = engine.wait_for(
        submit(payload={"do": "idempotency_key"}), submit(payload={"do": "idempotency_key"})
    )
    assert first.result == f"callboard-{first.pk}"
    assert first.result != second.result


def test_outside_an_actor_there_is_nothing_to_complete() -> None:
    with pytest.raises(current.NotInActor):
        current.complete_in_transaction()
    with pytest.raises(current.NotInActor):
        current.idempotency_key()
