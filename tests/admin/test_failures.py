"""The admin's pages of failures."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dlq.admin.failure import curve
from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.models import Journal, Operation, Task, Worker
from tasks.states import DeathReason, OperationState, Status
from tests.admin.pages import html, list_of, messages_of, page_of
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


def form_of(failure: Failure, name: str) -> str:
    return reverse(f"admin:dlq_failure_{name}", args=[failure.pk])


def test_a_failure_says_how_many_where_and_what_they_have_in_common(root: Client, worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 3, tags=["tenant:acme"], payload={"do": "return", "value": "PLN"})
    assert "KeyError: &#x27;amount_cents&#x27;" in html(root.get(list_of(Failure)))
    page = html(root.get(page_of(failure)))
    assert re.search(r'<dd class="big alarm">3</dd>', page)
    assert "/srv/shop/actors.py:28 in settle" in page
    assert re.search(r'tag</span> <b><bdi>tenant:acme</bdi></b></td><td class="n">3<', page)
    assert re.search(r'payload.value</span> <b><bdi>PLN</bdi></b></td><td class="n">3<', page)
    assert "Whole traceback" in page


def test_a_failure_is_re_driven_with_a_canary_at_a_rate(root: Client, worker: Worker, lead: Any) -> None:
    spared = die(worker, lead, 1, message="'currency'")
    failure = die(worker, lead, 3)
    form = {"verb": "redrive", "canary": "2", "rate": "20", "stop": "50", "reason": "fix abc123 is out"}
    answer = root.post(form_of(failure, "operate"), form)
    operation = Operation.objects.get()
    assert answer["Location"] == page_of(operation)
    assert (operation.state, operation.total, operation.canary) == (OperationState.CANARY, 3, 2)
    assert (operation.rate_per_second, operation.stop_percent, operation.reason) == (20, 50, "fix abc123 is out")
    assert (operation.by, operation.door, operation.failure) == ("root", "admin", failure.pk)
    lifecycle.step_operation(operation.pk, **lead)
    assert Task.objects.filter(status=Status.PENDING).count() == 2
    page = html(root.get(page_of(failure)))
    assert page_of(operation) in page
    assert "0 of 2 succeeded" in page
    assert page_of(operation) not in html(root.get(page_of(spared)))


def test_a_discard_of_a_failure_waits_as_a_preview(root: Client, worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 2)
    root.post(form_of(failure, "operate"), {"verb": "discard", "preview": "1"})
    assert Operation.objects.get().state == OperationState.PREVIEW
    assert DeadLetter.objects.open().count() == 2


@pytest.mark.parametrize(
    "form",
    [{}, {"verb": "explode"}, {"verb": "redrive", "canary": "many"}, {"verb": "redrive", "rate": "0"},
     {"verb": "redrive", "stop": "101"}, {"verb": "redrive", "rate": "nan"}, {"verb": "redrive", "canary": "-1"},
     {"verb": "redrive", "rate": "inf"}],
)  # fmt: skip
def test_a_wrong_form_says_which_field_and_begins_nothing(root: Client, worker: Worker, lead: Any, form: Any) -> None:
    failure = die(worker, lead, 1)
    answer = root.post(form_of(failure, "operate"), form, follow=True)
    (message,) = messages_of(answer)
    assert "Nothing was done. " in message
    assert "expected" in message
    assert not Operation.objects.exists()


def test_a_failure_is_assigned_noted_and_snoozed(root: Client, worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 1)
    for form in ({"assign": "me"}, {"note": "the field was renamed"}, {"snooze": "1 hour"}):
        root.post(form_of(failure, "look_after"), form)
    failure.refresh_from_db()
    assert (failure.assignee, failure.note) == ("root", "the field was renamed")
    assert failure.snoozed_until is not None
    assert timedelta(minutes=59) < failure.snoozed_until - timezone.now() <= timedelta(hours=1)
    assert Journal.objects.filter(object_id=failure.pk, by="root", verb="edit").count() == 3
    assert page_of(failure) not in html(root.get(list_of(Failure)))
    assert page_of(failure) in html(root.get(f"{list_of(Failure)}?show=snoozed"))
    root.post(form_of(failure, "look_after"), {"assign": "", "snooze": ""})
    assert Failure.objects.filter(assignee="", snoozed_until=None).get() == failure
    assert page_of(failure) in html(root.get(list_of(Failure)))


def test_failures_are_listed_by_their_last_death(root: Client, worker: Worker, lead: Any) -> None:
    failures = [die(worker, lead, 1, message=f"'{name}'") for name in "abc"]
    page = html(root.get(list_of(Failure)))
    places = [page.index(page_of(failure)) for failure in reversed(failures)]
    assert places == sorted(places)


def test_an_error_is_hidden_from_users_who_may_not_see_payloads(worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 1, message="'hunter2'", payload={"do": "return", "value": "PLN"})
    nadia = User.objects.create_user("nadia", is_staff=True)
    names = ("view_failure", "view_deadletter", "view_task", "view_operation")
    nadia.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser = Client()
    browser.force_login(nadia)
    for address in (list_of(Failure), page_of(failure)):
        page = html(browser.get(address))
        assert "KeyError" in page
        assert "hunter2" not in page
        assert "PLN" not in page


def test_a_viewer_has_no_forms(viewer: Client, worker: Worker, lead: Any) -> None:
    page = html(viewer.get(page_of(die(worker, lead, 1))))
    for name in ('id="redrive"', 'id="discard"', 'id="assign"', 'id="note"'):
        assert name not in page


def test_a_page_of_a_failure_asks_a_bounded_number_of_questions(
    root: Client, worker: Worker, lead: Any, django_assert_max_num_queries: Any
) -> None:
    failure = die(worker, lead, 3)
    with django_assert_max_num_queries(25):
        root.get(page_of(failure))


def test_a_curve_touches_the_top_at_its_highest() -> None:
    assert curve([0, 0, 10]) == "0.0,69.0 380.0,69.0 760.0,2.0"
    assert curve([0]) == "0.0,69.0"
