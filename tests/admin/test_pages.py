"""The admin's pages: they open, show and never change anything."""

import re
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_dramatiq.models import Task as DramatiqTask

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.lifecycle import Author, DependsOn, NewBatch, Submission, batches
from tasks.models import ApiToken, Schedule, Task, Worker
from tasks.states import DeathReason, Door, Status
from tasks.submission import FIELDS, FOR_EVER
from tests import factories
from tests.admin.pages import MODELS, browser_of, html, list_of, page_of
from tests.callers import Caller
from tests.commands.cli import callboard_json


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_pages_open(root, life, model):
    all_rows = {DeadLetter: {"resolution": "all"}, Failure: {"show": "all"}}
    assert "<table" in html(root.get(list_of(model), all_rows.get(model, {})))
    for row in model.objects.all():
        assert str(row) in html(root.get(page_of(row)))


def test_the_index_links_to_every_list(root):
    page = html(root.get(reverse("admin:index")))
    for model in MODELS:
        assert list_of(model) in page
    assert "Callboard" in page


def test_a_task_shows_its_attempts_and_history(root, life, worker):
    page = html(root.get(page_of(life)))
    assert '<span class="badge badge-running">Running</span>' in page
    assert '<span class="badge badge-failed">Failed</span>' in page
    assert "RuntimeError: as asked</bdi>" in page
    assert re.search(r'<details id="attempt-1"[^>]*><summary>Traceback</summary><pre[^>]*>Traceback …</pre>', page)
    assert page_of(worker) in page
    assert re.search(r"<b>redrive</b> by <bdi>root</bdi>", page)


def test_an_attempt_names_its_worker_and_build_while_the_registry_knows_them(root, db):
    worker = factories.make_worker(build="v42")
    task = factories.make_task(Status.SUCCEEDED, worker=worker)
    page = html(root.get(page_of(task)))
    assert f'<bdi>{worker}</bdi></a> <code title="v42">v42</code>' in page
    worker.delete()
    page = html(root.get(page_of(task)))
    assert f"<code>…{str(task.attempts.get().worker_id)[-8:]}</code></a>" in page
    assert "v42" not in page


def test_a_task_that_a_parents_death_cancelled_says_so_and_links_to_the_parent(root, worker, lead):
    parent = factories.submit()
    child = factories.submit(depends_on=[parent.pk])
    claimed = factories.start(parent, worker)
    lifecycle.complete_many([factories.failure(claimed, worker, death=DeathReason.NOT_RETRYABLE)])
    lifecycle.settle_all(**lead)
    Task.objects.filter(pk=parent.pk).update(actor="<b>act")
    link = f'<a href="{page_of(parent)}"><bdi>task {parent.pk} of actor &lt;b&gt;act</bdi></a>'
    assert f"Cancelled because {link} died" in html(root.get(page_of(child)))
    assert "Cancelled because" not in html(root.get(page_of(parent)))
    Task.objects.filter(pk=parent.pk).delete()
    assert f"Cancelled because task {parent.pk} did not succeed" in html(root.get(page_of(child)))
    assert callboard_json("tasks", "show", str(child.pk))["cause"] == (
        f"Cancelled because task {parent.pk} did not succeed; it was removed since"
    )


def test_a_worker_shows_its_running_tasks(root, life, worker):
    page = html(root.get(page_of(worker)))
    assert page_of(life) in page
    factories.let_lease_run_out(worker)
    assert "badge-silent" in html(root.get(list_of(Worker)))


def test_claimed_tasks_beyond_the_threads_are_not_called_busy(root):
    worker = factories.make_worker(threads=1)
    busy = re.compile(r'<td class="(?:field-busy_threads|n)"[^>]*>1 of 1 (?:<span [^>]*>\+(\d)</span>)?')
    for _ in range(3):
        factories.start(factories.submit(), worker)
    for path in (list_of(Worker), reverse("admin:index")):
        assert busy.findall(html(root.get(path))) == ["2"]


def test_a_dead_letter_leads_to_its_task(root, life):
    letter = DeadLetter.objects.get()
    page = html(root.get(page_of(letter)))
    assert page_of(life) in page
    assert "Retries exhausted" in page
    assert "Re-driven" in page
    assert "root" in page


def test_a_dead_letter_shows_error_traceback_payload_and_similar_ones(root, worker):
    letters = [factories.open_letter(factories.make_task(Status.DEAD, worker=worker)) for _ in range(3)]
    page = html(root.get(page_of(letters[0])))
    assert '<pre class="data error" tabindex="0" dir="ltr">RuntimeError: as asked</pre>' in page
    assert '<pre class="data" tabindex="0" dir="ltr">Traceback …</pre>' in page
    assert "&quot;do&quot;" in page, "the payload"
    assert f'cause={letters[0].fingerprint}">2 more with this cause</a>' in page
    Task.objects.filter(pk=letters[0].task_id).delete()
    assert "The task has been removed" in html(root.get(page_of(letters[0])))


def test_a_payload_is_shown_only_to_users_who_may_view_tasks(worker):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    browser = Client()
    browser.force_login(user)
    assert "&quot;do&quot;" not in html(browser.get(page_of(letter)))


def test_a_worker_shows_its_running_tasks_only_to_users_who_may_view_tasks(worker):
    task = factories.make_task(Status.RUNNING, worker=worker)
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_worker"))
    page = html(browser_of(user).get(page_of(worker)))
    assert page_of(task) not in page
    assert "Running tasks" not in page, "it would say that there are none"


def test_djangos_history_of_a_row_is_for_users_who_may_read_the_journal(life):
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="callboard"))
    address = page_of(life).replace("/change/", "/history/")
    assert browser_of(user).get(address).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_journal"))
    assert browser_of(user).get(address).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_added_changed_or_deleted(root, life, model):
    row = model.objects.all()[0]
    before = model.objects.values().get(pk=row.pk)
    base = list_of(model)
    if model not in (ApiToken, Schedule):
        if model is not Task:  # for which there is a form that submits
            assert root.get(f"{base}add/").status_code == 403
        assert root.post(f"{base}add/", {}).status_code == (200 if model is Task else 403)
        assert root.post(page_of(row), {"actor": "x", "name": "x"}).status_code == 403
    assert root.post(f"{page_of(row)[: -len('change/')]}delete/", {"post": "yes"}).status_code == 403
    root.post(base, {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"})
    assert model.objects.values().get(pk=row.pk) == before


def test_staff_users_see_what_they_have_permission_for(life):
    user = User.objects.create_user("viewer", is_staff=True)
    browser = Client()
    browser.force_login(user)
    assert browser.get(list_of(Task)).status_code == 403
    assert browser.get(page_of(life)).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="callboard"))
    assert browser.get(list_of(Task)).status_code == 200
    assert browser.get(page_of(life)).status_code == 200
    assert browser.get(list_of(ApiToken)).status_code == 403


def test_a_token_shows_neither_secret_nor_digest(root, life):
    token = ApiToken.objects.get()
    for path in (list_of(ApiToken), page_of(token)):
        assert token.digest not in html(root.get(path))


def test_anonymous_users_are_sent_to_the_login(db):
    response = Client().get(list_of(Task))
    assert response.status_code == 302
    assert "/login/" in response["Location"]


def test_a_token_does_not_log_in_to_the_admin(db):
    staff = Caller(User.objects.create_superuser("root"))
    assert staff.get(list_of(Task)).status_code == 302


def test_dramatiqs_own_pages_are_gone():
    assert not admin.site.is_registered(DramatiqTask)


def test_limits_are_shown_as_durations_with_their_help(root, db):
    task = factories.submit(time_limit_seconds=300, max_retries=FOR_EVER, min_backoff_seconds=0)
    page = html(root.get(page_of(task)))
    rows = re.findall(r'<label>([^<]+):</label>\s*<div class="readonly"><span title="([^"]+)">([^<]+)<', page)
    shown = {label: text for label, _, text in rows}
    assert shown["Time limit"] == "5 min"
    assert shown["Min backoff"] == "0 s"
    assert shown["Max retries"] == FIELDS["max_retries"].if_null
    assert shown["Max age"] == "no limit"
    assert {unescape(tooltip) for _, tooltip, _ in rows} <= {field.help for field in FIELDS.values()}
    task = factories.submit(time_limit_seconds=0)
    assert re.search(r"Time limit:</label>\s*<div[^>]*><span[^>]*>no limit<", html(root.get(page_of(task))))


def test_a_task_shows_the_batch_that_it_waits_for(root, lead):
    batch = batches.create(NewBatch(name="night <b>", tasks=[Submission(actor="act", payload={"do": "return"})])).batch
    child = factories.submit(depends_on=[DependsOn(batch=batch.pk)])
    page = html(root.get(page_of(child)))
    section = page.split("Depends on")[1]
    assert f"/admin/callboard/batch/{batch.pk}/change/" in section
    assert "night &lt;b&gt;" in section
    assert "0 of 1 ended" in section
    batches.cancel(batch.pk, by=Author("ada", Door.ADMIN, "wrong night"))
    while lifecycle.settle_batches(**lead).changed:
        pass
    page = html(root.get(page_of(child)))
    assert f'<a href="/admin/callboard/batch/{batch.pk}/change/"><bdi>batch {batch.pk}</bdi></a>' in page
    assert "was cancelled by ada: wrong night" in page


def test_a_task_shows_what_it_depends_on_and_what_needs_it(root, monkeypatch):
    parent, other = factories.submit(), factories.submit(actor="elsewhere")
    child = factories.submit(depends_on=[parent.pk, other.pk])
    page = root.get(f"/admin/callboard/task/{child.pk}/change/").content.decode()
    assert "Depends on" in page
    assert "Needed by" not in page
    assert all(str(one.pk) in page for one in (parent, other))
    page = root.get(f"/admin/callboard/task/{parent.pk}/change/").content.decode()
    assert "Needed by" in page
    assert "Depends on" not in page
    assert str(child.pk) in page
    monkeypatch.setattr("tasks.admin.task_parts.MAX_RELATIVES", 1)
    page = root.get(f"/admin/callboard/task/{child.pk}/change/").content.decode()
    assert "Only the oldest 1" in page
    assert str(other.pk) not in page.split("Depends on")[1]
