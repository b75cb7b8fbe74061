"""An actor's own writes and its task's success in one commit."""

import logging

import pytest
from django.contrib.auth.models import Group

from tasks import current
from tasks.models import Task
from tasks.states import AttemptOutcome, Status
from tests.factories import submit
from tests.waiting import wait_until


def book(what: str, *, do: str = "complete") -> Task:
    return submit(payload={"do": do, "value": what}, max_retries=0)


def groups() -> list[str]:
    return list(Group.objects.exclude(name__in=["viewer", "operator"]).values_list("name", flat=True))


def test_the_writes_and_the_success_are_there_together(engine) -> None:
    (task,) = engine.wait_for(book("booked"))
    assert (task.status, task.result, task.attempt) == (Status.SUCCEEDED, "kept", 1)
    attempt = task.attempts.get()
    assert (attempt.outcome, attempt.worker_id) == (AttemptOutcome.SUCCEEDED, engine.runtime.worker_id)
    assert groups() == ["booked"]
    wait_until(lambda: engine.runtime.held == [])
    assert engine.runtime.slots.held == 0


@pytest.mark.parametrize(
    ("what", "error"),
    [("raise", "RuntimeError: as asked"), ("not json", "ResultNotStorable: ")],
)
def test_a_failure_takes_the_writes_back(engine, what: str, error: str) -> None:
    (task,) = engine.wait_for(book(what))
    assert task.status == Status.DEAD
    assert task.error.startswith(error)
    assert groups() == []


def test_inside_another_transaction_nothing_would_be_sure(engine) -> None:
    (task,) = engine.wait_for(book("booked", do="complete inside"))
    assert task.status == Status.DEAD
    assert "durable" in task.error
    assert groups() == []


def test_what_an_actor_raises_after_its_completion_changes_nothing(engine, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        (task,) = engine.wait_for(book("booked", do="complete and raise"))
        wait_until(lambda: engine.runtime.held == [])
    assert (task.status, task.failures, groups()) == (Status.SUCCEEDED, 0, ["booked"])
    assert task.attempts.get().outcome == AttemptOutcome.SUCCEEDED
    assert "an actor raised after it had completed its task" in caplog.text


def test_whoever_lost_the_task_writes_nothing(engine, monkeypatch) -> None:
    # As after a pause past the lease: by the time of the commit another attempt is under way.
    def lose(name: str, create=Group.objects.create) -> None:
        create(name=name)
        Task.objects.update(attempt=7)

    monkeypatch.setattr(Group.objects, "create", lose)
    book("booked")
    wait_until(lambda: Task.objects.filter(attempt=1, status=Status.RUNNING).exists())
    wait_until(lambda: engine.runtime.held == [])
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
