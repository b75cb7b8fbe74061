"""Verbs on one row: confirmed, permitted, and recorded in the journal."""

import re
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q
from django.test import Client
from django.urls import reverse

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.admin.queue import PAUSE, RESUME
from tasks.admin.task_verbs import CANCEL, RETRY
from tasks.admin.token import REVOKE
from tasks.admin.worker import DRAIN
from tasks.lifecycle import queues
from tasks.models import ApiToken, Journal, Queue, Task
from tasks.states import Door, Resolution, Status, WorkerStatus
from tests import factories
from tests.admin.pages import browser_of, list_of, messages_of, page_of, verb_of

HOSTILE = "</pre><script>alert(1)</script>\u202e"

VERBS = ["retry", "cancel", "redrive", "discard", "pause", "resume", "drain", "revoke"]


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
def test_a_verb_asks_then_acts_and_is_recorded(root, case):
    row, verb, is_done = case
    page = root.get(page_of(row)).content.decode()
    assert f'action="{verb_of(row, verb)}"' in page
    question = root.post(verb_of(row, verb))
    assert question.status_code == 200
    assert 'name="confirmed"' in question.content.decode()
    row.refresh_from_db()
    assert not is_done(row)
    known = set(Journal.objects.values_list("pk", flat=True))
    answer = root.post(verb_of(row, verb), {"confirmed": "yes", "reason": "it was time"})
    assert answer.status_code == 302
    assert answer["Location"] == page_of(row)
    row.refresh_from_db()
    assert is_done(row)
    entry = Journal.objects.exclude(pk__in=known).get()
    assert (entry.by, entry.door, entry.reason, entry.operation_id) == ("root", Door.ADMIN, "it was time", None)
    # A re-drive is recorded as one, whichever button was pressed.
    redriven = DeadLetter.objects.get(task_id=row.pk).pk if verb == "retry" else row.pk
    assert (entry.verb, entry.object_id) == ("redrive" if verb == "retry" else verb, str(redriven))
    page = root.get(page_of(row)).content.decode()
    line = rf"<b>{entry.verb}</b> by <bdi>root</bdi>" if isinstance(row, Task) else f"<b>root</b>: {entry.verb}"
    assert re.search(f"{line}.*<bdi>it was time</bdi>", page)
    # It cannot be done twice, and its button is gone.
    assert f'action="{verb_of(row, verb)}"' not in root.get(page_of(row)).content.decode()
    again = root.post(verb_of(row, verb), {"confirmed": "yes"}, follow=True)
    assert "Nothing was done" in messages_of(again)[0]
    assert Journal.objects.exclude(pk__in=known).count() == 1
    assert not LogEntry.objects.exists(), "it is Django's own log"


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
def test_operators_are_allowed_and_viewers_and_strangers_refused(request, case, who):
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
        *Permission.objects.filter(content_type__app_label__in=("callboard", "dlq")).exclude(codename=own)
    )
    assert browser_of(user).post(verb_of(row, verb), {"confirmed": "yes"}).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename=own))
    assert browser_of(user).post(verb_of(row, verb), {"confirmed": "yes"}).status_code == 403, "it cannot see it"
    user.user_permissions.set(Permission.objects.filter(codename__in=(own, view)))
    assert browser_of(user).post(verb_of(row, verb), {"confirmed": "yes"}).status_code == 302
    row.refresh_from_db()
    assert is_done(row)


def test_the_operator_log_is_shown_to_users_who_may_read_it(db):
    queue = Queue.objects.get(pk="default")
    browser_of(User.objects.create_superuser("root")).post(
        verb_of(queue, "pause"), {"confirmed": "yes", "reason": "too hot"}
    )
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_queue"))
    assert "too hot" not in browser_of(user).get(page_of(queue)).content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_journal"))
    assert "too hot" in browser_of(user).get(page_of(queue)).content.decode()


def test_the_message_names_the_row_as_it_is_written(operator, worker):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    answer = operator.post(verb_of(letter, "redrive"), {"confirmed": "yes"}, follow=True)
    assert f"<bdi>act …{str(letter.pk)[-8:]} was re-driven.</bdi>" in answer.content.decode()


def test_the_confirmation_page_says_what_its_button_does(operator, db):
    page = operator.post(verb_of(Queue.objects.get(pk="default"), "pause")).content.decode()
    assert "Pause queue default?" in page
    assert ">Pause queue</button>" in page


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
def test_task_events_name_the_operator(operator, case, event):
    row, verb, _ = case
    task_id = getattr(row, "task_id", row.pk)
    assert not Journal.objects.filter(task=task_id, verb=event).exists()
    operator.post(verb_of(row, verb), {"confirmed": "yes"})
    assert Journal.objects.get(task=task_id, verb=event).by == "olga"


def test_a_running_task_is_asked_to_stop(operator, worker):
    task = factories.make_task(Status.RUNNING, worker=worker)
    operator.post(verb_of(task, "cancel"), {"confirmed": "yes"})
    task.refresh_from_db()
    assert task.status == Status.RUNNING
    assert task.cancel_requested_at is not None
    page = operator.get(page_of(task)).content.decode()
    assert "cancel requested" in page
    assert verb_of(task, "cancel") not in page


@pytest.mark.parametrize("status", list(Status))
def test_a_button_is_shown_exactly_when_lifecycle_accepts_the_verb(worker, status):
    for verb, act in ((CANCEL, lifecycle.cancel_many), (RETRY, lifecycle.retry_many)):
        task = factories.make_task(status, worker=worker)
        offered = verb.legal(Task.objects.filter(pk=task.pk)).exists()
        assert offered == bool(act([task.pk]))


def test_a_name_that_is_markup_stays_text(root):
    queue = Queue.objects.create(name=f"~{HOSTILE}/?#%_")
    address = reverse("admin:callboard_queue_changelist")
    page = root.get(address).content.decode()
    assert "<script>alert" not in page
    link = re.search(r'href="(/admin/callboard/queue/[^"]*~[^"]*/change/)"', page)
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


def test_every_verb_is_permitted_by_a_permission_that_exists(db):
    for verb in (CANCEL, RETRY, PAUSE, RESUME, DRAIN, REVOKE):
        app, codename = verb.permission.split(".")
        assert Permission.objects.filter(content_type__app_label=app, codename=codename).exists()


def test_groups_that_people_changed_are_only_extended(db):
    groups, migration = Group.objects, import_module("tasks.migrations.0003_roles")
    groups.get(name="operator").permissions.set(Permission.objects.filter(codename="view_queue"))
    later = Q(codename="view_journal")
    for ending in ("_schedule", "_batch", "_operation", "_failure"):
        later |= Q(codename__endswith=ending)
    admins = set(groups.get(name="admin").permissions.exclude(later))
    groups.filter(name__in=("viewer", "admin")).delete()
    migration.extend_groups(apps, None)
    found = {group.name: set(group.permissions.all()) for group in groups.all()}
    assert {one.codename for one in found["operator"]} == {"view_queue", "change_task", "view_payload"}
    assert found["admin"] == admins
    groups.filter(name="operator").delete()
    migration.extend_groups(apps, None)
    assert [group.name for group in groups.all()] == ["admin"]


def test_groups_have_the_permissions_of_their_role(db):
    names = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    views = {
        "view_task",
        "view_queue",
        "view_worker",
        "view_deadletter",
        "view_logentry",
        "view_journal",
        "view_schedule",
        "view_batch",
        "view_operation",
        "view_failure",
    }
    assert names["viewer"] == views
    assert names["operator"] == views | {
        "retry_task",
        "cancel_task",
        "change_task",
        "view_payload",
        "pause_queue",
        "drain_worker",
        "redrive_deadletter",
        "discard_deadletter",
        "pause_schedule",
        "run_schedule",
        "change_batch",
        "cancel_batch",
        "add_operation",
        "change_operation",
        "change_failure",
    }
    assert names["admin"] == names["operator"] | {
        "add_task",
        "delete_task",
        "view_apitoken",
        "add_apitoken",
        "change_apitoken",
        "revoke_apitoken",
        "add_schedule",
        "change_schedule",
        "delete_schedule",
    }
