"""Text of callers in the admin's pages: escaped, truncated, with invisible characters written out."""

import re

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.lifecycle import Author, operations
from tasks.lifecycle.operations import Plan
from tasks.models import ApiToken, Batch, Journal, Operation, OperationItem, Queue, Schedule, Task, Worker
from tasks.states import Door, ItemState, OperationVerb, Status
from tests import factories
from tests.admin.pages import MODELS, html, list_of, page_of

HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


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
    Journal.objects.create(
        task=task,
        kind="task",
        object_id=HOSTILE[:100],
        verb="<script>",
        by=HOSTILE,
        reason=HOSTILE,
        actor=HOSTILE,
        queue=HOSTILE[:100],
        detail={"a": HOSTILE},
    )
    Worker.objects.update(host=HOSTILE, queues=[HOSTILE[:100]], actors=[HOSTILE], crash={"a": HOSTILE})
    Queue.objects.create(name=f"~{HOSTILE[:90]}")
    ApiToken.issue(user=User.objects.create_user("alice"), name=HOSTILE[:100])
    factories.make_batch(name=HOSTILE[:200])
    Batch.objects.update(
        cancelled_by=HOSTILE, cancel_reason=HOSTILE, callbacks={"on_success": {"actor": HOSTILE}}, called={}
    )
    schedule = factories.make_schedule(HOSTILE[:100], is_declared=True)
    texts = {"actor": HOSTILE, "payload": {"do": HOSTILE}, "problem": HOSTILE, "options": {"tags": [HOSTILE]}}
    people = {"paused_by": HOSTILE, "pause_reason": HOSTILE, "taken_over_by": HOSTILE, "declared": {"payload": HOSTILE}}
    now = schedule.created_at
    Schedule.objects.update(**texts, **people, paused_at=now, taken_over_at=now)
    lifecycle.fold_failures(**factories.make_lead())
    people = {"assignee": HOSTILE, "note": HOSTILE, "frame": HOSTILE, "actor": HOSTILE}
    Failure.objects.update(**people)
    plan = Plan(
        verb=OperationVerb.REDRIVE,
        criteria={HOSTILE: HOSTILE},
        failure=Failure.objects.get().pk,
        change={HOSTILE: HOSTILE},
    )
    operation = operations.begin(plan, [factories.open_letter(task).pk], by=Author(HOSTILE, Door.ADMIN, HOSTILE))
    Operation.objects.update(note=HOSTILE, skips={HOSTILE: 1})
    OperationItem.objects.filter(operation=operation).update(note=HOSTILE, state=ItemState.DIED)
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


def test_notes_on_attempts_stay_text(root, worker):
    task = factories.make_task(Status.PENDING)
    note = "the result was not kept: <b>why</b>"
    lifecycle.complete_many(
        [factories.failure(factories.start(task, worker), worker, death="not_retryable", note=note)]
    )
    for row in (task, factories.open_letter(task)):
        assert "Note: <bdi>the result was not kept: &lt;b&gt;why&lt;/b&gt;</bdi>" in html(root.get(page_of(row)))


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


@pytest.mark.parametrize("model", MODELS)
def test_pages_run_no_inline_scripts_and_styles(root, life, model):
    for path in [reverse("admin:index"), list_of(model), *(page_of(row) for row in model.objects.all())]:
        response = root.get(path)
        page = html(response)
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        scripts = [script for script in re.findall(r"<script[^>]*>", page) if "application/json" not in script]
        assert all("src=" in script for script in scripts)


def test_invisible_characters_in_names_are_written_out(root, worker):
    name = "a\u202eb"
    queue = Queue.objects.create(name=name)
    Worker.objects.update(host=name, queues=[name], actors=[name])
    token, _ = ApiToken.issue(user=User.objects.create_user("alice"), name=name, queues=[name])
    factories.submit()
    factories.make_schedule(name)
    factories.make_batch(name=name)
    Task.objects.update(queue=name)
    Failure.objects.create(fingerprint="f" * 32, actor=name, error_type=name, open=1)
    operations.begin(Plan(verb=OperationVerb.CANCEL), [], by=Author(name, Door.ADMIN, name))
    entry = Journal.objects.create(kind="queue", object_id=name, verb="pause", by=name, reason=name, queue=name)
    lists = [list_of(model) for model in MODELS]
    for path in (*lists, page_of(queue), page_of(worker), page_of(token), page_of(entry), reverse("admin:index")):
        text = re.sub(r"<[^>]*>", "", html(root.get(path)))
        assert name not in text, path
        assert r"a\u202eb" in text, path
