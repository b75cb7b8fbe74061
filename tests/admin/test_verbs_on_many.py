"""Verbs on the rows of a list: counted first, done to the eligible ones, in chunks."""

import re
from urllib.parse import quote

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission, User

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.admin import confirmation, operated
from tasks.models import Journal, Operation, Queue, Task, Worker
from tasks.states import Door, ObjectKind, Status
from tests import factories
from tests.admin.pages import list_of, messages_of
from tests.callers import let_see_payloads

HOSTILE = "</pre><script>alert(1)</script>\u202e"


def _press(browser, model, verb, rows, *, query="", across=False, **data):
    """Press a button above a list, or confirm."""
    body = {"action": verb, ACTION_CHECKBOX_NAME: [str(row.pk) for row in rows], **data}
    if across:
        body["select_across"] = "1"
    return browser.post(f"{list_of(model)}{query}", body, follow="confirmed" in data)


def _run_operation() -> None:
    """Do what the page began, as the leader does."""
    operation = Operation.objects.get()
    for _ in range(10):
        lifecycle.step_operation(operation.pk, **factories.make_lead())


@pytest.fixture
def mixed(worker):
    return [factories.make_task(status, worker=worker) for status in (Status.PENDING, Status.SUCCEEDED, Status.DEAD)]


def test_the_confirmation_counts_the_selection_by_status(operator, mixed):
    page = _press(operator, Task, "cancel", mixed).content.decode()
    assert "Cancel 1 task?" in page
    assert ">Cancel 1 task</button>" in page
    for status in ("Pending", "Succeeded", "Dead"):
        assert status in page
    assert Task.objects.filter(status=Status.CANCELLED).count() == 0


def test_one_illegal_row_does_not_fail_the_others(operator, mixed):
    answer = _press(operator, Task, "cancel", mixed, confirmed="yes", reason="cleaning")
    assert messages_of(answer) == [
        "1 task cancelled, 2 skipped. Only tasks that have not ended can be cancelled, and only once."
    ]
    assert [Task.objects.get(pk=task.pk).status for task in mixed] == ["CANCELLED", "SUCCEEDED", "DEAD"]
    one, summary = Journal.objects.filter(by="olga")
    assert (one.verb, one.door, one.reason, one.task, one.count) == ("cancel", Door.ADMIN, "cleaning", mixed[0], None)
    assert (summary.verb, summary.door, summary.reason, summary.object_id) == ("cancel", Door.ADMIN, "cleaning", "")
    assert (summary.kind, summary.count) == (ObjectKind.TASK, 1)
    assert one.operation_id == summary.operation_id is not None
    assert list(Journal.objects.acts().filter(by="olga")) == [summary]


def test_a_selection_without_eligible_rows_is_explained(operator, mixed):
    page = _press(operator, Task, "cancel", mixed[1:]).content.decode()
    assert "Only tasks that have not ended can be cancelled" in page
    answer = _press(operator, Task, "cancel", mixed[1:], confirmed="yes")
    assert messages_of(answer) == [
        "0 tasks cancelled, 2 skipped. Only tasks that have not ended can be cancelled, and only once."
    ]
    assert not Journal.objects.filter(by="olga").exists()


def test_all_matches_of_the_filter_and_no_other_rows(operator, worker):
    waiting = [factories.submit() for _ in range(4)]
    spared = factories.submit(queue="other")
    query = "?queue=default"
    question = _press(operator, Task, "cancel", waiting[:1], query=query, across=True).content.decode()
    assert "Cancel 4 tasks?" in question
    until = re.search(r'name="until" value="([^"]+)"', question)
    assert until
    assert until[1] == str(waiting[-1].pk)
    late = factories.submit()
    answer = _press(operator, Task, "cancel", waiting[:1], query=query, across=True, confirmed="yes", until=until[1])
    assert messages_of(answer) == ["4 tasks will be cancelled."]
    _run_operation()
    assert set(Task.objects.filter(status=Status.CANCELLED)) == set(waiting)
    for task in (spared, late):
        task.refresh_from_db()
        assert task.status == Status.PENDING


def test_a_broken_deploy_is_repaired_from_its_dead_letters(operator, worker):
    let_see_payloads(User.objects.get(username="olga"))
    for _ in range(3):
        factories.make_task(Status.DEAD, worker=worker)
    spared = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    lifecycle.fold_failures(**factories.make_lead())
    Failure.objects.update(open=3)
    DeadLetter.objects.filter(pk=spared.pk).update(fingerprint="f" * 32)
    query = f"?cause={Failure.objects.get().pk}"
    letters = list(DeadLetter.objects.exclude(pk=spared.pk))
    question = _press(operator, DeadLetter, "redrive", letters[:1], query=query, across=True)
    page = question.content.decode()
    assert "Re-drive 3 dead letters?" in page
    filters = re.findall(r'<bdi class="tag">([^<]+)</bdi>', page)
    assert filters == ["resolution: Open", "cause: 3 × act: RuntimeError: as asked"]
    assert "newest first, at most 100,000 at a time" in page
    assert "RuntimeError: as asked" in page
    answer = _press(
        operator, DeadLetter, "redrive", letters[:1], query=query, across=True, confirmed="yes",
        until=str(max(letter.pk for letter in letters)),
    )  # fmt: skip
    assert messages_of(answer) == ["3 dead letters will be re-driven."]
    _run_operation()
    assert list(DeadLetter.objects.open()) == [spared]
    assert Task.objects.filter(status=Status.PENDING).count() == 3


def test_a_hostile_filter_stays_text_on_the_confirmation_page(operator, mixed):
    page = _press(operator, Task, "cancel", mixed, query=f"?q={quote(HOSTILE)}", across=True).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("given", "says"), [({"rate_per_second": "0"}, "rate_per_second"), ({"canary": "x"}, "canary")]
)
def test_an_operation_with_an_invalid_number_is_refused_in_the_list(operator, worker, given, says):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    answer = _press(operator, DeadLetter, "redrive", [letter], across=True, confirmed="yes", **given)
    assert (answer.status_code, Operation.objects.count()) == (200, 0)
    (message,) = messages_of(answer)
    assert message.startswith("Nothing was begun: ")
    assert says in message


def test_all_matches_become_an_operation_with_a_canary_and_a_rate(operator, worker):
    for _ in range(3):
        factories.make_task(Status.DEAD, worker=worker)
    letters = list(DeadLetter.objects.all())
    answer = _press(
        operator, DeadLetter, "redrive", letters[:1], across=True, confirmed="yes",
        canary="1", rate_per_second="0.5", stop_percent="25", reason="the fix is out",
    )  # fmt: skip
    operation = Operation.objects.get()
    assert answer.redirect_chain == [(f"/admin/callboard/operation/{operation.pk}/change/", 302)]
    assert (operation.canary, operation.rate_per_second, operation.stop_percent) == (1, 0.5, 25)
    assert (operation.by, operation.door, operation.reason) == ("olga", Door.ADMIN, "the fix is out")
    assert operation.criteria == {"list": "resolution: Open"}
    assert DeadLetter.objects.open().count() == 3, "the leader has not begun"
    page = answer.content.decode()
    assert "1 per second" not in page
    assert "0.5 per second" in page


def test_many_rows_are_changed_in_chunks_up_to_a_cap(operator, monkeypatch):
    # Nobody may begin an operation.
    Permission.objects.filter(codename="add_operation").delete()
    monkeypatch.setattr(operated, "CHUNK", 2)
    monkeypatch.setattr(confirmation, "MAX_AT_ONCE", 5)
    sizes = []
    cancel_many = lifecycle.cancel_many

    def cancel_and_note(ids, by):
        sizes.append(len(ids))
        return cancel_many(ids, by=by)

    monkeypatch.setattr(lifecycle, "cancel_many", cancel_and_note)
    tasks = [factories.submit() for _ in range(7)]
    answer = _press(operator, Task, "cancel", tasks[:1], across=True, confirmed="yes")
    assert sizes == [2, 2, 1]
    assert messages_of(answer) == ["5 tasks cancelled. More than 5 match: repeat the action for the rest."]
    assert Task.objects.filter(status=Status.CANCELLED).count() == 5
    answer = _press(operator, Task, "cancel", tasks[:1], across=True, confirmed="yes")
    assert messages_of(answer) == ["2 tasks cancelled."]


def test_a_forged_key_is_a_bad_request(operator):
    task = factories.submit()
    answer = _press(operator, Task, "cancel", [task], across=True, confirmed="yes", until="nonsense")
    assert answer.status_code == 400
    task.refresh_from_db()
    assert task.status == Status.PENDING


def test_a_viewer_has_neither_tick_boxes_nor_actions(viewer, mixed):
    page = viewer.get(list_of(Task)).content.decode()
    assert "action-select" not in page
    assert "Run again" not in page
    _press(viewer, Task, "cancel", mixed, confirmed="yes")
    assert Task.objects.filter(status=Status.CANCELLED).count() == 0


@pytest.mark.parametrize(
    ("model", "verb", "count"),
    [
        (Task, "retry", "1 task set to run again"),
        (DeadLetter, "redrive", "2 dead letters re-driven"),
        (DeadLetter, "discard", "2 dead letters discarded"),
        (Queue, "pause", "2 queues paused"),
        (Worker, "drain", "1 worker asked to drain"),
    ],
)
def test_every_list_has_its_verbs(operator, worker, model, verb, count):
    rows = {
        Task: [factories.make_task(Status.CANCELLED)],
        DeadLetter: [factories.open_letter(factories.make_task(Status.DEAD, worker=worker)) for _ in "ab"],
        Queue: list(Queue.objects.filter(name__in=factories.QUEUES)),
        Worker: [worker],
    }[model]
    rows = list(DeadLetter.objects.all()) if model == DeadLetter else rows
    assert _press(operator, model, verb, rows).status_code == 200
    answer = _press(operator, model, verb, rows, confirmed="yes")
    assert messages_of(answer) == [f"{count}."]
