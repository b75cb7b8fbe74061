"""Operations: an act on many rows, in steps of the leader, that does nothing twice and stops by itself."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models import F

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import NotFound, OperationRefused
from tasks.lifecycle import Author, operation_steps, operation_verbs, operations
from tasks.lifecycle.operations import Plan
from tasks.models import Journal, Operation, OperationItem, Task, Worker, new_id
from tasks.states import DeathReason, ObjectKind, OperationState, OperationVerb, Status
from tests.factories import age, failure, make_task, outcome, start, submit

pytestmark = pytest.mark.django_db

OLGA = Author("olga", reason="the fix is out")


def dead(worker: Worker, count: int) -> list[DeadLetter]:
    for _ in range(count):
        make_task(Status.DEAD, worker=worker)
    return list(DeadLetter.objects.open().newest_first()[:count])


def begin(verb: OperationVerb, rows: Sequence[Any], *, starts: bool = True, **plan: Any) -> Operation:
    return operations.begin(Plan(verb=verb, **plan), [row.pk for row in rows], by=OLGA, starts=starts)


def redrive(rows: Sequence[Any], **plan: Any) -> Operation:
    return begin(OperationVerb.REDRIVE, rows, **plan)


def step(operation: Operation, lead: Any) -> int:
    moved = lifecycle.step_operation(operation.pk, **lead).moved
    operation.refresh_from_db()
    return moved


def let_pass(operation: Operation, seconds: float) -> None:
    """Let time pass for the pace of an operation."""
    Operation.objects.filter(pk=operation.pk).update(paced_at=F("paced_at") - timedelta(seconds=seconds))


def end_runs(worker: Worker, *, deaths: int = 0, most: int = 1000) -> None:
    """Let the tasks that wait run, the first of them to another death."""
    for number, task in enumerate(Task.objects.filter(status=Status.PENDING).order_by("pk")[:most]):
        claimed = start(task, worker)
        if number < deaths:
            lifecycle.fail(failure(claimed, worker, death=DeathReason.NOT_RETRYABLE))
        else:
            lifecycle.succeed(outcome(claimed, worker))


def test_an_operation_ends_when_its_tasks_have(worker, lead) -> None:
    operation = redrive(dead(worker, 3))
    assert (operation.state, operation.total, operation.by, operation.reason) == ("RUNNING", 3, "olga", OLGA.reason)
    assert step(operation, lead) == 3
    assert (operation.state, operation.moved, operation.running) == (OperationState.RUNNING, 3, 3)
    end_runs(worker, deaths=1)
    step(operation, lead)
    assert (operation.state, operation.succeeded, operation.died) == (OperationState.DONE, 2, 1)
    assert operation.ended_at is not None
    assert lifecycle.open_operations() == []


def test_each_row_leaves_an_entry_in_the_journal_and_the_end_a_summary(worker, lead) -> None:
    operation = redrive(dead(worker, 2))
    step(operation, lead)
    end_runs(worker)
    step(operation, lead)
    rows = Journal.objects.of_operation(operation.pk)
    assert {(row.verb, row.by, row.reason) for row in rows} == {("redrive", "olga", OLGA.reason)}
    assert sorted(row.count or 0 for row in rows) == [0, 0, 2]
    about = Journal.objects.about(ObjectKind.OPERATION, str(operation.pk))
    assert [(row.verb, row.detail["total"]) for row in about] == [("create", 2)]


def test_a_preview_does_nothing_until_it_is_resumed(worker, lead) -> None:
    operation = redrive(dead(worker, 2), starts=False)
    assert (operation.state, operation.total, step(operation, lead)) == (OperationState.PREVIEW, 2, 0)
    assert lifecycle.open_operations() == []
    operations.resume(operation.pk, by=OLGA)
    assert step(operation, lead) == 2


def test_rows_that_match_later_are_not_touched(worker, lead) -> None:
    operation = redrive(dead(worker, 2), starts=False)
    (later,) = dead(worker, 1)
    operations.resume(operation.pk)
    step(operation, lead)
    assert list(DeadLetter.objects.open()) == [later]


def test_a_canary_runs_alone_until_it_has_ended(worker, lead) -> None:
    operation = redrive(dead(worker, 6), canary=2, stop_percent=10)
    assert (step(operation, lead), operation.state) == (2, OperationState.CANARY)
    assert (step(operation, lead), operation.state) == (0, OperationState.CANARY)
    end_runs(worker, most=1)
    assert (step(operation, lead), operation.state) == (0, OperationState.CANARY)
    end_runs(worker)
    assert (step(operation, lead), operation.state) == (4, OperationState.RUNNING)


def test_an_operator_need_not_wait_for_the_canary(worker, lead) -> None:
    operation = redrive(dead(worker, 6), canary=2)
    step(operation, lead)
    operations.resume(operation.pk, by=OLGA)
    assert (step(operation, lead), operation.state) == (4, OperationState.RUNNING)


def test_a_canary_that_dies_again_stops_the_operation(worker, lead) -> None:
    operation = redrive(dead(worker, 6), canary=2, stop_percent=10)
    step(operation, lead)
    end_runs(worker, deaths=1)
    assert step(operation, lead) == 0
    assert (operation.state, operation.note) == (OperationState.STOPPED, "1 of the canary died again")
    assert step(operation, lead) == 0
    stop = Journal.objects.about(ObjectKind.OPERATION, str(operation.pk)).of_verb("stop").get()
    assert (stop.by, stop.door, stop.reason) == ("", "scheduler", operation.note)


def test_too_many_deaths_among_the_last_stop_the_operation(worker, lead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_steps, "STOP_WINDOW", 10)
    monkeypatch.setattr(operation_steps, "MOST_MOVED", 4)
    operation = redrive(dead(worker, 20), stop_percent=20)
    step(operation, lead)
    end_runs(worker, deaths=1)
    assert (step(operation, lead), operation.state) == (4, OperationState.RUNNING)
    end_runs(worker, deaths=1)
    step(operation, lead)
    assert (operation.state, operation.moved) == (OperationState.STOPPED, 8)
    assert operation.note == "2 of the last 10 died again"


def test_deaths_before_a_person_resumed_do_not_stop_it_again(worker, lead) -> None:
    operation = redrive(dead(worker, 6), canary=2, stop_percent=10)
    step(operation, lead)
    end_runs(worker, deaths=2)
    step(operation, lead)
    operations.resume(operation.pk, by=OLGA)
    assert (step(operation, lead), operation.state, operation.note) == (4, OperationState.RUNNING, "")
    end_runs(worker, deaths=1)
    step(operation, lead)
    assert (operation.state, operation.died) == (OperationState.STOPPED, 3)


def test_a_rate_is_kept_and_what_was_not_done_is_not_made_up_for(worker, lead) -> None:
    operation = redrive(dead(worker, 12), rate_per_second=4)
    assert step(operation, lead) == 0
    let_pass(operation, 0.5)
    assert step(operation, lead) == 2
    # The scheduler was away for an hour.
    let_pass(operation, 3600)
    assert step(operation, lead) == 4
    operations.set_pace(operation.pk, {"rate_per_second": 0.5}, by=OLGA)
    let_pass(operation, 3600)
    assert step(operation, lead) == 1
    assert step(operation, lead) == 0
    operations.set_pace(operation.pk, {"rate_per_second": None})
    assert step(operation, lead) == 5


def test_a_paused_operation_changes_nothing_and_still_learns_what_became_of_its_tasks(worker, lead) -> None:
    operation = redrive(dead(worker, 4), rate_per_second=2)
    let_pass(operation, 1)
    step(operation, lead)
    operations.pause(operation.pk, by=OLGA)
    let_pass(operation, 60)
    end_runs(worker)
    assert lifecycle.open_operations() == [operation.pk]
    assert step(operation, lead) == 0
    assert (operation.state, operation.succeeded) == (OperationState.PAUSED, 2)
    assert lifecycle.open_operations() == []
    operations.resume(operation.pk)
    let_pass(operation, 1)
    assert step(operation, lead) == 2


def test_a_cancelled_operation_keeps_what_it_has_done(worker, lead) -> None:
    operation = redrive(dead(worker, 4), canary=1)
    step(operation, lead)
    operations.cancel(operation.pk, by=OLGA)
    assert step(operation, lead) == 0
    assert (operation.state, operation.moved, operation.left) == (OperationState.CANCELLED, 1, 3)
    assert DeadLetter.objects.open().count() == 3


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (operations.pause, OperationState.PREVIEW),
        (operations.pause, OperationState.DONE),
        (operations.resume, OperationState.RUNNING),
        (operations.resume, OperationState.CANCELLED),
        (operations.cancel, OperationState.DONE),
        (lambda id: operations.set_pace(id, {"rate_per_second": 1}), OperationState.CANCELLED),
    ],
)
def test_what_the_state_does_not_allow_is_refused(act: Callable[[UUID], Any], state: OperationState) -> None:
    operation = operations.begin(Plan(verb=OperationVerb.CANCEL), [])
    Operation.objects.filter(pk=operation.pk).update(state=state)
    with pytest.raises(OperationRefused, match=f"an operation that is {state}"):
        act(operation.pk)
    with pytest.raises(NotFound, match="no operation"):
        act(new_id())


def test_a_deposed_leader_does_nothing(worker, lead) -> None:
    operation = redrive(dead(worker, 2))
    assert lifecycle.step_operation(operation.pk, lease=lead["lease"], term=lead["term"] - 1).moved == 0
    assert DeadLetter.objects.open().count() == 2


def test_a_leader_that_ends_inside_a_step_leaves_nothing_of_it(worker, lead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_steps, "MOST_MOVED", 2)
    operation = redrive(dead(worker, 4))
    step(operation, lead)

    def die(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(operation_verbs, "_reasons", die)
        with pytest.raises(SystemExit):
            step(operation, lead)
    operation.refresh_from_db()
    assert (operation.moved, DeadLetter.objects.open().count()) == (2, 2)
    assert OperationItem.objects.filter(state="").count() == 2
    # The next leader goes on, and no task gets a second life twice.
    assert (step(operation, lead), operation.moved) == (2, 4)
    assert Journal.objects.of_operation(operation.pk).of_verb("redrive").count() == 4


def test_steps_that_fail_again_and_again_stop_the_operation(worker, lead) -> None:
    operation = redrive(dead(worker, 2))
    for _ in range(operation_steps.MOST_ERRORS):
        lifecycle.note_error(operation.pk, "KeyError: 'x'")
    operation.refresh_from_db()
    assert (operation.state, operation.errors) == (OperationState.STOPPED, operation_steps.MOST_ERRORS)
    assert "KeyError: 'x'" in operation.note


def test_a_task_that_somebody_redrove_again_still_counts_as_died(worker, lead) -> None:
    operation = redrive(dead(worker, 1))
    step(operation, lead)
    end_runs(worker, deaths=1)
    lifecycle.redrive(DeadLetter.objects.open().get().pk)
    step(operation, lead)
    assert (operation.died, operation.running) == (1, 0)


def test_a_task_that_was_removed_or_cancelled_is_not_waited_for(worker, lead) -> None:
    operation = redrive(dead(worker, 2))
    step(operation, lead)
    one, other = Task.objects.filter(status=Status.PENDING)
    lifecycle.cancel(one.pk)
    lifecycle.delete(other.pk)
    step(operation, lead)
    assert (operation.ended, operation.state) == (2, OperationState.DONE)


def test_many_rows_are_looked_at_in_turn(worker, lead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_steps, "_FATES", operation_steps._FATES.replace("LIMIT 2000", "LIMIT 2"))
    monkeypatch.setattr(operation_steps, "MOST_LOOKED_AT", 2)
    operation = redrive(dead(worker, 5))
    step(operation, lead)
    # The first ones wait for long; the last one has ended.
    for task in Task.objects.filter(status=Status.PENDING).order_by("pk")[1:]:
        age(task, run_at=timedelta(days=-1))
    end_runs(worker, most=1)
    for _ in range(3):
        step(operation, lead)
    assert operation.succeeded == 1


def test_an_operation_without_rows_is_done_at_once(lead) -> None:
    operation = operations.begin(Plan(verb=OperationVerb.CANCEL), [])
    step(operation, lead)
    assert operation.state == OperationState.DONE
    assert submit().status == Status.PENDING


@pytest.mark.parametrize("rate", [0.3, 0.7, 0.03])
def test_a_rate_whose_interval_is_no_whole_number_of_microseconds_does_not_stall(
    worker: Worker, lead: Any, rate: float
) -> None:
    operation = redrive(dead(worker, 2), rate_per_second=rate)
    let_pass(operation, 1000)
    assert step(operation, lead) == 1


def test_a_pause_in_a_canary_does_not_end_the_wait_for_it(worker: Worker, lead: Any) -> None:
    operation = redrive(dead(worker, 4), canary=2, stop_percent=50)
    assert step(operation, lead) == 2
    operations.pause(operation.pk, by=OLGA)
    operations.resume(operation.pk, by=OLGA)
    assert step(operation, lead) == 0
    assert operation.state == OperationState.CANARY
    end_runs(worker, deaths=2)
    step(operation, lead)
    assert (operation.state, operation.moved, operation.died) == (OperationState.STOPPED, 2, 2)


def test_a_person_goes_on_after_a_stop_in_the_middle_of_a_canary(
    worker: Worker, lead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_steps, "MOST_MOVED", 1)
    operation = redrive(dead(worker, 4), canary=3, stop_percent=10)
    assert step(operation, lead) == 1
    end_runs(worker, deaths=1)
    step(operation, lead)
    assert operation.state == OperationState.STOPPED
    operations.resume(operation.pk, by=OLGA)
    assert step(operation, lead) == 1
    assert operation.state == OperationState.RUNNING


def test_old_operations_are_pruned_with_their_rows_in_batches(worker, lead) -> None:
    operation, running = redrive(dead(worker, 3)), redrive([])
    operations.cancel(operation.pk)
    assert not lifecycle.prune_operations(keep_seconds=60, batch=2, **lead)
    Operation.objects.filter(pk=operation.pk).update(ended_at=F("ended_at") - timedelta(minutes=2))
    assert not lifecycle.prune_operations(keep_seconds=60, batch=2, lease=lead["lease"], term=lead["term"] - 1)
    assert lifecycle.prune_operations(keep_seconds=60, batch=2, **lead)
    assert (OperationItem.objects.count(), Operation.objects.count()) == (1, 2)
    assert lifecycle.prune_operations(keep_seconds=60, batch=2, **lead)
    assert (OperationItem.objects.count(), list(Operation.objects.all())) == (0, [running])


def test_a_preview_that_nobody_started_is_pruned(worker, lead) -> None:
    operation = redrive(dead(worker, 3), starts=False)
    assert not lifecycle.prune_operations(keep_seconds=60, batch=10, **lead)
    Operation.objects.update(created_at=F("created_at") - timedelta(minutes=2))
    old: Any = {**lead, "term": lead["term"] - 1}
    assert not lifecycle.prune_operations(keep_seconds=60, batch=10, **old)
    operation.refresh_from_db()
    assert operation.state == OperationState.PREVIEW
    assert not lifecycle.prune_operations(keep_seconds=60, batch=10, **lead)
    with pytest.raises(OperationRefused):
        operations.resume(operation.pk)
    assert lifecycle.prune_operations(keep_seconds=60, batch=10, **lead)
    assert not OperationItem.objects.exists()
    assert not Operation.objects.exists()
