"""What operators do in the admin: asked first, permitted, done to what it can be done to, and kept in the log."""

import re
from urllib.parse import quote

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.admin import confirmation, operated
from tasks.admin.queue import PAUSE, RESUME
from tasks.admin.task import CANCEL, RETRY
from tasks.admin.token import REVOKE
from tasks.admin.worker import DRAIN
from tasks.lifecycle import queues
from tasks.models import ApiToken, Queue, Task, TaskEvent, Worker
from tasks.states import Resolution, Status, WorkerStatus
from tests import factories
from tests.admin.pages import browser_of, list_of, page_of, verb_of

HOSTILE = "</pre><script>alert(1)</script>\u202e"
VERBS = ["retry", "cancel", "redrive", "discard", "pause", "resume", "drain", "revoke"]


def _press(browser, model, verb, rows, *, query="", across=False, **data):
    """Press a button above a list, or answer the question that comes then."""
    body = {"action": verb, ACTION_CHECKBOX_NAME: [str(row.pk) for row in rows], **data}
    if across:
        body["select_across"] = "1"
    return browser.post(f"{list_of(model)}{query}", body, follow="confirmed" in data)


def _messages(response):
    return [str(message) for message in response.context["messages"]]


# --- One row --------------------------------------------------------------------------------------------------------


def _one_of_each(worker):
    """Make a row for every verb, with what it has to look like afterwards."""
    dead = factories.make_task(Status.DEAD, worker=worker)
    letters = [factories.open_letter(factories.make_task(Status.DEAD, worker=worker)) for _ in range(2)]
    token, _ = ApiToken.issue(user=User.objects.create_user("tom"), name="laptop")
    queues.pause("other")
    return [
        (dead, "retry", lambda row: row.status == Status.PENDING),
        (factories.submit(), "cancel", lambda row: row.status == Status.CANCELLED),
        (letters[0], "redrive", lambda row: row.resolution == Resolution.REDRIVEN),
        (letters[1], "discard", lambda row: row.resolution == Resolution.DISCARDED),
        (Queue.objects.get(pk="default"), "pause", lambda row: row.paused_at is not None),
        (Queue.objects.get(pk="other"), "resume", lambda row: row.paused_at is None),
        (worker, "drain", lambda row: row.status == WorkerStatus.DRAINING),
        (token, "revoke", lambda row: row.revoked_at is not None),
    ]


@pytest.fixture
def case(request, worker):
    return next(case for case in _one_of_each(worker) if case[1] == request.param)


@pytest.mark.parametrize("case", VERBS, indirect=True)
def test_a_verb_asks_then_acts_and_leaves_a_log_entry(root, case):
    row, verb, is_done = case
    page = root.get(page_of(row)).content.decode()
    assert f'action="{verb_of(row, verb)}"' in page
    question = root.post(verb_of(row, verb))
    assert question.status_code == 200
    assert 'name="confirmed"' in question.content.decode()
    row.refresh_from_db()
    assert not is_done(row)
    assert not LogEntry.objects.exists()
    answer = root.post(verb_of(row, verb), {"confirmed": "yes", "reason": "it was time"})
    assert answer.status_code == 302
    assert answer["Location"] == page_of(row)
    row.refresh_from_db()
    assert is_done(row)
    entry = LogEntry.objects.get()
    assert entry.user.username == "root"
    assert entry.object_id == str(row.pk)
    assert "it was time" in entry.change_message
    assert re.search(r"<b>root</b>: [^<]*it was time", root.get(page_of(row)).content.decode())
    # It cannot be done twice, and its button is gone.
    assert f'action="{verb_of(row, verb)}"' not in root.get(page_of(row)).content.decode()
    again = root.post(verb_of(row, verb), {"confirmed": "yes"}, follow=True)
    assert "Nothing was done" in _messages(again)[0]
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("case", VERBS, indirect=True)
def test_a_get_changes_nothing(root, case):
    row, verb, is_done = case
    assert root.get(verb_of(row, verb)).status_code == 405
    assert root.get(verb_of(row, verb), {"confirmed": "yes"}).status_code == 405
    root.get(list_of(row), {"action": verb, ACTION_CHECKBOX_NAME: str(row.pk), "confirmed": "yes"})
    row.refresh_from_db()
    assert not is_done(row)


@pytest.mark.parametrize("case", VERBS, indirect=True)
def test_a_form_of_another_site_is_refused(case):
    row, verb, is_done = case
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_superuser("root"))
    assert browser.post(verb_of(row, verb), {"confirmed": "yes"}).status_code == 403
    row.refresh_from_db()
    assert not is_done(row)


@pytest.mark.parametrize("case", VERBS, indirect=True)
@pytest.mark.parametrize("who", ["viewer", "operator", "stranger"])
def test_who_may(request, case, who):
    row, verb, is_done = case
    browser = Client() if who == "stranger" else request.getfixturevalue(who)
    is_allowed = who == "operator" and verb != "revoke"
    if who != "stranger" and verb != "revoke":
        assert (f'action="{verb_of(row, verb)}"' in browser.get(page_of(row)).content.decode()) == is_allowed
    answer = browser.post(verb_of(row, verb), {"confirmed": "yes"})
    row.refresh_from_db()
    assert is_done(row) == is_allowed
    if not is_allowed:
        assert answer.status_code == (302 if who == "stranger" else 403)
    if who == "stranger":
        assert "/login/" in answer["Location"]


@pytest.mark.parametrize("case", VERBS, indirect=True)
def test_permissions_are_one_per_verb(case):
    row, verb, is_done = case
    user = User.objects.create_user("eve", is_staff=True)
    view = f"view_{row._meta.model_name}"
    own = {"resume": "pause"}.get(verb, verb) + f"_{row._meta.model_name}"
    user.user_permissions.add(
        *Permission.objects.filter(content_type__app_label__in=("tasks", "dlq")).exclude(codename=own)
    )
    assert browser_of(user).post(verb_of(row, verb), {"confirmed": "yes"}).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename=own))
    assert browser_of(user).post(verb_of(row, verb), {"confirmed": "yes"}).status_code == 403, "it cannot see it"
    user.user_permissions.set(Permission.objects.filter(codename__in=(own, view)))
    assert browser_of(user).post(verb_of(row, verb), {"confirmed": "yes"}).status_code == 302
    row.refresh_from_db()
    assert is_done(row)


def test_who_did_it_is_shown_to_those_who_may_read_the_log(db):
    queue = Queue.objects.get(pk="default")
    browser_of(User.objects.create_superuser("root")).post(
        verb_of(queue, "pause"), {"confirmed": "yes", "reason": "too hot"}
    )
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_queue"))
    assert "too hot" not in browser_of(user).get(page_of(queue)).content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_logentry"))
    assert "too hot" in browser_of(user).get(page_of(queue)).content.decode()


def test_unknown_verbs_and_rows_are_not_found(root, worker):
    task = factories.submit()
    assert root.post(verb_of(task, "explode")).status_code == 404
    gone = verb_of(task, "cancel").replace(str(task.pk), str(worker.pk))
    assert root.post(gone).status_code == 404
    assert root.post(verb_of(task, "cancel").replace(str(task.pk), "x" * 300)).status_code == 404


@pytest.mark.parametrize(
    ("case", "event"),
    [("cancel", "cancel"), ("retry", "redrive"), ("redrive", "redrive"), ("discard", "discard")],
    indirect=["case"],
)
def test_events_name_who_did_it(operator, case, event):
    row, verb, _ = case
    task_id = getattr(row, "task_id", row.pk)
    assert not TaskEvent.objects.filter(task=task_id, verb=event).exists()
    operator.post(verb_of(row, verb), {"confirmed": "yes"})
    assert TaskEvent.objects.get(task=task_id, verb=event).by == "olga"


def test_what_runs_is_asked_to_stop(operator, worker):
    task = factories.make_task(Status.RUNNING, worker=worker)
    operator.post(verb_of(task, "cancel"), {"confirmed": "yes"})
    task.refresh_from_db()
    assert task.status == Status.RUNNING
    assert task.cancel_requested_at is not None
    page = operator.get(page_of(task)).content.decode()
    assert "cancel requested" in page
    assert verb_of(task, "cancel") not in page


@pytest.mark.parametrize("status", list(Status))
def test_buttons_offer_what_lifecycle_does(worker, status):
    for verb, act in ((CANCEL, lifecycle.cancel_many), (RETRY, lifecycle.retry_many)):
        task = factories.make_task(status, worker=worker)
        offered = verb.legal(Task.objects.filter(pk=task.pk)).exists()
        assert offered == bool(act([task.pk]))


def test_a_name_that_is_markup_stays_text(root):
    queue = Queue.objects.create(name=f"~{HOSTILE}/?#%_")
    address = reverse("admin:tasks_queue_changelist")
    page = root.get(address).content.decode()
    assert "<script>alert" not in page
    link = re.search(r'href="(/admin/tasks/queue/[^"]*~[^"]*/change/)"', page)
    assert link
    page = root.get(link[1]).content.decode()
    form = re.search(r'action="([^"]*/do/pause/)"', page)
    assert form
    question = root.post(form[1]).content.decode()
    assert "<script>alert" not in page + question
    root.post(form[1], {"confirmed": "yes", "reason": HOSTILE})
    queue.refresh_from_db()
    assert queue.paused_at is not None
    overview = root.get(reverse("admin:index")).content.decode()
    assert "<script>alert" not in overview
    assert "&lt;script&gt;" in overview


# --- Many rows ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(worker):
    return [factories.make_task(status, worker=worker) for status in (Status.PENDING, Status.SUCCEEDED, Status.DEAD)]


def test_a_selection_is_asked_about_with_counts(operator, mixed):
    page = _press(operator, Task, "cancel", mixed).content.decode()
    assert "Cancel 1 task?" in page
    for status in ("Pending", "Succeeded", "Dead"):
        assert status in page
    assert Task.objects.filter(status=Status.CANCELLED).count() == 0


def test_one_illegal_row_does_not_fail_the_others(operator, mixed):
    answer = _press(operator, Task, "cancel", mixed, confirmed="yes", reason="cleaning")
    assert _messages(answer) == [
        "1 task cancelled, 2 skipped. Only tasks that have not ended can be cancelled, and only once."
    ]
    assert [Task.objects.get(pk=task.pk).status for task in mixed] == ["CANCELLED", "SUCCEEDED", "DEAD"]
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_repr, entry.object_id) == ("olga", "1 task", None)
    assert entry.change_message == "1 task cancelled. Cancel: cleaning"


def test_nothing_that_can_be_done_is_said(operator, mixed):
    page = _press(operator, Task, "cancel", mixed[1:]).content.decode()
    assert "Only tasks that have not ended can be cancelled" in page
    answer = _press(operator, Task, "cancel", mixed[1:], confirmed="yes")
    assert _messages(answer) == [
        "0 tasks cancelled, 2 skipped. Only tasks that have not ended can be cancelled, and only once."
    ]
    assert not LogEntry.objects.exists()


def test_all_that_match_the_filter_and_nothing_else(operator, worker):
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
    assert _messages(answer) == ["4 tasks cancelled."]
    assert set(Task.objects.filter(status=Status.CANCELLED)) == set(waiting)
    for task in (spared, late):
        task.refresh_from_db()
        assert task.status == Status.PENDING


def test_a_broken_deploy_is_repaired_from_the_overview(operator, worker):
    for _ in range(3):
        factories.make_task(Status.DEAD, worker=worker)
    spared = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    DeadLetter.objects.filter(pk=spared.pk).update(fingerprint="f" * 32)
    overview = operator.get(reverse("admin:index")).content.decode()
    causes = re.findall(r'href="/admin/dlq/deadletter/(\?cause=[0-9a-f]+)"', overview)
    letters = list(DeadLetter.objects.exclude(pk=spared.pk))
    question = _press(operator, DeadLetter, "redrive", letters[:1], query=causes[0], across=True)
    page = question.content.decode()
    assert "Re-drive 3 dead letters?" in page
    filters = re.findall(r'<bdi class="tag">([^<]+)</bdi>', page)
    assert filters == ["resolution: Open", "cause: 3 × act: RuntimeError: as asked"]
    assert "newest first, at most 10,000 at a time" in page
    assert "RuntimeError: as asked" in page
    answer = _press(
        operator, DeadLetter, "redrive", letters[:1], query=causes[0], across=True, confirmed="yes",
        until=str(max(letter.pk for letter in letters)),
    )  # fmt: skip
    assert _messages(answer) == ["3 dead letters re-driven."]
    assert list(DeadLetter.objects.open()) == [spared]
    assert Task.objects.filter(status=Status.PENDING).count() == 3


def test_a_hostile_filter_stays_text_in_the_question(operator, mixed):
    page = _press(operator, Task, "cancel", mixed, query=f"?q={quote(HOSTILE)}", across=True).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_many_go_in_chunks_and_not_all_at_once(operator, monkeypatch):
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
    assert _messages(answer) == ["5 tasks cancelled. More than 5 match: repeat the action for the rest."]
    assert Task.objects.filter(status=Status.CANCELLED).count() == 5
    answer = _press(operator, Task, "cancel", tasks[:1], across=True, confirmed="yes")
    assert _messages(answer) == ["2 tasks cancelled."]


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
    assert _messages(answer) == [f"{count}."]


def test_every_verb_is_permitted_by_a_permission_that_exists(db):
    for verb in (CANCEL, RETRY, PAUSE, RESUME, DRAIN, REVOKE):
        app, codename = verb.permission.split(".")
        assert Permission.objects.filter(content_type__app_label=app, codename=codename).exists()


def test_groups_have_what_they_are_named_after(db):
    names = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    views = {"view_task", "view_queue", "view_worker", "view_deadletter", "view_logentry"}
    assert names["viewer"] == views
    assert names["operator"] == views | {
        "retry_task",
        "cancel_task",
        "pause_queue",
        "drain_worker",
        "redrive_deadletter",
        "discard_deadletter",
    }
