"""What people type into the address line: undeclared filters, odd pages and ids, names that code no longer declares."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.admin import base
from tasks.models import Journal, Operation, Queue, Task
from tasks.queries import scan
from tasks.states import Status
from tests import factories
from tests.admin.pages import MODELS, html, list_of, messages_of, page_of

#: Parameters that no list declares: columns, look-ups, and what Django's own lists take.
UNDECLARED = [
    "tags__contains=x", "actor__regex=(", "payload__x=1", "payload__x__contains=%00", "status__in=DEAD", "id=1", "pk=1",
    "id__in=x", "owner__username=root", "owner__password__gt=p", "user__password__regex=^a", "error__icontains=a",
    "o=1", "o=-1.2", "all=", "all=1", "e=1", "_facets=True", "_popup=1", "_to_field=id", "_to_field=digest",
    "digest__startswith=a", "name__contains=a", "x=y", "=", "%00=1", "%ff=%ff", "created_at__year=2026", "before=x",
    "before=%00", "p=-1", "p=0", "p=abc", "p=", "p=99999999999999999999", "p=1.5", "resolution__exact=x",
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_a_parameter_that_a_list_does_not_declare_is_left_out_with_a_sentence(root, life, model) -> None:
    for query in UNDECLARED:
        answer = root.get(f"{list_of(model)}?{query}")
        assert (answer.status_code, answer["Location"]) == (302, list_of(model)), query
        page = root.get(answer["Location"])
        assert page.status_code == 200
        assert any("filters were ignored" in message for message in messages_of(page)), query


def test_declared_parameters_stay_when_others_are_left_out(root, life) -> None:
    answer = root.get(f"{list_of(Task)}?status=RUNNING&tags__contains=x&q=red&o=1")
    assert answer["Location"] == f"{list_of(Task)}?status=RUNNING&q=red"


def test_an_action_ignores_them_too(root, life) -> None:
    body = {"action": "cancel", "_selected_action": str(life.pk)}
    page = html(root.post(f"{list_of(Task)}?tags__contains=x&o=7", body))
    assert "Cancel 1 task?" in page


@pytest.mark.parametrize("key", ["\0", "x", "1", "\ufffd", "9" * 10_000])
def test_an_action_on_what_is_no_key_is_refused(root, life, key) -> None:
    assert root.post(list_of(Task), {"action": "cancel", "_selected_action": key}).status_code == 400


@pytest.mark.parametrize("id", ["ffffffff-ffff-7fff-bfff-ffffffffffff", "ffffffff-ffff-4fff-bfff-ffffffffffff"])
def test_a_list_that_begins_behind_an_id_of_no_time_is_a_list(root, life, id) -> None:
    assert page_of(life) in html(root.get(list_of(Task), {"before": id}))


def test_a_page_behind_the_last_is_the_last(root, life, monkeypatch) -> None:
    monkeypatch.setattr(base.ReadOnlyAdmin, "list_per_page", 1)
    factories.submit()
    assert page_of(life) in html(root.get(list_of(Task), {"p": "2"}))
    assert page_of(life) in html(root.get(list_of(Task), {"p": "2000"}))


@pytest.mark.parametrize("odd", ["%00", "%ff", "%ED%A0%80", "_00", "%0d%0a", "x" * 10_000, "%F0%9F%92%A9", "1%00"])
@pytest.mark.parametrize("tail", ["change/", "history/", "delete/", "do/cancel/"])
@pytest.mark.parametrize("model", MODELS)
def test_what_cannot_be_an_id_is_not_found(root, life, model, tail, odd) -> None:
    ask = root.post if tail.startswith("do") else root.get
    answer = ask(f"{list_of(model)}{odd}/{tail}")
    # Names of queues may have other odd characters.
    is_name = model is Queue and odd[:2] not in ("1%", "%0", "xx")
    # These have no verbs, and Django redirects what it takes for a row's old address.
    is_redirected = model in (Journal, Failure, Operation) and tail.startswith("do")
    assert answer.status_code in ((302, 403, 404) if is_name or is_redirected else (404,)), answer.status_code


@pytest.mark.parametrize(("parameter", "value"), [("actor", "gone_actor"), ("queue", "gone queue")])
def test_tasks_of_a_name_that_code_no_longer_declares_are_found(root, life, parameter, value) -> None:
    Task.objects.filter(pk=life.pk).update(**{parameter: value})
    page = html(root.get(list_of(Task), {parameter: value}))
    assert page_of(life) in page
    assert f"<b>{value}</b>" in page
    DeadLetter.objects.update(**{parameter: value})
    page = html(root.get(list_of(DeadLetter), {parameter: value, "resolution": "all"}))
    assert page_of(DeadLetter.objects.get()) in page


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PARTS", (2, 3, 4))
    monkeypatch.setattr(scan, "SCATTERED_PARTS", (2, 3, 4))
    monkeypatch.setattr(scan, "FEW", 0)


def test_a_list_that_looked_at_a_part_leads_to_the_older_rows(root, small_parts) -> None:
    old = factories.submit(priority=9)
    for _ in range(12):
        factories.submit()
    page = html(root.get(list_of(Task), {"band": "high"}))
    assert "None found yet" in page
    assert page_of(old) not in page
    (older,) = re.findall(r'<a href="([^"]+)">Search older ones</a>', page)
    page = html(root.get(list_of(Task) + older.replace("&amp;", "&")))
    assert page_of(old) in page
    assert "Search older ones" not in page
    (newest,) = re.findall(r'<a href="([^"]+)">Back to the newest</a>', page)
    assert newest == "?band=high"


def test_eligible_rows_are_counted_among_all_matches(root, monkeypatch, worker) -> None:
    from tasks.admin import confirmation

    monkeypatch.setattr(confirmation, "MOST_ROWS", 3)
    waiting = [factories.submit() for _ in range(2)]
    for _ in range(5):
        factories.make_task(Status.SUCCEEDED, worker=worker)
    body: dict[str, Any] = {"action": "cancel", "_selected_action": str(uuid4()), "select_across": "1"}
    assert "Cancel 2 tasks?" in html(root.post(list_of(Task), body))
    answer = root.post(list_of(Task), {**body, "confirmed": "yes"}, follow=True)
    assert messages_of(answer) == ["2 tasks will be cancelled."]
    lifecycle.step_operation(Operation.objects.get().pk, **factories.make_lead())
    assert {Task.objects.get(pk=one.pk).status for one in waiting} == {"CANCELLED"}


@pytest.mark.parametrize("model", MODELS)
def test_a_list_costs_the_same_number_of_queries_for_any_number_of_rows(root, life, model, worker) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            html(root.get(list_of(model)))
        return len(captured)

    factories.make_task(Status.DEAD, worker=worker)
    count()
    few = count()
    for number in range(20):
        factories.make_task(Status.DEAD, worker=worker, owner_id=None)
        factories.make_worker()
        factories.submit(tags=[f"t{number}"])
    assert count() == few <= 12
