"""Lists of failures in the admin, who sees what in a failure, and what its forms refuse."""

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
from tasks.models import Journal, Operation, Worker
from tasks.states import DeathReason
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


def test_what_dead_letters_have_in_common_is_for_who_may_see_them(worker: Worker, lead: Any) -> None:
    failure = die(worker, lead, 2, tags=["tenant:acme"])
    nadia = User.objects.create_user("nadia", is_staff=True)
    nadia.user_permissions.set(Permission.objects.filter(codename="view_failure"))
    assert "tenant:acme" not in html(browser_of(nadia).get(page_of(failure)))
    nadia.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    assert "tenant:acme" in html(browser_of(User.objects.get(pk=nadia.pk)).get(page_of(failure)))
