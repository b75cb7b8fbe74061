"""The admin's pages of operations."""

import pytest
from django.urls import reverse

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import Author, operations
from tasks.lifecycle.operations import Plan
from tasks.models import Journal, Operation, Task
from tasks.states import DeathReason, OperationState, OperationVerb, Status
from tests.admin.pages import html, list_of, page_of, verb_of
from tests.factories import failure, make_task, start

pytestmark = pytest.mark.django_db


def redrive(worker, count: int, **plan) -> Operation:
    for _ in range(count):
        make_task(Status.DEAD, worker=worker)
    ids = list(DeadLetter.objects.open().values_list("pk", flat=True))
    by = Author("olga", reason="fix abc123 is out")
    return operations.begin(Plan(verb=OperationVerb.REDRIVE, **plan), ids, by=by)


def pace_of(operation: Operation) -> str:
    return reverse("admin:callboard_operation_pace", args=[operation.pk])


def test_an_operation_shows_its_steps_and_what_became_of_its_rows(root, worker, lead) -> None:
    operation = redrive(worker, 4, canary=2, stop_percent=100, rate_per_second=3)
    lifecycle.step_operation(operation.pk, **lead)
    page = html(root.get(page_of(operation)))
    assert "0 of 2 succeeded, 0 died again" in page
    assert "2 not ended · 2 to go" in page
    assert "2 of 4 · 3 per second" in page
    assert "fix abc123 is out" in page
    assert "olga" in html(root.get(list_of(Operation)))
    for task in Task.objects.filter(status=Status.PENDING):
        lifecycle.fail(failure(start(task, worker), worker, death=DeathReason.NOT_RETRYABLE))
    lifecycle.step_operation(operation.pk, **lead)
    page = html(root.get(page_of(operation)))
    assert "2 of the canary died again" in page
    assert "2 died again · 2 to go" in page
    assert "Died again</h2>" in page


def test_an_operation_is_paused_resumed_and_cancelled(root, worker) -> None:
    operation = redrive(worker, 2)
    for verb, state in (("pause", "PAUSED"), ("resume", "RUNNING"), ("cancel", "CANCELLED")):
        root.post(verb_of(operation, verb), {"confirmed": "1", "reason": f"to {verb}"})
        operation.refresh_from_db()
        assert operation.state == state
        assert Journal.objects.filter(object_id=operation.pk, verb=verb, by="root", reason=f"to {verb}").exists()
    assert html(root.get(page_of(operation))).count("Change pace") == 0


def test_the_pace_of_an_operation_is_changed(root, worker) -> None:
    operation = redrive(worker, 2, rate_per_second=1, stop_percent=5)
    root.post(pace_of(operation), {"rate": "7.5", "stop": "20"})
    operation.refresh_from_db()
    assert (operation.rate_per_second, operation.stop_percent) == (7.5, 20)
    root.post(pace_of(operation), {"rate": "", "stop": ""})
    operation.refresh_from_db()
    assert (operation.rate_per_second, operation.stop_percent) == (None, None)


@pytest.mark.parametrize("form", [{"rate": "fast"}, {"rate": "0"}, {"rate": "nan"}, {"stop": "101"}, {"stop": "-1"}])
def test_a_pace_out_of_bounds_is_refused_and_changes_nothing(root, worker, form) -> None:
    operation = redrive(worker, 1, rate_per_second=1, stop_percent=5)
    assert root.post(pace_of(operation), form).status_code == 400
    operation.refresh_from_db()
    assert (operation.rate_per_second, operation.stop_percent) == (1, 5)


def test_a_state_lists_only_its_operations(root, worker) -> None:
    operation = redrive(worker, 1)
    assert page_of(operation) in html(root.get(f"{list_of(Operation)}?state=RUNNING"))
    assert page_of(operation) not in html(root.get(f"{list_of(Operation)}?state={OperationState.DONE}"))
