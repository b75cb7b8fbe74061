"""succeed, fail, snooze, interrupt: how an attempt ends."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DataError, transaction

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import InvalidTask
from tasks.lifecycle import Submission
from tasks.models import Attempt, Task
from tasks.states import AttemptOutcome, DeathReason, Status
from tests.factories import (
    age,
    dispatch,
    failure,
    make_due,
    make_task,
    make_worker,
    open_letter,
    outcome,
    start,
    submit,
)

pytestmark = pytest.mark.django_db


def numbers(task: Task) -> tuple[int, int, int, int]:
    task.refresh_from_db()
    return (task.dispatch, task.attempt, task.failures, task.crashes)


def test_a_success_stores_the_result_and_the_attempt(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    said = outcome(claimed, worker, result={"answer": [42, "ü"]})
    assert lifecycle.succeed(said)
    task.refresh_from_db()
    assert (task.status, task.result, task.worker_id, task.error) == (Status.SUCCEEDED, {"answer": [42, "ü"]}, None, "")
    assert (task.started_at, task.finished_at) == (said.started_at, said.finished_at)
    assert task.queued_at is not None
    assert task.created_at <= task.queued_at <= claimed.claimed_at
    attempt = Attempt.objects.get(task_id=task.pk)
    assert (attempt.number, attempt.outcome, attempt.worker_id) == (1, AttemptOutcome.SUCCEEDED, worker.pk)
    assert (attempt.started_at, attempt.finished_at) == (said.started_at, said.finished_at)
    assert numbers(task) == (1, 1, 0, 0)


@pytest.mark.parametrize("result", [None, False, 0, "", [], {}, "text", 1.5])
def test_any_json_is_a_result(worker, result) -> None:
    task = submit()
    lifecycle.succeed(outcome(start(task, worker), worker, result=result))
    task.refresh_from_db()
    assert task.result == result


def test_a_failure_counts_and_waits(worker) -> None:
    task = submit()
    said = failure(start(task, worker), worker, retry_delay_seconds=50)
    assert lifecycle.fail(said)
    task.refresh_from_db()
    assert (task.status, task.error, task.finished_at) == (Status.RETRYING, "RuntimeError: as asked", None)
    assert timedelta(seconds=45) < task.run_at - said.finished_at < timedelta(seconds=55)
    assert numbers(task) == (1, 1, 1, 0)
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.error_type) == (AttemptOutcome.FAILED, "RuntimeError")
    assert (attempt.error_message, attempt.traceback) == ("as asked", "Traceback …")
    assert not DeadLetter.objects.exists()


def test_the_last_failure_is_a_death_with_a_dead_letter(worker, django_user_model) -> None:
    owner = django_user_model.objects.create(username="owner")
    task = submit(owner_id=owner.pk)
    lifecycle.fail(failure(start(task, worker), worker, death=DeathReason.NOT_RETRYABLE))
    task.refresh_from_db()
    assert (task.status, task.failures) == (Status.DEAD, 1)
    letter = open_letter(task)
    assert (letter.reason, letter.attempt, letter.actor, letter.queue) == ("not_retryable", 1, "act", "default")
    assert (letter.error_type, letter.error_message, letter.owner_id) == ("RuntimeError", "as asked", owner.pk)
    assert letter.pk.version == 7
    assert len(letter.fingerprint) == 32


def test_deaths_of_one_cause_share_a_fingerprint(worker) -> None:
    def die(message: str) -> str:
        task = submit()
        lifecycle.fail(
            failure(start(task, worker), worker, error_message=message, death=DeathReason.MAX_RETRIES_EXCEEDED)
        )
        return open_letter(task).fingerprint

    assert die("order 17 is gone") == die("order 4711 is gone")
    assert die("order 17 is gone") != die("customer 17 is gone")


@pytest.mark.parametrize("kind", ["snooze", "interrupt"])
def test_a_snooze_and_an_interrupt_count_no_failure(worker, kind: str) -> None:
    task = submit()
    said = outcome(start(task, worker), worker)
    assert lifecycle.snooze(said, delay_seconds=40) if kind == "snooze" else lifecycle.interrupt(said)
    assert numbers(task) == (1, 1, 0, 0)
    assert task.status == Status.PENDING
    assert Attempt.objects.get().outcome == {"snooze": "SNOOZED", "interrupt": "INTERRUPTED"}[kind]
    waits = task.run_at - said.finished_at
    assert (waits > timedelta(seconds=35)) == (kind == "snooze")


def test_any_number_of_snoozes_leaves_all_retries(worker) -> None:
    task = submit(max_retries=0)
    for number in range(1, 6):
        lifecycle.snooze(outcome(start(task, worker), worker), delay_seconds=0)
        assert numbers(task) == (number, number, 0, 0)
    assert task.status == Status.PENDING


def test_an_older_attempt_changes_nothing(worker) -> None:
    task = submit()
    old = start(task, worker)
    lifecycle.put_back_many([old_key := (task.pk, old.attempt)], worker_id=worker.pk)
    start(task, worker)
    assert lifecycle.complete_many([outcome(old, worker, result="old")]) == []
    assert not lifecycle.succeed(outcome(old, worker, result="old"))
    assert not lifecycle.fail(failure(old, worker, death=DeathReason.MAX_RETRIES_EXCEEDED))
    task.refresh_from_db()
    assert (task.status, task.attempt, task.result) == (Status.RUNNING, 2, None)
    assert not Attempt.objects.exists()
    assert not DeadLetter.objects.exists()
    assert old_key[1] == 1


def test_another_worker_changes_nothing(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    assert lifecycle.complete_many([outcome(claimed, make_worker())]) == []
    assert not lifecycle.succeed(outcome(claimed, make_worker()))
    task.refresh_from_db()
    assert task.status == Status.RUNNING
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_only_a_running_task_is_completed(worker, status: Status) -> None:
    task = make_task(status, worker=worker)
    attempts, result = Attempt.objects.count(), task.result
    said = lifecycle.Outcome(
        task_id=task.pk, attempt=task.attempt, worker_id=worker.pk, ended_as=AttemptOutcome.SUCCEEDED,
        started_at=None, finished_at=task.created_at, actor="act", result="late",
    )  # fmt: skip
    assert not lifecycle.succeed(said)
    task.refresh_from_db()
    assert (task.status, task.result, Attempt.objects.count()) == (status, result, attempts)


def test_a_second_completion_is_refused_and_recognised_as_recorded(worker) -> None:
    task = submit()
    said = outcome(start(task, worker), worker)
    assert lifecycle.succeed(said)
    assert not lifecycle.succeed(said)
    assert lifecycle.recorded([said]) == {(task.pk, 1)}
    assert Attempt.objects.count() == 1


def test_another_workers_attempt_is_not_recognised_as_recorded(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    lifecycle.succeed(outcome(claimed, worker))
    assert lifecycle.recorded([outcome(claimed, make_worker())]) == set()
    assert lifecycle.recorded([]) == set()


def test_a_batch_skips_lost_attempts_and_announces_the_rest(worker, announcements) -> None:
    tasks = [submit() for _ in range(4)]
    claims = [start(task, worker) for task in tasks]
    lifecycle.put_back_many([(tasks[1].pk, 1)], worker_id=worker.pk)
    batch = [
        outcome(claims[0], worker),
        outcome(claims[1], worker),
        failure(claims[2], worker),
        failure(claims[3], worker, death=DeathReason.GAVE_UP),
    ]
    with announcements() as heard:
        moves = lifecycle.complete_many(batch)
    assert {move.id: move.status for move in moves} == {
        tasks[0].pk: Status.SUCCEEDED,
        tasks[2].pk: Status.RETRYING,
        tasks[3].pk: Status.DEAD,
    }
    assert [(one.verb, len(one.moves)) for one in heard] == [("complete", 3)]
    assert Attempt.objects.count() == 3
    assert lifecycle.complete_many([]) == []


def test_a_batch_with_one_that_cannot_be_stored_writes_nothing(worker) -> None:
    claims = [start(submit(), worker) for _ in range(3)]
    batch = [outcome(one, worker, result="nul \0" if place == 1 else "fine") for place, one in enumerate(claims)]
    with pytest.raises(DataError), transaction.atomic():
        lifecycle.complete_many(batch)
    assert set(Task.objects.values_list("status", flat=True)) == {Status.RUNNING}


def test_followups_come_with_an_accepted_outcome_only(worker) -> None:
    followup = Submission(actor="add", payload={"a": 1})
    accepted, refused = start(submit(), worker), start(submit(), worker)
    lifecycle.put_back_many([(refused.id, 1)], worker_id=worker.pk)
    batch = [outcome(accepted, worker, followups=[followup]), outcome(refused, worker, followups=[followup, followup])]
    lifecycle.complete_many(batch)
    assert Task.objects.for_actor("add").count() == 1
    lifecycle.complete_many(batch)
    assert Task.objects.for_actor("add").count() == 1


def test_a_followup_that_is_refused_takes_the_outcome_with_it(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    with pytest.raises(InvalidTask):
        lifecycle.complete_many([outcome(claimed, worker, followups=[Submission(actor="nobody")])])
    task.refresh_from_db()
    assert task.status == Status.RUNNING


# --- A cancel that was asked for while the actor ran ---


def test_a_success_that_finished_first_wins_over_a_cancel(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    assert lifecycle.cancel(task.pk) == Status.RUNNING
    lifecycle.succeed(outcome(claimed, worker, result=1))
    task.refresh_from_db()
    assert (task.status, task.result, task.cancel_requested_at) == (Status.SUCCEEDED, 1, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"ended_as": AttemptOutcome.CANCELLED},
        {"ended_as": AttemptOutcome.SNOOZED},
        {"ended_as": AttemptOutcome.INTERRUPTED},
        {"ended_as": AttemptOutcome.FAILED, "is_failure": True},
        {"ended_as": AttemptOutcome.FAILED, "is_failure": True, "death": DeathReason.NOT_RETRYABLE},
        {"ended_as": None},
    ],
)
def test_a_cancel_wins_over_anything_but_a_success(worker, fields) -> None:
    task = submit()
    claimed = start(task, worker)
    lifecycle.cancel(task.pk)
    (moved,) = lifecycle.complete_many([outcome(claimed, worker, **fields)])
    task.refresh_from_db()
    assert moved.status == task.status == Status.CANCELLED
    assert (task.cancel_requested_at, task.worker_id) == (None, None)
    assert task.finished_at is not None
    assert not DeadLetter.objects.exists()


# --- Times ---


def test_the_window_for_retries_opens_with_the_first_failure(worker) -> None:
    task = submit(retry_for_seconds=100)
    lifecycle.snooze(outcome(start(task, worker), worker), delay_seconds=0)
    task.refresh_from_db()
    assert task.retry_until is None
    first = failure(start(task, worker), worker)
    lifecycle.fail(first)
    task.refresh_from_db()
    assert task.retry_until == first.finished_at + timedelta(seconds=100)
    make_due(task)
    claimed = start(task, worker)
    assert claimed.retry_until == first.finished_at + timedelta(seconds=100)
    lifecycle.fail(failure(claimed, worker))
    task.refresh_from_db()
    assert task.retry_until == first.finished_at + timedelta(seconds=100)


def test_a_retry_is_due_again_when_its_time_has_come(worker) -> None:
    task = submit()
    lifecycle.fail(failure(start(task, worker), worker, retry_delay_seconds=0))
    assert dispatch(Task.objects.get(pk=task.pk)).dispatch == 2


def test_a_completion_names_no_foreign_task(worker) -> None:
    said = lifecycle.Outcome(
        task_id=uuid4(), attempt=1, worker_id=worker.pk, ended_as=AttemptOutcome.SUCCEEDED, started_at=None,
        finished_at=worker.started_at, actor="act",
    )  # fmt: skip
    assert lifecycle.complete_many([said]) == []
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("kind", ["fail", "snooze", "interrupt"])
def test_a_task_that_runs_again_has_left_the_broker_and_is_never_due_earlier_than_before(worker, kind: str) -> None:
    task = submit()
    claimed = start(task, worker)
    # The database's clock was set back meanwhile.
    age(task, run_at=-timedelta(hours=1))
    was_due_at = task.run_at
    if kind == "fail":
        lifecycle.fail(failure(claimed, worker, retry_delay_seconds=1))
    elif kind == "snooze":
        lifecycle.snooze(outcome(claimed, worker), delay_seconds=1)
    else:
        lifecycle.interrupt(outcome(claimed, worker))
    task.refresh_from_db()
    assert (task.queued_at, task.run_at) == (None, was_due_at)


def test_an_older_attempts_record_says_nothing_about_a_younger_one(worker) -> None:
    task = submit()
    first = start(task, worker)
    lifecycle.interrupt(outcome(first, worker))
    assert lifecycle.recorded([outcome(first, worker)]) == {(task.pk, 1)}
    assert lifecycle.recorded([replace(outcome(first, worker), attempt=2)]) == set()
