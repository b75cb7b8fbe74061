"""The admin's pages of operations."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import Author, operations
from tasks.lifecycle.operations import Plan
from tasks.models import Journal, Operation, Task, Worker, new_id
from tasks.states import DeathReason, OperationState, OperationVerb, Status
from tests.admin.pages import browser_of, html, list_of, messages_of, page_of
from tests.factories import failure, make_task, open_letter, start

pytestmark = pytest.mark.django_db


def redrive(worker: Worker, count: int, **plan: Any) -> Operation:
    for _ in range(count):
        make_task(Status.DEAD, worker=worker)
    ids = list(DeadLetter.objects.open().values_list("pk", flat=True))
    by = Author("olga", reason="fix abc123 is out")
    return operations.begin(Plan(verb=OperationVerb.REDRIVE, **plan), ids, by=by)


def press(browser: Client, operation: Operation, name: str, **form: str) -> int:
    address = reverse("admin:callboard_operation_act", args=[operation.pk, name])
    status = browser.post(address, form).status_code
    operation.refresh_from_db()
    return status


def test_an_operation_shows_its_steps_and_what_became_of_its_rows(root: Client, worker: Worker, lead: Any) -> None:
    operation = redrive(worker, 4, canary=2, stop_percent=100, rate_per_second=3)
    lifecycle.step_operation(operation.pk, **lead)
    page = html(root.get(page_of(operation)))
    assert "2 of 2 begun" in page
    assert "2 running or waiting to run · 2 to go" in page
    assert "2 of 4 · 3 per second" in page
    assert "fix abc123 is out" in page
    assert "olga" in html(root.get(list_of(Operation)))
    for task in Task.objects.filter(status=Status.PENDING):
        lifecycle.fail(failure(start(task, worker), worker, death=DeathReason.NOT_RETRYABLE))
    lifecycle.step_operation(operation.pk, **lead)
    page = html(root.get(page_of(operation)))
    assert "2 of the canary died again" in page
    assert "2 died again · 2 to go" in page
    assert page_of(Task.objects.filter(status=Status.DEAD).latest("finished_at")) in page


def test_an_operation_is_paused_resumed_and_cancelled(root: Client, worker: Worker) -> None:
    operation = redrive(worker, 2)
    for name, state in (("pause", "PAUSED"), ("resume", "RUNNING"), ("cancel", "CANCELLED")):
        press(root, operation, name, reason=f"to {name}")
        assert operation.state == state
        assert Journal.objects.filter(object_id=operation.pk, verb=name, by="root", reason=f"to {name}").exists()
    page = html(root.get(page_of(operation)))
    assert "/act/" not in page
    press(root, operation, "resume")
    assert operation.state == OperationState.CANCELLED


def test_an_operation_goes_faster_and_slower(root: Client, worker: Worker) -> None:
    operation = redrive(worker, 2, rate_per_second=8)
    press(root, operation, "faster")
    assert operation.rate_per_second == 16
    press(root, operation, "slower")
    press(root, operation, "slower")
    assert operation.rate_per_second == 4


def test_a_button_of_an_operation_is_a_post(root: Client, worker: Worker) -> None:
    operation = redrive(worker, 1)
    address = reverse("admin:callboard_operation_act", args=[operation.pk, "cancel"])
    assert root.get(address).status_code == 405
    assert root.post(reverse("admin:callboard_operation_act", args=[new_id(), "cancel"])).status_code == 404
    assert press(root, operation, "explode") == 404
    assert operation.state == OperationState.RUNNING


def test_a_state_lists_only_its_operations(root: Client, worker: Worker) -> None:
    operation = redrive(worker, 1)
    assert page_of(operation) in html(root.get(f"{list_of(Operation)}?state=RUNNING"))
    assert page_of(operation) not in html(root.get(f"{list_of(Operation)}?state={OperationState.DONE}"))


def test_an_operation_is_changed_by_who_may_do_what_it_does(worker: Worker) -> None:
    operation = redrive(worker, 1)
    nadia = User.objects.create_user("nadia", is_staff=True)
    nadia.user_permissions.set(Permission.objects.filter(codename__in=("view_operation", "change_operation")))
    assert press(browser_of(nadia), operation, "pause") == 403
    assert operation.state == OperationState.RUNNING
    nadia.user_permissions.add(Permission.objects.get(codename="redrive_deadletter"))
    assert press(browser_of(User.objects.get(pk=nadia.pk)), operation, "pause") == 302
    assert operation.state == OperationState.PAUSED


def test_a_discard_is_undone_with_one_button(root: Client, worker: Worker, lead: Any) -> None:
    letter = open_letter(make_task(Status.DEAD, worker=worker))
    operation = operations.begin(Plan(verb=OperationVerb.DISCARD), [letter.pk])
    address = reverse("admin:callboard_operation_undo", args=[operation.pk])
    assert address not in html(root.get(page_of(operation)))
    assert "cannot undo" in messages_of(root.post(address, follow=True))[0]
    lifecycle.step_operation(operation.pk, **lead)
    assert address in html(root.get(page_of(operation)))
    assert root.get(address).status_code == 405
    answer = root.post(address, {"reason": "too early"}, follow=True)
    begun = Operation.objects.newest_first()[0]
    assert answer.redirect_chain == [(page_of(begun), 302)]
    lifecycle.step_operation(begun.pk, **lead)
    letter.refresh_from_db()
    assert letter.is_open
    assert root.post(reverse("admin:callboard_operation_undo", args=[new_id()])).status_code == 404
