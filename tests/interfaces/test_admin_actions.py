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
from tasks.admin import verbs
from tasks.admin.queue import PAUSE, RESUME
from tasks.admin.task import CANCEL, RETRY
from tasks.admin.token import REVOKE
from tasks.admin.worker import DRAIN
from tasks.engine import queues
from tasks.models import ApiToken, Queue, Task, TaskEvent, Worker
from tasks.states import Resolution, Status, WorkerStatus
from tests import factories

LISTS = {
    name: reverse(f"admin:{name}_changelist")
    for name in ("tasks_task", "tasks_queue", "tasks_worker", "tasks_apitoken", "dlq_deadletter")
}
HOSTILE = "</pre><script>alert(1)</script>\u202e"


def _browser(user):
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def root(db):
    return _browser(User.objects.create_superuser("root"))


def _member(name, group):
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user


@pytest.fixture
def operator(db):
    return _browser(_member("olga", "operator"))


@pytest.fixture
def viewer(db):
    return _browser(_member("vera", "viewer"))


def _do(row, verb):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_do", args=[row.pk, verb])


def _page(row):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def _press(browser, name, verb, rows, *, query="", across=False, **data):
    """Press a button above a list, or answer the question that comes then."""
    body = {"action": verb, ACTION_CHECKBOX_NAME: [str(row.pk) for row in rows], **data}
    if across:
        body["select_across"] = "1"
    return browser.post(f"{LISTS[name]}{query}", body, follow="confirmed" in data)


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


VERBS = ["retry", "cancel", "redrive", "discard", "pause", "resume", "drain", "revoke"]


@pytest.fixture
def case(request, worker):
    return next(case for case in _one_of_each(worker) if case[1] == request.param)


@pytest.mark.parametrize("case", VERBS, indirect=True)
def test_a_verb_asks_then_acts_and_leaves_a_log_entry(root, case):
    row, verb, is_done = case
    page = root.get(_page(row)).content.decode()
    assert f'action="{_do(row, verb)}"' in page
    question = root.post(_do(row, verb))
    assert question.status_code == 200
    assert 'name="confirmed"' in question.content.decode()
    row.refresh_from_db()
    assert not is_done(row)
    assert not LogEntry.objects.exists()
    answer = root.post(_do(row, verb), {"confirmed": "yes", "reason": "it was time"})
    assert answer.status_code == 302
    assert answer["Location"] == _page(row)
    row.refresh_from_db()
    assert is_done(row)
    entry = LogEntry.objects.get()
    assert entry.user.username == "root"
    assert entry.object_id == str(row.pk)
    assert "it was time" in entry.change_message
    assert re.search(r"<b>root</b>: [^<]*it was time", root.get(_page(row)).content.decode())
    # It cannot be done twice, and its button is gone.
    assert f'action="{_do(row, verb)}"' not in root.get(_page(row)).content.decode()
    again = root.post(_do(row, verb), {"confirmed": "yes"}, follow=True)
    assert "Nothing was done" in _messages(again)[0]
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("case", VERBS, indirect=True)
def test_a_get_changes_nothing(root, case):
    row, verb, is_done = case
    assert root.get(_do(row, verb)).status_code == 405
    assert root.get(_do(row, verb), {"confirmed": "yes"}).status_code == 405
    name = f"{row._meta.app_label}_{row._meta.model_name}"
    root.get(LISTS[name], {"action": verb, ACTION_CHECKBOX_NAME: str(row.pk), "confirmed": "yes"})
    row.refresh_from_db()
    assert not is_done(row)


@pytest.mark.parametrize("case", VERBS, indirect=True)
def test_a_form_of_another_site_is_refused(case):
    row, verb, is_done = case
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_superuser("root"))
    assert browser.post(_do(row, verb), {"confirmed": "yes"}).status_code == 403
    row.refresh_from_db()
    assert not is_done(row)


@pytest.mark.parametrize("case", VERBS, indirect=True)
@pytest.mark.parametrize("who", ["viewer", "operator", "stranger"])
def test_who_may(request, case, who):
    row, verb, is_done = case
    browser = Client() if who == "stranger" else request.getfixturevalue(who)
    is_allowed = who == "operator" and verb != "revoke"
    if who != "stranger" and verb != "revoke":
        assert (f'action="{_do(row, verb)}"' in browser.get(_page(row)).content.decode()) == is_allowed
    answer = browser.post(_do(row, verb), {"confirmed": "yes"})
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
    assert _browser(user).post(_do(row, verb), {"confirmed": "yes"}).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename=own))
    assert _browser(user).post(_do(row, verb), {"confirmed": "yes"}).status_code == 403, "it cannot see it"
    user.user_permissions.set(Permission.objects.filter(codename__in=(own, view)))
    assert _browser(user).post(_do(row, verb), {"confirmed": "yes"}).status_code == 302
    row.refresh_from_db()
    assert is_done(row)


def test_who_did_it_is_shown_to_those_who_may_read_the_log(db):
    queue = Queue.objects.get(pk="default")
    _browser(User.objects.create_superuser("root")).post(_do(queue, "pause"), {"confirmed": "yes", "reason": "too hot"})
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_queue"))
    assert "too hot" not in _browser(user).get(_page(queue)).content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_logentry"))
    assert "too hot" in _browser(user).get(_page(queue)).content.decode()


def test_unknown_verbs_and_rows_are_not_found(root, worker):
    task = factories.submit()
    assert root.post(_do(task, "explode")).status_code == 404
    gone = _do(task, "cancel").replace(str(task.pk), str(worker.pk))
    assert root.post(gone).status_code == 404
    assert root.post(_do(task, "cancel").replace(str(task.pk), "x" * 300)).status_code == 404


@pytest.mark.parametrize(
    ("case", "event"),
    [("cancel", "cancel"), ("retry", "redrive"), ("redrive", "redrive"), ("discard", "discard")],
    indirect=["case"],
)
def test_events_name_who_did_it(operator, case, event):
    row, verb, _ = case
    task_id = getattr(row, "task_id", row.pk)
    assert not TaskEvent.objects.filter(task=task_id, verb=event).exists()
    operator.post(_do(row, verb), {"confirmed": "yes"})
    assert TaskEvent.objects.get(task=task_id, verb=event).by == "olga"


def test_what_runs_is_asked_to_stop(operator, worker):
    task = factories.make_task(Status.RUNNING, worker=worker)
    operator.post(_do(task, "cancel"), {"confirmed": "yes"})
    task.refresh_from_db()
    assert task.status == Status.RUNNING
    assert task.cancel_requested_at is not None
    page = operator.get(_page(task)).content.decode()
    assert "cancel requested" in page
    assert _do(task, "cancel") not in page


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
    page = _press(operator, "tasks_task", "cancel", mixed).content.decode()
    assert "Cancel 1 task?" in page
    for status in ("Pending", "Succeeded", "Dead"):
        assert status in page
    assert Task.objects.filter(status=Status.CANCELLED).count() == 0


def test_one_illegal_row_does_not_fail_the_others(operator, mixed):
    answer = _press(operator, "tasks_task", "cancel", mixed, confirmed="yes", reason="cleaning")
    assert _messages(answer) == ["1 task cancelled; 2 skipped, which cannot be."]
    assert [Task.objects.get(pk=task.pk).status for task in mixed] == ["CANCELLED", "SUCCEEDED", "DEAD"]
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_repr, entry.object_id) == ("olga", "1 task", None)
    assert entry.change_message == "1 task cancelled. Cancel: cleaning"


def test_nothing_that_can_be_done_is_said(operator, mixed):
    page = _press(operator, "tasks_task", "cancel", mixed[1:]).content.decode()
    assert "Nothing of it can be cancelled now." in page
    answer = _press(operator, "tasks_task", "cancel", mixed[1:], confirmed="yes")
    assert _messages(answer) == ["0 tasks cancelled; 2 skipped, which cannot be."]
    assert not LogEntry.objects.exists()


def test_all_that_match_the_filter_and_nothing_else(operator, worker):
    waiting = [factories.submit() for _ in range(4)]
    spared = factories.submit(queue="other")
    query = "?queue=default"
    question = _press(operator, "tasks_task", "cancel", waiting[:1], query=query, across=True).content.decode()
    assert "Cancel 4 tasks?" in question
    until = re.search(r'name="until" value="([^"]+)"', question)
    assert until
    assert until[1] == str(waiting[-1].pk)
    late = factories.submit()
    answer = _press(
        operator, "tasks_task", "cancel", waiting[:1], query=query, across=True, confirmed="yes", until=until[1]
    )
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
    question = _press(operator, "dlq_deadletter", "redrive", letters[:1], query=causes[0], across=True)
    page = question.content.decode()
    assert "Re-drive 3 dead letters?" in page
    filters = re.findall(r'<bdi class="tag">([^<]+)</bdi>', page)
    assert filters == ["resolution: Open", "cause: 3 × act: RuntimeError: as asked"]
    assert "the newest 10,000 at most" in page
    assert "RuntimeError: as asked" in page
    answer = _press(
        operator, "dlq_deadletter", "redrive", letters[:1], query=causes[0], across=True, confirmed="yes",
        until=str(max(letter.pk for letter in letters)),
    )  # fmt: skip
    assert _messages(answer) == ["3 dead letters re-driven."]
    assert list(DeadLetter.objects.open()) == [spared]
    assert Task.objects.filter(status=Status.PENDING).count() == 3


def test_a_hostile_filter_stays_text_in_the_question(operator, mixed):
    page = _press(operator, "tasks_task", "cancel", mixed, query=f"?q={quote(HOSTILE)}", across=True).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_many_go_in_chunks_and_not_all_at_once(operator, monkeypatch):
    monkeypatch.setattr(verbs, "CHUNK", 2)
    monkeypatch.setattr(verbs, "MOST_AT_ONCE", 5)
    sizes = []
    cancel_many = lifecycle.cancel_many

    def cancel_and_note(ids, by):
        sizes.append(len(ids))
        return cancel_many(ids, by=by)

    monkeypatch.setattr(lifecycle, "cancel_many", cancel_and_note)
    tasks = [factories.submit() for _ in range(7)]
    answer = _press(operator, "tasks_task", "cancel", tasks[:1], across=True, confirmed="yes")
    assert sizes == [2, 2, 1]
    assert _messages(answer) == ["5 tasks cancelled; there are more than 5, do it again for the rest."]
    assert Task.objects.filter(status=Status.CANCELLED).count() == 5
    answer = _press(operator, "tasks_task", "cancel", tasks[:1], across=True, confirmed="yes")
    assert _messages(answer) == ["2 tasks cancelled."]


def test_a_forged_key_is_a_bad_request(operator):
    task = factories.submit()
    answer = _press(operator, "tasks_task", "cancel", [task], across=True, confirmed="yes", until="nonsense")
    assert answer.status_code == 400
    task.refresh_from_db()
    assert task.status == Status.PENDING


def test_a_viewer_has_neither_tick_boxes_nor_actions(viewer, mixed):
    page = viewer.get(LISTS["tasks_task"]).content.decode()
    assert "action-select" not in page
    assert "Run again" not in page
    _press(viewer, "tasks_task", "cancel", mixed, confirmed="yes")
    assert Task.objects.filter(status=Status.CANCELLED).count() == 0


@pytest.mark.parametrize(
    ("name", "verb", "count"),
    [
        ("tasks_task", "retry", "1 task run again"),
        ("dlq_deadletter", "redrive", "2 dead letters re-driven"),
        ("dlq_deadletter", "discard", "2 dead letters discarded"),
        ("tasks_queue", "pause", "2 queues paused"),
        ("tasks_worker", "drain", "1 worker asked to drain"),
    ],
)
def test_every_list_has_its_verbs(operator, worker, name, verb, count):
    rows = {
        "tasks_task": [factories.make_task(Status.CANCELLED)],
        "dlq_deadletter": [factories.open_letter(factories.make_task(Status.DEAD, worker=worker)) for _ in "ab"],
        "tasks_queue": list(Queue.objects.filter(name__in=factories.QUEUES)),
        "tasks_worker": [worker],
    }[name]
    rows = list(DeadLetter.objects.all()) if name == "dlq_deadletter" else rows
    assert _press(operator, name, verb, rows).status_code == 200
    answer = _press(operator, name, verb, rows, confirmed="yes")
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


# --- Tokens ---------------------------------------------------------------------------------------------------------


def _make_token(browser, user, **fields):
    return browser.post(
        reverse("admin:tasks_apitoken_add"),
        {"name": "ci", "user": user.pk, "scopes": ["read"], "expires_at_0": "", "expires_at_1": "", **fields},
    )


def test_a_new_tokens_secret_is_shown_once(root):
    alice = User.objects.create_user("alice")
    answer = _make_token(root, alice)
    page = answer.content.decode()
    secret = re.search(r"cb_[\w-]{40,}", page)
    assert secret
    assert "no-store" in answer["Cache-Control"]
    token = ApiToken.objects.get()
    assert (token.user, token.name, token.digest) == (alice, "ci", ApiToken.hash(secret[0]))
    found = ApiToken.objects.for_secret(secret[0])
    assert found is not None
    for path in (_page(token), LISTS["tasks_apitoken"], reverse("admin:index")):
        assert secret[0] not in root.get(path).content.decode()
    assert secret[0] not in str([list(entry) for entry in LogEntry.objects.values_list()])
    assert LogEntry.objects.get().object_id == str(token.pk)


def test_a_token_expires_when_it_is_told_to(root):
    alice = User.objects.create_user("alice")
    assert (
        "Expected a time to come"
        in _make_token(root, alice, expires_at_0="2001-01-01", expires_at_1="00:00:00").content.decode()
    )
    assert not ApiToken.objects.exists()
    _make_token(root, alice, expires_at_0="2101-01-01", expires_at_1="00:00:00")
    token = ApiToken.objects.get()
    assert token.expires_at is not None
    change = {"name": "cd", "user": "999", "scopes": ["read"], "expires_at_0": "2100-01-01", "expires_at_1": "00:00:00"}
    root.post(_page(token), change)
    token.refresh_from_db()
    assert (token.name, token.user, token.expires_at.year) == ("cd", alice, 2100)
    assert LogEntry.objects.count() == 2


def test_a_tokens_reach_is_chosen_and_changed(root, worker):
    boss = User.objects.get(username="root")
    assert "Select a valid choice" in _make_token(root, boss, actors=["nobody"]).content.decode()
    assert "This field is required" in _make_token(root, boss, scopes=[]).content.decode()
    _make_token(root, boss, scopes=["read", "submit"], actors=["act"], queues=["default", "other"])
    token = ApiToken.objects.get()
    assert (token.scopes, token.actors, token.queues) == (["read", "submit"], ["act"], ["default", "other"])
    ApiToken.objects.update(actors=["act", "of the last deploy"])
    root.post(_page(token), {"name": "ci", "scopes": ["operate"], "actors": ["of the last deploy"], "queues": []})
    token.refresh_from_db()
    assert (token.scopes, token.actors, token.queues) == (["operate"], ["of the last deploy"], [])


def test_only_a_superuser_makes_tokens_for_others(db):
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("add_apitoken", "view_apitoken")))
    boss = User.objects.create_superuser("boss")
    answer = _make_token(_browser(user), boss)
    assert "Select a valid choice" in answer.content.decode()
    assert not ApiToken.objects.exists()
    assert "cb_" in _make_token(_browser(user), user).content.decode()


def test_operators_have_nothing_to_do_with_tokens(operator):
    assert operator.get(LISTS["tasks_apitoken"]).status_code == 403
    assert operator.get(reverse("admin:tasks_apitoken_add")).status_code == 403


def test_a_revoked_token_is_not_revived(root):
    token, secret = ApiToken.issue(user=User.objects.create_user("alice"), name="laptop")
    root.post(_do(token, "revoke"), {"confirmed": "yes"})
    assert ApiToken.objects.for_secret(secret) is None
    root.post(_page(token), {"name": "x", "expires_at_0": "2100-01-01", "expires_at_1": "00:00:00"})
    token.refresh_from_db()
    assert (token.name, token.expires_at) == ("laptop", None)


def test_workers_that_are_gone_are_shown_on_request(root, worker):
    Worker.objects.filter(pk=worker.pk).update(status=WorkerStatus.GONE, stopped_at="2026-01-01T00:00:00Z")
    assert _page(worker) not in root.get(LISTS["tasks_worker"]).content.decode()
    assert _page(worker) in root.get(LISTS["tasks_worker"], {"presence": "gone"}).content.decode()
    assert _page(worker) in root.get(LISTS["tasks_worker"], {"presence": "all"}).content.decode()
