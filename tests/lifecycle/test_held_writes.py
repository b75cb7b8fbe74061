"""What a running attempt writes: checkpoints, reports and steps, by the worker that holds it and nobody else."""

from typing import Any

import pytest

from tasks import lifecycle
from tasks.errors import AttemptLost
from tasks.holder import Holder
from tasks.lifecycle import checkpoint, steps
from tasks.models import Task, Worker, new_id
from tasks.states import StepKind
from tests.factories import outcome, start, submit

pytestmark = pytest.mark.django_db


def held(worker: Worker) -> Holder:
    claimed = start(submit(), worker)
    return Holder(claimed.id, claimed.attempt, worker.pk)


def save(holder: Holder) -> Any:
    checkpoint.save(holder, ["data"], 1)
    return Task.objects.get().checkpoint


def keep(holder: Holder) -> Any:
    steps.keep(holder, StepKind.STEP, "charge", result=1)
    return Task.objects.get().steps.get().result


@pytest.mark.parametrize("write", [save, keep])
def test_an_older_attempt_keeps_nothing(worker, write) -> None:
    holder = held(worker)
    with pytest.raises(AttemptLost):
        write(holder._replace(attempt=holder.attempt + 1))


@pytest.mark.parametrize("write", [save, keep])
def test_another_worker_keeps_nothing(worker, write) -> None:
    with pytest.raises(AttemptLost):
        write(held(worker)._replace(worker_id=new_id()))


@pytest.mark.parametrize("write", [save, keep])
def test_an_attempt_that_has_ended_keeps_nothing(worker, write) -> None:
    claimed = start(submit(), worker)
    lifecycle.succeed(outcome(claimed, worker))
    with pytest.raises(AttemptLost):
        write(Holder(claimed.id, claimed.attempt, worker.pk))


def test_the_holder_keeps_both(worker) -> None:
    holder = held(worker)
    assert (save(holder), keep(holder)) == ({"data": 1, "cursors": {}}, 1)


def test_what_is_kept_of_a_step_stays(worker) -> None:
    holder = held(worker)
    steps.keep(holder, StepKind.STEP, "charge", result="first")
    steps.keep(holder, StepKind.STEP, "charge", result="second")
    found = steps.find(holder.task_id, StepKind.STEP, "charge")
    assert found is not None
    assert found.result == "first"


def test_a_report_of_another_attempt_or_worker_changes_nothing(worker) -> None:
    holder = held(worker)
    report = {"id": holder.task_id, "attempt": holder.attempt, "worker": worker.pk, "progress": {"done": 1}}
    strangers = [{**report, "attempt": 7}, {**report, "worker": new_id()}]
    assert checkpoint.report_many(strangers[:1]) == checkpoint.report_many(strangers[1:]) == set()
    assert checkpoint.report_many([report]) == {(holder.task_id, holder.attempt)}
    assert Task.objects.get().progress == {"done": 1}


def test_a_completion_without_progress_keeps_what_was_reported(worker) -> None:
    claimed = start(submit(), worker)
    log = {"attempt": claimed.attempt, "lines": [], "dropped": 0}
    report = {"id": claimed.id, "attempt": claimed.attempt, "worker": worker.pk, "progress": {"done": 1}, "log": log}
    checkpoint.report_many([report])
    # As the sweeper ends the attempt of a worker that was killed.
    lifecycle.succeed(outcome(claimed, worker))
    task = Task.objects.get()
    assert (task.progress, task.attempts.get().log) == ({"done": 1}, log)


def test_the_log_of_an_earlier_attempt_is_not_taken_for_that_of_a_later_one(worker) -> None:
    claimed = start(submit(), worker)
    Task.objects.update(log={"attempt": claimed.attempt - 1, "lines": [], "dropped": 0})
    lifecycle.succeed(outcome(claimed, worker))
    assert Task.objects.get().attempts.get().log is None
