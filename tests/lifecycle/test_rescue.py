"""rescue: tasks leave workers that are gone, or that cannot interrupt them."""

from datetime import timedelta
from typing import Any

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import Claimed, workers
from tasks.models import Attempt, Task, Term, Worker
from tasks.states import AttemptOutcome, DeathReason, Status
from tasks.worker.flight_recorder import Record
from tests.factories import (
    age,
    database_now,
    let_lease_run_out,
    make_due,
    make_task,
    make_worker,
    open_letter,
    outcome,
    start,
    submit,
)

pytestmark = pytest.mark.django_db


def die(worker: Worker, *running: Claimed, kind: str = "crashed", stuck: bool = False, ended: bool = False) -> None:
    """Let a supervisor report a worker's end while these had started."""
    records = [Record(f"{one.id}:{one.attempt}", database_now(), is_stuck=stuck, has_ended=ended) for one in running]
    assert workers.report_end(worker.pk, kind=kind, detail="killed by SIGKILL", records=records)


def numbers(task: Task) -> tuple[int, int, int, int]:
    task.refresh_from_db()
    return (task.dispatch, task.attempt, task.failures, task.crashes)


# --- Lost workers ---


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_worker_that_was_not_declared_gone_keeps_its_tasks(worker, lead, is_silent: bool) -> None:
    task = submit()
    start(task, worker)
    if is_silent:
        let_lease_run_out(worker)
    assert lifecycle.rescue_lost(**lead) == []
    task.refresh_from_db()
    assert task.status == Status.RUNNING


def test_a_task_of_a_silent_worker_is_lost_and_counts_no_crash(worker, lead) -> None:
    task = submit(max_retries=0)
    start(task, worker)
    let_lease_run_out(worker)
    assert workers.declare_silent_gone(**lead) == [worker.pk]
    (moved,) = lifecycle.rescue_lost(**lead)
    assert numbers(task) == (1, 1, 0, 0)
    assert (moved.status, task.status, task.worker_id) == (Status.PENDING, Status.PENDING, None)
    assert Attempt.objects.get().outcome == AttemptOutcome.LOST


def lose(task: Task, lead: Any) -> None:
    """Let a task start on a worker that then falls silent."""
    worker = make_worker()
    start(Task.objects.get(pk=task.pk), worker)
    let_lease_run_out(worker)
    workers.declare_silent_gone(**lead)
    lifecycle.rescue_lost(**lead)


def test_a_lost_worker_counts_a_crash_only_if_the_attempt_before_was_lost_too(lead) -> None:
    task = submit(max_retries=0)
    for crashes in (0, 1, 2):
        lose(task, lead)
        assert (numbers(task)[2:], task.status) == ((0, crashes), Status.PENDING)
    lose(task, lead)
    assert (numbers(task), task.status) == ((4, 4, 0, 3), Status.DEAD)
    letter = open_letter(task)
    assert (letter.reason, letter.error_type) == (DeathReason.CRASH_LOOP, "WorkerLost")
    assert "so it was the time before" in letter.error_message


def test_lost_workers_with_another_end_in_between_count_no_crash(lead) -> None:
    task = submit(max_retries=9)
    for _ in range(4):
        lose(task, lead)
        worker = make_worker()
        claimed = start(Task.objects.get(pk=task.pk), worker)
        lifecycle.interrupt(outcome(claimed, worker))
    assert numbers(task) == (8, 8, 0, 0)


def test_a_worker_that_ended_itself_for_a_fault_counts_no_crash_the_first_time(lead) -> None:
    task = submit()
    for crashes in (0, 1):
        worker = make_worker()
        die(worker, start(Task.objects.get(pk=task.pk), worker), kind="faulted")
        lifecycle.rescue_lost(**lead)
        assert numbers(task)[2:] == (0, crashes)
    assert {row.outcome for row in Attempt.objects.all()} == {AttemptOutcome.LOST}


def test_a_run_that_had_ended_unwritten_never_counts_a_crash(lead) -> None:
    task = submit()
    for _ in range(4):
        worker = make_worker()
        die(worker, start(Task.objects.get(pk=task.pk), worker), ended=True)
        lifecycle.rescue_lost(**lead)
    assert numbers(task) == (4, 4, 0, 0)


def test_a_run_that_has_ended_by_its_heartbeat_is_not_stuck(worker, lead) -> None:
    task = submit(time_limit_seconds=1)
    claimed = start(task, worker)
    age(task, started_at=timedelta(days=1))
    workers.beat(worker.pk, unwritten=[(claimed.id, claimed.attempt)])
    assert lifecycle.rescue_stuck(**lead) == ([], set())
    workers.beat(worker.pk, unwritten=[])
    assert len(lifecycle.rescue_stuck(**lead)[0]) == 1


def test_a_started_task_of_a_crashed_worker_counts_a_crash_and_no_failure(worker, lead) -> None:
    task = submit(max_retries=0)
    die(worker, start(task, worker))
    lifecycle.rescue_lost(**lead)
    assert numbers(task) == (1, 1, 0, 1)
    assert task.status == Status.PENDING
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.error_type) == (AttemptOutcome.CRASHED, "WorkerCrashed")
    assert attempt.error_message == "killed by SIGKILL"


def test_a_run_that_had_ended_before_the_crash_is_lost_and_counts_none(worker, lead) -> None:
    task = submit(max_retries=0)
    die(worker, start(task, worker), ended=True)
    lifecycle.rescue_lost(**lead)
    assert numbers(task) == (1, 1, 0, 0)
    assert task.status == Status.PENDING
    assert Attempt.objects.get().outcome == AttemptOutcome.LOST


def test_a_task_that_a_crashed_worker_had_not_started_goes_back_without_an_attempt_row(worker, lead) -> None:
    guilty, innocent = submit(), submit()
    claims = [start(task, worker) for task in (guilty, innocent)]
    die(worker, claims[0])
    assert len(lifecycle.rescue_lost(**lead)) == 2
    assert numbers(guilty) == (1, 1, 0, 1)
    assert numbers(innocent) == (1, 1, 0, 0)
    assert list(Attempt.objects.values_list("task_id", flat=True)) == [guilty.pk]
    assert (innocent.status, innocent.started_at) == (Status.PENDING, None)


def test_a_crash_under_an_older_attempt_does_not_count(worker, lead) -> None:
    task = submit()
    old = start(task, worker)
    lifecycle.put_back_many([(task.pk, old.attempt)], worker_id=worker.pk)
    start(task, worker)
    die(worker, old)
    lifecycle.rescue_lost(**lead)
    assert numbers(task) == (2, 2, 0, 0)


def test_a_task_whose_workers_keep_crashing_dies(settings, lead) -> None:
    settings.CRASH_LIMIT = 3
    task = submit(max_retries=0)
    for crash in range(1, 4):
        worker = make_worker()
        die(worker, start(Task.objects.get(pk=task.pk), worker))
        lifecycle.rescue_lost(**lead)
        assert numbers(task) == (crash, crash, 0, crash)
    assert task.status == Status.DEAD
    letter = open_letter(task)
    assert (letter.reason, letter.attempt, letter.error_type) == (DeathReason.CRASH_LOOP, 3, "WorkerCrashed")


def test_a_worker_that_was_stopped_interrupts_its_runs(worker, lead) -> None:
    task = submit()
    die(worker, start(task, worker), kind="stopped")
    lifecycle.rescue_lost(**lead)
    assert numbers(task) == (1, 1, 0, 0)
    assert Attempt.objects.get().outcome == AttemptOutcome.INTERRUPTED


def test_a_run_that_resisted_its_limit_until_its_worker_ended_counts_a_failure(worker, lead) -> None:
    task = submit(max_retries=0)
    die(worker, start(task, worker), kind="stopped", stuck=True)
    lifecycle.rescue_lost(**lead)
    assert numbers(task) == (1, 1, 1, 0)
    assert open_letter(task).reason == DeathReason.STUCK_TASK_TIMEOUT


def test_a_requested_cancel_takes_effect_when_the_worker_is_lost(worker, lead) -> None:
    task = submit()
    claimed = start(task, worker)
    lifecycle.cancel(task.pk)
    die(worker, claimed)
    lifecycle.rescue_lost(**lead)
    task.refresh_from_db()
    assert (task.status, task.cancel_requested_at) == (Status.CANCELLED, None)


def test_a_worker_that_wakes_after_the_rescue_changes_nothing(worker, lead) -> None:
    task = submit()
    claimed = start(task, worker)
    let_lease_run_out(worker)
    workers.declare_silent_gone(**lead)
    lifecycle.rescue_lost(**lead)
    start(Task.objects.get(pk=task.pk), make_worker())
    assert not lifecycle.succeed(outcome(claimed, worker, result="late"))
    assert numbers(task) == (2, 2, 0, 0)
    assert (task.status, task.result) == (Status.RUNNING, None)


def test_a_worker_that_was_never_registered_owns_nothing(worker, lead) -> None:
    task = submit()
    start(task, worker)
    Worker.objects.filter(pk=worker.pk).delete()
    assert len(lifecycle.rescue_lost(**lead)) == 1


def test_a_deposed_leader_rescues_nothing(worker, lead) -> None:
    task = submit(time_limit_seconds=1)
    die(worker, start(task, worker))
    age(task, started_at=timedelta(days=1))
    Term.objects.update(term=2)
    assert lifecycle.rescue_lost(**lead) == []
    assert lifecycle.rescue_stuck(**lead) == ([], set())
    task.refresh_from_db()
    assert task.status == Status.RUNNING


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_only_running_tasks_are_rescued(worker, lead, status: Status) -> None:
    make_task(status, worker=worker)
    workers.leave(worker.pk)
    assert lifecycle.rescue_lost(**lead) == []
    assert lifecycle.rescue_stuck(**lead) == ([], set())


# --- Stuck tasks ---


def stuck_task(worker: Worker, **fields: Any) -> Task:
    task = submit(**{"time_limit_seconds": 10, **fields})
    start(task, worker)
    age(task, started_at=timedelta(seconds=10 + 180 + 1))
    return task


def test_a_task_past_its_limit_and_the_grace_fails_once(worker, lead) -> None:
    task = stuck_task(worker, max_retries=1)
    moves, workers = lifecycle.rescue_stuck(**lead)
    assert ([move.id for move in moves], workers) == ([task.pk], {worker.pk})
    assert numbers(task) == (1, 1, 1, 0)
    assert (task.status, task.worker_id) == (Status.RETRYING, None)
    assert task.run_at > database_now()
    assert Attempt.objects.get().outcome == AttemptOutcome.TIMED_OUT


def test_the_last_of_them_dies_as_stuck(worker, lead) -> None:
    task = stuck_task(worker, max_retries=0)
    lifecycle.rescue_stuck(**lead)
    task.refresh_from_db()
    assert task.status == Status.DEAD
    assert open_letter(task).reason == DeathReason.STUCK_TASK_TIMEOUT


def test_the_limit_alone_is_not_enough(worker, lead) -> None:
    task = submit(time_limit_seconds=10)
    start(task, worker)
    age(task, started_at=timedelta(seconds=10 + 180 - 5))
    assert lifecycle.rescue_stuck(**lead) == ([], set())


def test_without_a_limit_age_alone_never_rescues(worker, lead) -> None:
    task = submit(time_limit_seconds=0)
    start(task, worker)
    age(task, started_at=timedelta(days=30))
    assert lifecycle.rescue_stuck(**lead) == ([], set())


def test_a_stuck_task_that_was_cancelled_is_cancelled(worker, lead) -> None:
    task = stuck_task(worker, max_retries=0)
    lifecycle.cancel(task.pk)
    lifecycle.rescue_stuck(**lead)
    task.refresh_from_db()
    assert task.status == Status.CANCELLED
    assert not DeadLetter.objects.exists()


def test_a_stuck_task_with_retries_left_can_be_due_again(worker, lead) -> None:
    task = stuck_task(worker, max_retries=3)
    lifecycle.rescue_stuck(**lead)
    task.refresh_from_db()
    make_due(task)
    assert start(task, make_worker()).attempt == 2
