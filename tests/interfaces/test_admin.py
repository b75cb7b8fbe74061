"""The admin: opens, shows, never changes, and lets no stranger's text become markup."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_dramatiq.models import Task as DramatiqTask

import tasks
from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.admin import base, causes, show
from tasks.engine import queues, statistics
from tasks.models import ApiToken, Queue, Task, TaskEvent, Worker
from tasks.states import AttemptOutcome, Resolution, Status, WorkerStatus
from tests import factories
from tests.interfaces.conftest import Caller

MODELS = [Task, Worker, Queue, ApiToken, DeadLetter]
HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


@pytest.fixture
def root(db):
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


@pytest.fixture
def life(worker):
    """A task with a story: it died, was re-driven, and runs again."""
    task = factories.make_task(Status.DEAD, worker=worker, tags=["red"])
    lifecycle.retry(task.pk, by="root")
    task.refresh_from_db()
    factories.start(task, worker)
    ApiToken.issue(user=User.objects.create_user("alice"), name="laptop")
    return task


def _list(model):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _page(row):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def _html(response):
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_pages_open(root, life, model):
    query = {"resolution": "all"} if model is DeadLetter else {}
    assert "<table" in _html(root.get(_list(model), query))
    for row in model.objects.all():
        assert str(row) in _html(root.get(_page(row)))


def test_the_index_names_what_can_be_seen(root):
    page = _html(root.get(reverse("admin:index")))
    for model in MODELS:
        assert _list(model) in page
    assert "Callboard" in page


def test_a_task_tells_its_story(root, life, worker):
    page = _html(root.get(_page(life)))
    assert '<span class="badge badge-running">Running</span>' in page
    assert '<span class="badge badge-failed">Failed</span>' in page
    assert "RuntimeError: as asked</bdi>" in page
    assert re.search(r'<details id="attempt-1"[^>]*><summary>Traceback</summary><pre[^>]*>Traceback …</pre>', page)
    assert _page(worker) in page
    assert re.search(r"<b>redrive</b> by <bdi>root</bdi>", page)


def test_a_worker_tells_what_it_runs(root, life, worker):
    page = _html(root.get(_page(worker)))
    assert _page(life) in page
    factories.let_lease_run_out(worker)
    assert "badge-silent" in _html(root.get(_list(Worker)))


def test_a_dead_letter_leads_to_its_task(root, life):
    letter = DeadLetter.objects.get()
    page = _html(root.get(_page(letter)))
    assert _page(life) in page
    assert "Retries exhausted" in page
    assert "Re-driven" in page
    assert "root" in page


def test_a_dead_letter_has_what_is_needed_to_decide(root, worker):
    letters = [factories.open_letter(factories.make_task(Status.DEAD, worker=worker)) for _ in range(3)]
    page = _html(root.get(_page(letters[0])))
    assert '<pre class="data error" dir="ltr">RuntimeError: as asked</pre>' in page
    assert '<pre class="data" dir="ltr">Traceback …</pre>' in page
    assert "&quot;do&quot;" in page, "the payload"
    assert f'cause={letters[0].fingerprint}">2 others open of the same cause</a>' in page
    Task.objects.filter(pk=letters[0].task_id).delete()
    assert "Its task was removed" in _html(root.get(_page(letters[0])))


def test_a_payload_is_shown_to_those_who_may_see_tasks(worker):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    browser = Client()
    browser.force_login(user)
    assert "&quot;do&quot;" not in _html(browser.get(_page(letter)))


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_added_changed_or_deleted(root, life, model):
    row = model.objects.all()[0]
    before = model.objects.values().get(pk=row.pk)
    base = _list(model)
    if model is not ApiToken:
        assert root.get(f"{base}add/").status_code == 403
        assert root.post(f"{base}add/", {}).status_code == 403
        assert root.post(_page(row), {"actor": "x", "name": "x"}).status_code == 403
    assert root.post(f"{_page(row)[: -len('change/')]}delete/", {"post": "yes"}).status_code == 403
    root.post(base, {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"})
    assert model.objects.values().get(pk=row.pk) == before


def test_staff_sees_what_it_has_permission_for(life):
    user = User.objects.create_user("viewer", is_staff=True)
    browser = Client()
    browser.force_login(user)
    assert browser.get(_list(Task)).status_code == 403
    assert browser.get(_page(life)).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="tasks"))
    assert browser.get(_list(Task)).status_code == 200
    assert browser.get(_page(life)).status_code == 200
    assert browser.get(_list(ApiToken)).status_code == 403


def test_a_token_shows_neither_secret_nor_digest(root, life):
    token = ApiToken.objects.get()
    for path in (_list(ApiToken), _page(token)):
        assert token.digest not in _html(root.get(path))


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
    pages = [_html(root.get(path)) for path in (_list(model), *(_page(row) for row in model.objects.all()))]
    pages.append(_html(root.get(reverse("admin:index"))))
    for page in pages:
        assert "<script>" not in page
        assert "<img src=x" not in page
    assert "&lt;script&gt;" in pages[0] + pages[-2], "it is shown, escaped"
    assert "&lt;script&gt;" in pages[-1], "as the cause of a death"


def test_a_hostile_search_stays_text(root, hostile):
    for model, query in ((Task, {}), (DeadLetter, {"cause": HOSTILE})):
        assert "<script>" not in _html(root.get(_list(model), {"q": HOSTILE, **query}))


@pytest.mark.parametrize("model", MODELS)
def test_pages_run_no_inline_scripts_and_styles(root, life, model):
    for path in [reverse("admin:index"), _list(model), *(_page(row) for row in model.objects.all())]:
        response = root.get(path)
        page = _html(response)
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        scripts = [script for script in re.findall(r"<script[^>]*>", page) if "application/json" not in script]
        assert all("src=" in script for script in scripts)


def test_lists_neither_count_nor_read_everything(root, life, django_assert_max_num_queries):
    with django_assert_max_num_queries(12) as queries:
        _html(root.get(_list(Task)))
    statements = [query["sql"] for query in queries]
    counts = [statement for statement in statements if "COUNT(*)" in statement]
    assert counts
    assert all("LIMIT 10000" in statement for statement in counts)
    assert not any("DISTINCT" in statement for statement in statements)
    assert not any('"payload"' in statement for statement in statements)


def test_a_list_says_when_it_stopped_counting(root, life, monkeypatch):
    assert "counted up to" not in _html(root.get(_list(Task)))
    monkeypatch.setattr(base, "MOST_COUNTED", 1)
    factories.submit()
    assert "counted up to" in _html(root.get(_list(Task)))


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ({"status": "RUNNING"}, True),
        ({"status": "DEAD"}, False),
        ({"queue": "default"}, True),
        ({"queue": "other"}, False),
        ({"actor": "act"}, True),
        ({"actor": "add"}, False),
        ({"band": "medium"}, True),
        ({"band": "low"}, False),
        ({"created": "15"}, True),
        ({"status": "NOPE"}, False),
        ({"queue": "\0"}, False),
        ({"created": "-1"}, False),
        ({"q": "red"}, True),
        ({"q": "ac"}, True),
        ({"q": "blue"}, False),
    ],
)
def test_tasks_are_filtered_and_searched(root, life, query, is_found):
    assert (_page(life) in _html(root.get(_list(Task), query))) == is_found


def test_tasks_are_found_by_their_id(root, life):
    factories.submit()
    page = _html(root.get(_list(Task), {"q": str(life.pk)[:23]}))
    assert _page(life) in page


def test_a_whole_id_leads_straight_to_the_task(root, life):
    for text in (str(life.pk), f" {life.pk.hex.upper()} "):
        answer = root.get(_list(Task), {"q": text})
        assert (answer.status_code, answer["Location"]) == (302, _page(life))
    nobodys = "01a1fd7d-2743-7561-8e49-c178001b0b31"
    assert "No task is like that" in _html(root.get(_list(Task), {"q": nobodys}))


def test_an_id_leads_nobody_to_a_task_that_may_not_be_seen(life):
    browser = Client()
    browser.force_login(User.objects.create_user("nobody", is_staff=True))
    assert browser.get(_list(Task), {"q": str(life.pk)}).status_code == 403


def test_tasks_are_found_by_their_trace_id(root, life):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert _page(life) not in _html(root.get(_list(Task), {"q": trace_id}))
    Task.objects.filter(pk=life.pk).update(trace_id=trace_id)
    factories.submit()
    page = _html(root.get(_list(Task), {"q": trace_id.upper()}))
    assert page.count("/change/") == 1
    assert _page(life) in page


def test_a_tag_leads_to_all_that_have_it(root, life):
    Task.objects.filter(pk=life.pk).update(tags=["a&b #1"])
    for path in (_list(Task), _page(life)):
        page = _html(root.get(path))
        (query,) = re.findall(r'<a class="tag" href="/admin/tasks/task/\?([^"]+)"', page)
        assert query == "q=a%26b+%231"
    assert _page(life) in _html(root.get(f"{_list(Task)}?{query}"))


@pytest.mark.parametrize("model", [Task, DeadLetter])
def test_a_search_for_nul_is_refused_without_an_error(root, life, model):
    assert root.get(_list(model), {"q": "\0"}).status_code == 200


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ({"resolution": "REDRIVEN"}, True),
        ({"resolution": "OPEN"}, False),
        ({"resolution": "NOPE"}, False),
        ({}, False),
        ({"reason": "max_retries_exceeded", "resolution": "all"}, True),
        ({"reason": "crash_loop", "resolution": "all"}, False),
        ({"actor": "act", "queue": "default", "resolution": "all"}, True),
        ({"cause": "0" * 32, "resolution": "all"}, False),
        ({"cause": "the letter's", "resolution": "all"}, True),
        ({"q": "as ASKED", "resolution": "all"}, True),
        ({"q": "runtimeerr", "resolution": "all"}, True),
        ({"q": "ac", "resolution": "all"}, True),
        ({"q": "KeyError", "resolution": "all"}, False),
        ({"q": "the task's id", "resolution": "all"}, True),
        ({"q": "the letter's id", "resolution": "all"}, True),
    ],
)
def test_dead_letters_are_filtered_and_searched(root, life, query, is_found):
    letter = DeadLetter.objects.get()
    real = {
        "the letter's": letter.fingerprint,
        "the task's id": str(letter.task_id),
        "the letter's id": letter.pk.hex[:30],
    }
    query = {key: real.get(value, value) for key, value in query.items()}
    assert (_page(letter) in _html(root.get(_list(DeadLetter), query))) == is_found


def test_dead_letters_are_those_that_nobody_dealt_with_unless_others_are_asked_for(root, life, worker):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    page = _html(root.get(_list(DeadLetter)))
    assert re.findall(r'"(/admin/dlq/deadletter/[^"]+/change/[^"]*)"', page) == [_page(letter)]
    assert re.search(r'chip-open selected" aria-current="true">Open <b>1</b></a>', page)


def test_open_dead_letters_are_grouped_by_cause(root, worker):
    def die(message):
        claimed = factories.start(factories.submit(), worker)
        lifecycle.complete_many([factories.failure(claimed, worker, error_message=message, death="not_retryable")])

    for message in ("order 1 has no amount", "order 2 has no amount", "the disk is full"):
        die(message)
    page = _html(root.get(reverse("admin:index")))
    causes = re.findall(r'\?cause=([0-9a-f]{32})"><bdi>([^<]*)</bdi></a></td><td class="n"[^>]*>(\d+)<', page)
    assert [(error, count) for _, error, count in causes] == [
        ("RuntimeError: order 2 has no amount", "2"),
        ("RuntimeError: the disk is full", "1"),
    ]
    page = _html(root.get(_list(DeadLetter), {"cause": causes[0][0]}))
    assert page.count("has no amount</span>") == 2
    assert "disk is full</span>" not in page
    assert "1 × act: RuntimeError: the disk is full" in page, "the filter offers the others"


def test_what_is_open_is_counted_up_to_a_cap(root, worker, monkeypatch):
    monkeypatch.setattr(causes, "MOST_LETTERS", 2)
    for _ in range(3):
        factories.make_task(Status.DEAD, worker=worker)
    assert '<span class="count">2+</span>' in _html(root.get(reverse("admin:index")))


def test_every_page_leads_to_what_may_be_seen(root, life):
    tabs = re.search(r'<nav id="tabs".*?</nav>', _html(root.get(_page(life))), re.DOTALL)
    assert tabs
    for model in MODELS:
        assert f'href="{_list(model)}"' in tabs[0]
    assert re.findall(r'aria-current="page"[^>]*>([^<]+)<', tabs[0]) == ["Tasks"]


def test_an_account_without_permissions_is_told_what_to_do(db):
    browser = Client()
    browser.force_login(User.objects.create_user("new", is_staff=True))
    page = _html(browser.get(reverse("admin:index")))
    assert "Ask whoever runs this site" in page
    assert 'id="tabs"' not in page


def test_json_is_pretty_cut_and_without_secrets():
    shown = show.pretty({"user": "ü", "api_key": "k1", "nested": [{"Password": "k2", "Authorization": "k3"}]})
    assert "ü" in shown
    assert "k1" not in shown
    assert "k2" not in shown
    assert "k3" not in shown
    assert "\n  &quot;user&quot;" in shown
    long = show.pretty({"a": "x" * 50_000})
    assert len(long) < 20_000
    assert "more characters" in long


def test_strangers_see_the_login_only(db):
    response = Client().get(_list(Task))
    assert response.status_code == 302
    assert "/login/" in response["Location"]


def test_a_token_is_no_way_into_the_admin(db):
    staff = Caller(User.objects.create_superuser("root"))
    assert staff.get(_list(Task)).status_code == 302


def test_dramatiqs_own_pages_are_gone():
    assert not admin.site.is_registered(DramatiqTask)


def test_every_state_has_a_colour():
    css = (Path(tasks.__file__).parent / "static/callboard/admin.css").read_text()
    states = [*Status, *AttemptOutcome, *WorkerStatus]
    kinds = {state.value.lower().replace("_", "-") for state in states} | {one.name.lower() for one in Resolution}
    assert {kind for kind in kinds if f".badge-{kind}" not in css} == set()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (7, "7 s ago"),
        (119, "119 s ago"),
        (121, "2 min ago"),
        (2 * 3600, "2 h ago"),
        (20 * 86_400, "20 d ago"),
        (-50.5, "in 50 s"),
    ],
)
def test_distances_have_a_unit_and_the_time_itself(monkeypatch, seconds, text):
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    shown = show.ago(now - timedelta(seconds=seconds))
    assert f">{text}</time>" in shown
    assert 'title="2026-01-02 03:04:05 UTC"' in show.ago(now)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "<1 ms"),
        (0.0123, "12 ms"),
        (1.25, "1.2 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds, text):
    assert show.span(seconds) == text


def test_what_nobody_would_see_is_written_out():
    assert show.visible("a\u200bb\u202ec\x00\x1b[1m") == r"a\u200bb\u202ec\u0000\u001b[1m"
    assert show.visible("Grüße 👋\n\t") == "Grüße 👋\n\t"


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
    pages = [_html(root.get(path)) for path in (_list(Task), _page(task), _list(DeadLetter), reverse("admin:index"))]
    assert all("\u202e" not in page and "\u200b" not in page for page in pages)
    assert "line 59" in pages[1]
    assert ">" + "a" * 61 not in pages[0] + pages[2] + pages[3]
    assert "e" * 501 not in pages[2]


def test_states_are_links_with_counts_until_something_else_is_filtered(root, life):
    page = _html(root.get(_list(Task)))
    assert re.search(r'<a href="\?status=RUNNING" class="chip chip-running">Running <b>1</b></a>', page)
    page = _html(root.get(_list(Task), {"status": "RUNNING"}))
    assert re.search(r'class="chip chip-running selected" aria-current="true">Running <b>1</b></a>', page)
    page = _html(root.get(_list(Task), {"queue": "default"}))
    assert re.search(r'<a href="\?queue=default&amp;status=RUNNING" class="chip chip-running">Running</a>', page)


def test_a_count_says_when_there_may_be_more(root, life, monkeypatch):
    many = {status: statistics.Count(10_000, True) for status in Status}
    monkeypatch.setattr(statistics, "counts_by_status", lambda: many)
    assert "Running <b>10,000+</b>" in _html(root.get(_list(Task)))
    assert "<b>10,000+</b> Running" in _html(root.get(reverse("admin:index")))


def test_empty_lists_say_so(root):
    assert "No task is like that" in _html(root.get(_list(Task)))
    assert "Nothing died" in _html(root.get(_list(DeadLetter)))
    assert "No worker is there" in _html(root.get(_list(Worker)))


def test_the_overview_tells_how_everything_stands(root, worker):
    factories.make_lead()
    factories.make_task(Status.DEAD, worker=worker)
    factories.submit()
    queues.pause("other", by="root")
    page = _html(root.get(reverse("admin:index")))
    assert re.search(r'<a class="card card-dead" href="/admin/tasks/task/\?status=DEAD"><b>1</b> Dead</a>', page)
    assert "Paused: other." in page
    assert "No scheduler leads" in page, "there is a term, and nobody holds the lease"
    assert str(worker) in page
    assert '<a href="/admin/dlq/deadletter/?actor=act"><bdi>act</bdi></a>' in page


def test_the_overview_warns_when_nobody_works(root, worker):
    factories.submit()
    assert "No worker takes tasks" not in _html(root.get(reverse("admin:index")))
    factories.let_lease_run_out(worker)
    page = _html(root.get(reverse("admin:index")))
    assert "No worker takes tasks" in page
    assert "1 worker is silent" in page


def test_the_overview_shows_what_one_may_see(life):
    user = User.objects.create_user("nobody", is_staff=True)
    browser = Client()
    browser.force_login(user)
    page = _html(browser.get(reverse("admin:index")))
    for heading in ("Queues", "Workers", "Open dead letters", "What operators did last", "card-dead"):
        assert heading not in page
    user.user_permissions.add(Permission.objects.get(codename="view_worker"))
    page = _html(browser.get(reverse("admin:index")))
    assert "Workers" in page
    assert "Queues" not in page


def test_the_overview_asks_little(root, life, django_assert_max_num_queries):
    with django_assert_max_num_queries(16) as queries:
        _html(root.get(reverse("admin:index")))
    unbounded = [query["sql"] for query in queries if "callboard_task" in query["sql"] and "LIMIT" not in query["sql"]]
    assert [sql for sql in unbounded if "RUNNING" not in sql] == [], "RUNNING has its own small index"


def test_a_running_task_shows_its_way_so_far(root, life):
    page = _html(root.get(_page(life)))
    steps = re.findall(r'<li class="step-(\w+)"><b>([^<]+)</b>', page)
    assert steps[0] == ("past", "Created")
    assert steps[-1] == ("now", "Now")
    assert ("past", "Last started") in steps


def test_a_task_for_later_shows_what_is_ahead(root, db):
    task = factories.submit(run_at=factories.database_now() + timedelta(hours=1))
    page = _html(root.get(_page(task)))
    assert ("ahead", "Due") in re.findall(r'<li class="step-(\w+)"><b>([^<]+)</b>', page)
    assert "+1 h" in page


def test_a_waiting_task_tells_when_it_is_expected_to_start_or_what_holds_it_up(root, db):
    task = factories.submit()
    assert "no worker is there for its actor and queue" in _html(root.get(_page(task)))
    factories.make_worker(threads=1)
    assert '<span class="after">at once</span>' in _html(root.get(_page(task)))
    factories.submit(priority=9, estimated_seconds=90)
    page = _html(root.get(_page(task)))
    (after,) = re.findall(r'<b>Expected to start</b> <span class="after">([^<]+)</span>', page)
    assert after == "≈ 1 min 30 s"
    queues.pause("default")
    assert "its queue is paused" in _html(root.get(_page(task)))
