"""The admin's pages: they open, show, never change, and let no stranger's text become markup."""

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_dramatiq.models import Task as DramatiqTask

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import queues
from tasks.models import ApiToken, Queue, Task, TaskEvent, Worker
from tasks.states import Status
from tests import factories
from tests.admin.pages import html, list_of, page_of
from tests.callers import Caller

MODELS = [Task, Worker, Queue, ApiToken, DeadLetter]
HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_pages_open(root, life, model):
    query = {"resolution": "all"} if model is DeadLetter else {}
    assert "<table" in html(root.get(list_of(model), query))
    for row in model.objects.all():
        assert str(row) in html(root.get(page_of(row)))


def test_the_index_names_what_can_be_seen(root):
    page = html(root.get(reverse("admin:index")))
    for model in MODELS:
        assert list_of(model) in page
    assert "Callboard" in page


def test_notes_on_attempts_are_shown_as_the_hostile_text_they_are(root, worker):
    task = factories.make_task(Status.PENDING)
    note = "the result was not kept: <b>why</b>"
    lifecycle.complete_many(
        [factories.failure(factories.start(task, worker), worker, death="not_retryable", note=note)]
    )
    for row in (task, factories.open_letter(task)):
        assert "Note: <bdi>the result was not kept: &lt;b&gt;why&lt;/b&gt;</bdi>" in html(root.get(page_of(row)))


def test_a_task_tells_its_story(root, life, worker):
    page = html(root.get(page_of(life)))
    assert '<span class="badge badge-running">Running</span>' in page
    assert '<span class="badge badge-failed">Failed</span>' in page
    assert "RuntimeError: as asked</bdi>" in page
    assert re.search(r'<details id="attempt-1"[^>]*><summary>Traceback</summary><pre[^>]*>Traceback …</pre>', page)
    assert page_of(worker) in page
    assert re.search(r"<b>redrive</b> by <bdi>root</bdi>", page)


def test_a_worker_tells_what_it_runs(root, life, worker):
    page = html(root.get(page_of(worker)))
    assert page_of(life) in page
    factories.let_lease_run_out(worker)
    assert "badge-silent" in html(root.get(list_of(Worker)))


def test_a_dead_letter_leads_to_its_task(root, life):
    letter = DeadLetter.objects.get()
    page = html(root.get(page_of(letter)))
    assert page_of(life) in page
    assert "Retries exhausted" in page
    assert "Re-driven" in page
    assert "root" in page


def test_a_dead_letter_has_what_is_needed_to_decide(root, worker):
    letters = [factories.open_letter(factories.make_task(Status.DEAD, worker=worker)) for _ in range(3)]
    page = html(root.get(page_of(letters[0])))
    assert '<pre class="data error" dir="ltr">RuntimeError: as asked</pre>' in page
    assert '<pre class="data" dir="ltr">Traceback …</pre>' in page
    assert "&quot;do&quot;" in page, "the payload"
    assert f'cause={letters[0].fingerprint}">2 more with this cause</a>' in page
    Task.objects.filter(pk=letters[0].task_id).delete()
    assert "The task has been removed" in html(root.get(page_of(letters[0])))


def test_a_payload_is_shown_to_those_who_may_see_tasks(worker):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    browser = Client()
    browser.force_login(user)
    assert "&quot;do&quot;" not in html(browser.get(page_of(letter)))


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_added_changed_or_deleted(root, life, model):
    row = model.objects.all()[0]
    before = model.objects.values().get(pk=row.pk)
    base = list_of(model)
    if model is not ApiToken:
        assert root.get(f"{base}add/").status_code == 403
        assert root.post(f"{base}add/", {}).status_code == 403
        assert root.post(page_of(row), {"actor": "x", "name": "x"}).status_code == 403
    assert root.post(f"{page_of(row)[: -len('change/')]}delete/", {"post": "yes"}).status_code == 403
    root.post(base, {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"})
    assert model.objects.values().get(pk=row.pk) == before


def test_staff_sees_what_it_has_permission_for(life):
    user = User.objects.create_user("viewer", is_staff=True)
    browser = Client()
    browser.force_login(user)
    assert browser.get(list_of(Task)).status_code == 403
    assert browser.get(page_of(life)).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="tasks"))
    assert browser.get(list_of(Task)).status_code == 200
    assert browser.get(page_of(life)).status_code == 200
    assert browser.get(list_of(ApiToken)).status_code == 403


def test_a_token_shows_neither_secret_nor_digest(root, life):
    token = ApiToken.objects.get()
    for path in (list_of(ApiToken), page_of(token)):
        assert token.digest not in html(root.get(path))


@pytest.fixture
def hostile(worker):
    task = factories.submit(
        payload={"do": HOSTILE, "value": {HOSTILE: [HOSTILE, {"a": HOSTILE}]}}, tags=[HOSTILE[:100]]
    )
    claimed = factories.start(task, worker)
    failed = factories.failure(
        claimed,
        worker,
        error_type=HOSTILE,
        error_message=HOSTILE,
        traceback=HOSTILE,
        death="not_retryable",
        result={"r": HOSTILE},
    )
    lifecycle.complete_many([failed])
    Task.objects.update(trace_id="<script>", checkpoint=HOSTILE, progress=[HOSTILE], args=[HOSTILE])
    TaskEvent.objects.create(task=task, verb="<script>", by=HOSTILE, detail={"a": HOSTILE})
    Worker.objects.update(host=HOSTILE, queues=[HOSTILE[:100]], actors=[HOSTILE], crash={"a": HOSTILE})
    Queue.objects.create(name=f"~{HOSTILE[:90]}")
    ApiToken.issue(user=User.objects.create_user("alice"), name=HOSTILE[:100])
    task.refresh_from_db()
    return task


@pytest.mark.parametrize("model", MODELS)
def test_hostile_text_stays_text(root, hostile, model):
    pages = [html(root.get(path)) for path in (list_of(model), *(page_of(row) for row in model.objects.all()))]
    pages.append(html(root.get(reverse("admin:index"))))
    for page in pages:
        assert "<script>" not in page
        assert "<img src=x" not in page
    assert "&lt;script&gt;" in pages[0] + pages[-2], "it is shown, escaped"
    assert "&lt;script&gt;" in pages[-1], "as the cause of a death"


def test_a_hostile_search_stays_text(root, hostile):
    for model, query in ((Task, {}), (DeadLetter, {"cause": HOSTILE})):
        assert "<script>" not in html(root.get(list_of(model), {"q": HOSTILE, **query}))


@pytest.mark.parametrize("model", MODELS)
def test_pages_run_no_inline_scripts_and_styles(root, life, model):
    for path in [reverse("admin:index"), list_of(model), *(page_of(row) for row in model.objects.all())]:
        response = root.get(path)
        page = html(response)
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        scripts = [script for script in re.findall(r"<script[^>]*>", page) if "application/json" not in script]
        assert all("src=" in script for script in scripts)


def test_strangers_see_the_login_only(db):
    response = Client().get(list_of(Task))
    assert response.status_code == 302
    assert "/login/" in response["Location"]


def test_a_token_is_no_way_into_the_admin(db):
    staff = Caller(User.objects.create_superuser("root"))
    assert staff.get(list_of(Task)).status_code == 302


def test_dramatiqs_own_pages_are_gone():
    assert not admin.site.is_registered(DramatiqTask)


def test_long_and_invisible_text_stays_in_its_place(root, worker):
    task = factories.submit(payload={"do": "return", "value": "x" * 10_000}, tags=["\u202eright", "t" * 100])
    claimed = factories.start(task, worker)
    traceback = "\n".join(f'  File "a.py", line {n}' for n in range(60))
    failed = factories.failure(
        claimed, worker, error_message="\u200b\u202e" + "e" * 5_000, traceback=traceback, death="not_retryable"
    )
    lifecycle.complete_many([failed])
    Task.objects.update(actor="a" * 200)
    DeadLetter.objects.update(actor="a" * 200)
    pages = [
        html(root.get(path)) for path in (list_of(Task), page_of(task), list_of(DeadLetter), reverse("admin:index"))
    ]
    assert all("\u202e" not in page and "\u200b" not in page for page in pages)
    assert "line 59" in pages[1]
    assert ">" + "a" * 61 not in pages[0] + pages[2] + pages[3]
    assert "e" * 501 not in pages[2]


def test_a_running_task_shows_its_way_so_far(root, life):
    page = html(root.get(page_of(life)))
    steps = re.findall(r'<li class="step-(\w+)"><b>([^<]+)</b>', page)
    assert steps[0] == ("past", "Created")
    assert steps[-1] == ("now", "Now")
    assert ("past", "Last started") in steps


def test_a_task_for_later_shows_what_is_ahead(root, db):
    task = factories.submit(run_at=factories.database_now() + timedelta(hours=1))
    page = html(root.get(page_of(task)))
    assert ("ahead", "Due") in re.findall(r'<li class="step-(\w+)"><b>([^<]+)</b>', page)
    assert "+1 h" in page


def test_a_waiting_task_tells_when_it_is_expected_to_start_or_what_holds_it_up(root, db):
    task = factories.submit()
    assert "no worker is there for its actor and queue" in html(root.get(page_of(task)))
    factories.make_worker(threads=1)
    assert '<b>Expected to start</b> <span class="after">now</span>' in html(root.get(page_of(task)))
    factories.submit(priority=9, estimated_seconds=90)
    page = html(root.get(page_of(task)))
    (after,) = re.findall(r'<b>Expected to start</b> <span class="after">([^<]+)</span>', page)
    assert after == "in about 1 min 30 s"
    queues.pause("default")
    assert "its queue is paused" in html(root.get(page_of(task)))
