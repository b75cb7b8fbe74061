"""Two steps of one operation at the same time, and a pause in the middle: nothing is done twice, or after the pause."""

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import operations
from tasks.lifecycle.operations import Plan
from tasks.models import Journal, Operation
from tasks.states import OperationState, OperationVerb, Status
from tests.factories import make_lead, make_task, make_worker

pytestmark = pytest.mark.django_db(transaction=True)


def _operation(count: int) -> Operation:
    worker = make_worker(threads=count)
    for _ in range(count):
        make_task(Status.DEAD, worker=worker)
    ids = list(DeadLetter.objects.values_list("pk", flat=True))
    return operations.begin(Plan(verb=OperationVerb.REDRIVE), ids)


def test_two_leaders_that_step_at_once_do_each_row_once(race) -> None:
    lead, operation = make_lead(), _operation(20)
    steps = race.together(*[lambda: lifecycle.step_operation(operation.pk, **lead)] * 3)
    assert sorted(step.moved for step in steps) == [0, 0, 20]
    operation.refresh_from_db()
    assert (operation.moved, operation.skipped) == (20, 0)
    assert Journal.objects.of_verb("redrive").count() == 20


def test_a_step_that_waited_for_a_pause_does_nothing(race) -> None:
    lead, operation = make_lead(), _operation(3)
    _, step = race.while_open(
        lambda: operations.pause(operation.pk), lambda: lifecycle.step_operation(operation.pk, **lead)
    )
    assert step.moved == 0
    operation.refresh_from_db()
    assert (operation.state, operation.moved) == (OperationState.PAUSED, 0)


def test_rows_that_somebody_redrives_meanwhile_are_done_once(race) -> None:
    lead, operation = make_lead(), _operation(10)
    ids = list(operation.items.order_by("-id").values_list("row_id", flat=True))
    step, moves = race.together(
        lambda: lifecycle.step_operation(operation.pk, **lead), lambda: lifecycle.redrive_many(ids)
    )
    operation.refresh_from_db()
    assert step.moved == 10
    assert operation.moved + len(moves) == 10
    assert operation.skipped == len(moves)
