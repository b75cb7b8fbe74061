"""The admin's pages of failures."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dlq.admin_failures import FailureAdmin
from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.models import Journal, Operation, Task, Worker
from tasks.states import DeathReason, OperationState, Status
from tests.admin.pages import browser_of, html, list_of, messages_of, page_of
from tests.factories import failure as failure_of
from tests.factories import start, submit

pytestmark = pytest.mark.django_db

TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/shop/actors.py", line 28, in settle\n    answer[name]\n'


def die(worker: Worker, lead: Any, count: int, *, message: str = "'amount_cents'", **fields: Any) -> Failure:
    """Let tasks die of one cause."""
    for _ in range(count):
        claimed = start(submit(**fields), worker)
        error = {"error_type": "KeyError", "error_message": message, "traceback": f"{TRACEBACK}KeyError: {message}"}
        lifecycle.fail(failure_of(claimed, worker, death=DeathReason.NOT_RETRYABLE, **error))
    lifecycle.fold_failures(**lead)
    return Failure.objects.get(pk=DeadLetter.objects.newest_first().values("fingerprint")[:1])


def begin_of(failure: Failure, verb: str) -> str:
    return reverse("admin:dlq_failure_begin", args=[failure.pk, verb])


def care_of(failure: Failure) -> str:
    return reverse("admin:dlq_failure_look_after", args=[failure.pk])


def test_a_failure_says_how_many_where_and_what_they_have_in_common(root: Client, worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 3, tags=["tenant:acme"], payload={"do": "return", "value": "PLN"})
    assert "KeyError: &#x27;amount_cents&#x27;" in html(root.get(list_of(Failure)))
    page = html(root.get(page_of(failure)))
    assert "<b>3</b> of 3 deaths" in page
    assert "/srv/shop/actors.py:28 in settle" in page
    assert re.search(r'tag <b><bdi>tenant:acme</bdi></b></th><td class="n" data-label="Of 3">3<', page)
    assert re.search(r'payload.<bdi>value</bdi> <b><bdi>PLN</bdi></b></th><td class="n" data-label="Of 3">3<', page)
    assert "Traceback" in page


def test_a_re_drive_of_a_failure_is_a_preview_with_a_canary_and_a_rate(root: Client, worker: Worker, lead: Any) -> None:
    spared = die(worker, lead, 1, message="'currency'")
    failure = die(worker, lead, 3)
    form = {"canary": "2", "rate_per_second": "20", "stop_percent": "50", "reason": "fix abc123 is out"}
    answer = root.post(begin_of(failure, "redrive"), form)
    operation = Operation.objects.get()
    assert answer["Location"] == page_of(operation)
    assert (operation.state, operation.total, operation.canary) == (OperationState.PREVIEW, 3, 2)
    assert (operation.rate_per_second, operation.stop_percent, operation.reason) == (20, 50, "fix abc123 is out")
    assert (operation.by, operation.door, operation.failure) == ("root", "admin", failure.pk)
    assert DeadLetter.objects.open().count() == 4
    root.post(reverse("admin:callboard_operation_act", args=[operation.pk, "resume"]))
    lifecycle.step_operation(operation.pk, **lead)
    assert Task.objects.filter(status=Status.PENDING).count() == 2
    assert page_of(operation) in html(root.get(page_of(failure)))
    assert page_of(operation) not in html(root.get(page_of(spared)))


@pytest.mark.parametrize(
    "form",
    [{"canary": "many"}, {"canary": "-1"}, {"canary": "1001"}, {"rate_per_second": "0"}, {"rate_per_second": "nan"},
     {"rate_per_second": "inf"}, {"stop_percent": "101"}, {"stop_percent": "0.5"}],
)  # fmt: skip
def test_a_wrong_form_says_which_field_and_begins_nothing(
    root: Client, worker: Worker, lead: Any, form: dict[str, str]
) -> None:
    failure = die(worker, lead, 1)
    (message,) = messages_of(root.post(begin_of(failure, "redrive"), form, follow=True))
    (field,) = form
    assert message.startswith(f"Nothing was done: {field}: expected ")
    assert not Operation.objects.exists()
    assert root.post(begin_of(failure, "explode")).status_code == 404


def test_a_failure_is_assigned_noted_and_snoozed(root: Client, worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 1)
    for form in ({"assign": "me"}, {"note": "the field was renamed"}, {"snooze": "hour"}):
        root.post(care_of(failure), form)
    failure.refresh_from_db()
    assert (failure.assignee, failure.note) == ("root", "the field was renamed")
    assert failure.snoozed_until is not None
    assert timedelta(minutes=59) < failure.snoozed_until - timezone.now() <= timedelta(hours=1)
    assert Journal.objects.filter(object_id=failure.pk, by="root", verb="edit").count() == 3
    assert page_of(failure) not in html(root.get(list_of(Failure)))
    assert page_of(failure) in html(root.get(f"{list_of(Failure)}?show=snoozed"))
    root.post(care_of(failure), {"assign": "nobody", "snooze": "end"})
    assert Failure.objects.filter(assignee="", snoozed_until=None).get() == failure
    assert page_of(failure) in html(root.get(list_of(Failure)))


def test_failures_are_listed_by_their_last_death_on_every_page(
    root: Client, worker: Worker, lead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FailureAdmin, "list_per_page", 2)
    failures = [die(worker, lead, 1, message=f"'{name}'") for name in "abcdef"]
    pages = [html(root.get(f"{list_of(Failure)}?p={number}")) for number in (1, 2, 3)]
    found = [[failure for failure in failures if page_of(failure) in page] for page in pages]
    assert found == [failures[4:], failures[2:4], failures[:2]]


def test_an_error_is_hidden_from_users_who_may_not_see_payloads(worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 1, message="'hunter2'", payload={"do": "return", "value": "PLN"})
    nadia = User.objects.create_user("nadia", is_staff=True)
    names = ("view_failure", "view_deadletter", "view_task", "view_operation")
    nadia.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser = browser_of(nadia)
    for address in (list_of(Failure), page_of(failure)):
        page = html(browser.get(address))
        assert "KeyError" in page
        assert "hunter2" not in page
        assert "PLN" not in page


def test_what_dead_letters_have_in_common_is_for_who_may_see_them(worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 2, tags=["tenant:acme"])
    nadia = User.objects.create_user("nadia", is_staff=True)
    nadia.user_permissions.set(Permission.objects.filter(codename="view_failure"))
    assert "tenant:acme" not in html(browser_of(nadia).get(page_of(failure)))
    nadia.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    assert "tenant:acme" in html(browser_of(User.objects.get(pk=nadia.pk)).get(page_of(failure)))


def test_a_viewer_has_no_forms(viewer: Client, worker: Worker, lead: Any) -> None:
    page = html(viewer.get(page_of(die(worker, lead, 1))))
    for name in ("/begin/", "/look-after/"):
        assert name not in page


def test_a_page_of_a_failure_asks_a_bounded_number_of_questions(
    root: Client, worker: Worker, lead: Any, django_assert_max_num_queries: Any
) -> None:
    failure = die(worker, lead, 3)
    with django_assert_max_num_queries(25):
        root.get(page_of(failure))
