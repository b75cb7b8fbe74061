"""The admin's lists: filters, search, and counts that stay cheap."""

import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client

import tasks
from dlq.models import DeadLetter
from tasks.admin import change_list
from tasks.models import Task, Worker
from tasks.states import Status, WorkerStatus
from tests import factories
from tests.admin.pages import browser_of, html, list_of, page_of


def test_lists_neither_count_all_rows_nor_read_payloads(root, life, django_assert_max_num_queries):
    with django_assert_max_num_queries(12) as queries:
        html(root.get(list_of(Task)))
    statements = [query["sql"] for query in queries]
    reads = [statement for statement in statements if 'FROM "callboard_task"' in statement]
    assert reads
    assert all("LIMIT" in statement or '"callboard_task"."id" IN' in statement for statement in reads)
    assert not any("COUNT(*)" in statement for statement in statements)
    assert not any("DISTINCT" in statement for statement in statements)
    assert not any('"payload"' in statement for statement in statements)


def test_a_list_says_when_it_stopped_counting(root, life, monkeypatch):
    assert "Counting stops here" not in html(root.get(list_of(Task)))
    monkeypatch.setattr(change_list, "MAX_COUNTED", 1)
    factories.submit()
    assert "Counting stops here" in html(root.get(list_of(Task)))


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
        ({"tag": "red"}, True),
        ({"tag": "re"}, False),
        ({"owner": "root"}, False),
        ({"owner": "nobody"}, False),
        ({"error_type": "RuntimeError"}, True),
        ({"error_type": "KeyError"}, False),
        ({"error_type": "as asked"}, False),
        ({"q": "payload.do:return"}, True),
        ({"q": "payload.do:fail"}, False),
        ({"status": "NOPE"}, False),
        ({"queue": "\0"}, False),
        ({"created": "-1"}, False),
        ({"q": "red"}, True),
        ({"q": "ac"}, True),
        ({"q": "blue"}, False),
    ],
)
def test_tasks_are_filtered_and_searched(root, life, query, is_found):
    assert (page_of(life) in html(root.get(list_of(Task), query))) == is_found


def test_tasks_are_found_by_their_id(root, life):
    factories.submit()
    page = html(root.get(list_of(Task), {"q": str(life.pk)[:23]}))
    assert page_of(life) in page


def test_a_whole_id_leads_straight_to_the_task(root, life):
    for text in (str(life.pk), f" {life.pk.hex.upper()} "):
        answer = root.get(list_of(Task), {"q": text})
        assert (answer.status_code, answer["Location"]) == (302, page_of(life))
    nobodys = "01a1fd7d-2743-7561-8e49-c178001b0b31"
    assert "No tasks match" in html(root.get(list_of(Task), {"q": nobodys}))


def test_an_id_leads_nobody_to_a_task_that_may_not_be_seen(life):
    browser = Client()
    browser.force_login(User.objects.create_user("nobody", is_staff=True))
    assert browser.get(list_of(Task), {"q": str(life.pk)}).status_code == 403


def test_tasks_are_found_by_their_trace_id(root, life):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert page_of(life) not in html(root.get(list_of(Task), {"q": trace_id}))
    Task.objects.filter(pk=life.pk).update(trace_id=trace_id)
    factories.submit()
    page = html(root.get(list_of(Task), {"q": trace_id.upper()}))
    assert page.count("/change/") == 1
    assert page_of(life) in page


def test_a_tag_leads_to_all_that_have_it(root, life):
    Task.objects.filter(pk=life.pk).update(tags=["a&b #1"])
    for path in (list_of(Task), page_of(life)):
        page = html(root.get(path))
        (query,) = re.findall(r'<a class="tag" href="/admin/callboard/task/\?([^"]+)"', page)
        assert query == "q=a%26b+%231"
    assert page_of(life) in html(root.get(f"{list_of(Task)}?{query}"))


@pytest.mark.parametrize("model", [Task, DeadLetter])
def test_a_search_for_nul_is_refused_without_an_error(root, life, model):
    assert root.get(list_of(model), {"q": "\0"}).status_code == 200


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
        ({"cause": "x", "resolution": "all"}, False),
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
    assert (page_of(letter) in html(root.get(list_of(DeadLetter), query))) == is_found


def test_only_open_dead_letters_are_listed_by_default(root, life, worker):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    page = html(root.get(list_of(DeadLetter)))
    assert re.findall(r'"(/admin/dlq/deadletter/[^"]+/change/[^"]*)"', page) == [page_of(letter)]
    assert re.search(r'chip-open selected" aria-current="true">Open <b>1</b></a>', page)


def test_statuses_are_links_with_counts_while_no_other_filter_is_applied(root, life):
    page = html(root.get(list_of(Task)))
    assert re.search(r'<a href="\?status=RUNNING" class="chip chip-running">Running <b>1</b></a>', page)
    page = html(root.get(list_of(Task), {"status": "RUNNING"}))
    assert re.search(r'class="chip chip-running selected" aria-current="true">Running <b>1</b></a>', page)
    page = html(root.get(list_of(Task), {"queue": "default"}))
    assert re.search(r'<a href="\?queue=default&amp;status=RUNNING" class="chip chip-running">Running</a>', page)


def test_empty_lists_say_so(root):
    assert "No tasks yet" in html(root.get(list_of(Task)))
    assert "No open dead letters" in html(root.get(list_of(DeadLetter)))
    assert "No workers." in html(root.get(list_of(Worker)))


def test_a_filter_without_matches_says_so(root):
    assert "No tasks match." in html(root.get(list_of(Task), {"status": "DEAD"}))
    assert "No dead letters match." in html(root.get(list_of(DeadLetter), {"q": "x"}))
    assert "No workers match." in html(root.get(list_of(Worker), {"status": "silent"}))


def test_gone_workers_are_hidden_by_default(root, worker):
    Worker.objects.filter(pk=worker.pk).update(status=WorkerStatus.GONE, stopped_at="2026-01-01T00:00:00Z")
    assert page_of(worker) not in root.get(list_of(Worker)).content.decode()
    assert page_of(worker) in root.get(list_of(Worker), {"status": "gone"}).content.decode()
    assert page_of(worker) in root.get(list_of(Worker), {"status": "all"}).content.decode()


def test_labels_on_phones_belong_to_columns():
    columns = [column for one in admin.site._registry.values() for column in one.list_display]
    names = {column if isinstance(column, str) else column.__name__ for column in columns}
    css = (Path(tasks.__file__).parent / "static/callboard/admin.css").read_text()
    labelled = set(re.findall(r"\.field-(\w+)::before", css))
    assert labelled
    assert labelled <= names


def test_tasks_are_filtered_by_their_owner(root, life):
    owner = User.objects.create_user("ada")
    task = factories.submit(owner_id=owner.pk)
    page = html(root.get(list_of(Task), {"owner": "ada"}))
    assert (page_of(task) in page, page_of(life) in page) == (True, False)


def test_a_typed_filter_keeps_the_others(root, life):
    page = html(root.get(list_of(Task), {"status": "RUNNING", "q": "act"}))
    (form,) = re.findall(r'<form method="get">\s*<input type="text" name="tag".*?</form>', page, re.DOTALL)
    assert dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w*)">', form)) == {
        "status": "RUNNING",
        "q": "act",
    }


def test_an_actor_that_is_no_longer_declared_can_be_typed(root, life):
    Task.objects.filter(pk=life.pk).update(actor="long_gone")
    page = html(root.get(list_of(Task), {"actor": "long_gone"}))
    assert page_of(life) in page
    assert "Actor: <b>long_gone</b>" in page


@pytest.mark.parametrize("search", ["payload.password:x", "payload.x", "payload.a..b:1"])
def test_a_payload_search_that_cannot_be_says_so(root, life, search):
    page = html(root.get(list_of(Task), {"q": search}))
    assert "Payloads were not searched: expected a" in page
    assert page_of(life) not in page


def test_a_payload_search_without_the_permission_says_what_it_searched(life):
    shy = User.objects.create_user("shy", is_staff=True)
    shy.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="callboard"))
    own = factories.submit(owner_id=shy.pk, payload={"do": "return"})
    page = html(browser_of(shy).get(list_of(Task), {"q": "payload.do:return"}))
    assert "Only payloads of your own tasks were searched" in page
    assert (page_of(own) in page, page_of(life) in page) == (True, False)
