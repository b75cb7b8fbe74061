"""``GET tasks`` and its kin: filters and keyset pages."""

from datetime import datetime, timedelta

import pytest

from tasks.lifecycle import Author, queues
from tasks.models import Task
from tasks.states import Door, Status
from tasks.testing import drain
from tests import factories
from tests.callers import TASKS, assert_problem
from tests.worker import test_steps


def _ids(response):
    assert response.status_code == 200, response.content
    return [task["id"] for task in response.json()["results"]]


def _numbers(response):
    assert response.status_code == 200, response.content
    return [task["payload"]["a"] for task in response.json()["results"]]


@pytest.fixture
def seven(alice):
    tasks = [{"actor": "add", "payload": {"a": number}} for number in range(7)]
    alice.send(f"{TASKS}/bulk", {"tasks": tasks})


def _walk(caller, url, direction):
    pages = []
    while url:
        response = caller.get(url)
        pages.append(_numbers(response))
        url = response.json()[direction]
    return pages


def test_pages_go_from_newest_to_oldest_and_back(alice, seven):
    assert _walk(alice, f"{TASKS}?limit=3", "next") == [[6, 5, 4], [3, 2, 1], [0]]
    last = alice.get(alice.get(alice.get(f"{TASKS}?limit=3").json()["next"]).json()["next"])
    assert last.json()["next"] is None
    assert _walk(alice, last.json()["previous"], "previous") == [[3, 2, 1], [6, 5, 4]]


def test_a_page_that_is_just_full_has_no_next(alice, seven):
    page = alice.get(f"{TASKS}?limit=7").json()
    assert (page["next"], page["previous"]) == (None, None)


def test_new_tasks_do_not_shift_pages(alice, seven):
    following = alice.get(f"{TASKS}?limit=3").json()["next"]
    alice.submit("add", payload={"a": 7})
    page = alice.get(following)
    assert _numbers(page) == [3, 2, 1]
    assert _numbers(alice.get(page.json()["previous"])) == [6, 5, 4]


def test_pages_keep_their_filters(alice, seven):
    alice.submit("act", tags=["x"])
    page = alice.get(f"{TASKS}?limit=3&actor=add&status=pending&status=DEAD").json()
    assert _numbers(alice.get(page["next"])) == [3, 2, 1]
    assert "actor=add" in page["next"]
    assert "status=DEAD" in page["next"]


def test_behind_the_end_a_page_is_empty_and_leads_back(alice, seven):
    following = alice.get(f"{TASKS}?limit=6").json()["next"]
    Task.objects.filter(payload__a=0).delete()
    empty = alice.get(following).json()
    assert (empty["results"], empty["next"]) == ([], None)
    assert _numbers(alice.get(empty["previous"])) == [6, 5, 4, 3, 2, 1]


def test_before_the_start_a_page_is_empty_and_leads_on(alice, seven):
    second = alice.get(alice.get(f"{TASKS}?limit=3").json()["next"]).json()
    Task.objects.filter(payload__a__gte=4).delete()
    empty = alice.get(second["previous"]).json()
    assert (empty["results"], empty["previous"]) == ([], None)
    assert _numbers(alice.get(empty["next"])) == [3, 2, 1]


def test_a_page_that_fills_costs_two_queries_without_a_count(alice, seven, django_assert_num_queries):
    # The token, the user's permissions and those of their groups, where the first part ends, the page.
    with django_assert_num_queries(5) as queries:
        alice.get(f"{TASKS}?limit=3&queue=default")
    assert not any("COUNT" in query["sql"] for query in queries)
    assert "OFFSET 3" in queries[3]["sql"]
    assert "OFFSET" not in queries[4]["sql"]


def test_a_page_of_staff_without_filters_costs_one_query(staff, seven, django_assert_num_queries):
    staff.get(TASKS)
    with django_assert_num_queries(2):  # the token, the page
        staff.get(f"{TASKS}?limit=3")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "abc"),
        ("status=DEAD", "b"),
        ("status=dead&status=Cancelled", "bc"),
        ("actor=elsewhere", "a"),
        ("actor=else", ""),
        ("queue=other", "a"),
        ("band=high", "a"),
        ("band=LOW", "c"),
        ("priority=2", "c"),
        ("tag=red", "ab"),
        ("tag=re", ""),
        ("tag=red&status=DEAD", "b"),
        ("created_after=2026-01-01T00:00:00Z", "abc"),
        ("created_after=2099-01-01T00:00:00Z", ""),
        ("created_before=2099-01-01T00:00:00Z", "abc"),
        ("created_before=2026-01-01T00:00:00Z", ""),
        ("run_after=2098-12-31T23:00:00+00:00", "a"),
        ("run_before=2098-12-31T23:00:00Z", "bc"),
        ("search=elsewh", "a"),
        ("search=red", "ab"),
        ("search=100%25_", ""),
    ],
)
def test_filters(alice, worker, query, found):
    owner = {"owner_id": alice.user.pk}
    tasks = {
        "b": factories.make_task(Status.DEAD, worker=worker, tags=["red", "big"], **owner),
        "c": factories.make_task(Status.CANCELLED, priority=2, **owner),
        "a": factories.submit("elsewhere", tags=["red"], delay_seconds=3_000_000_000, **owner),
    }
    names = {str(task.pk): name for name, task in tasks.items()}
    assert sorted(names[id] for id in _ids(alice.get(f"{TASKS}?{query}"))) == list(found)


def test_tasks_are_found_by_why_they_wait(alice, worker):
    owner = {"owner_id": alice.user.pk}
    signalled = test_steps.call(test_steps.waits, **owner)
    drain()
    tasks = {
        "parents": factories.submit(depends_on=[factories.submit(**owner).pk], **owner),
        "signal_missing": signalled,
        "queue_paused": factories.submit(queue="other", **owner),
        "not_due": factories.submit(delay_seconds=600, **owner),
    }
    queues.pause("other")
    for reason, task in tasks.items():
        assert _ids(alice.get(f"{TASKS}?waiting_for={reason}")) == [str(task.pk)]
        assert reason in [one["kind"] for one in alice.get(f"{TASKS}/{task.pk}").json()["waiting_for"]]
    queues.resume("other")
    assert _ids(alice.get(f"{TASKS}?waiting_for=QUEUE_PAUSED")) == []


def test_search_finds_by_the_first_digits_of_an_id(alice):
    task_id = alice.submit().json()["id"]
    assert _ids(alice.get(f"{TASKS}?search={task_id}")) == [task_id]
    assert _ids(alice.get(f"{TASKS}?search={task_id.replace('-', '')[:20].upper()}")) == [task_id]
    assert _ids(alice.get(f"{TASKS}?search={task_id[:-4]}0000")) == []


def test_created_after_and_before_split_between_two_tasks(alice):
    first, second = alice.submit().json(), alice.submit().json()
    for task_id, by in ((first["id"], 8), (second["id"], 4)):
        factories.age(Task.objects.get(pk=task_id), created_at=timedelta(minutes=by))
    middle = (factories.database_now() - timedelta(minutes=6)).isoformat()
    assert _ids(alice.get(TASKS, {"created_after": middle})) == [second["id"]]
    assert _ids(alice.get(TASKS, {"created_before": middle})) == [first["id"]]


def test_a_plus_sign_that_was_not_escaped_is_understood(alice):
    alice.submit()
    assert len(_ids(alice.get(f"{TASKS}?created_after=2026-01-01T00:00:00+02:00"))) == 1


def test_a_foreign_cursor_shows_nothing_foreign(alice, bob, seven):
    following = alice.get(f"{TASKS}?limit=3").json()["next"]
    assert _ids(bob.get(following)) == []


def test_lists_show_no_payload_that_nobody_reads(alice, seven, django_assert_num_queries):
    with django_assert_num_queries(5) as queries:
        alice.get(TASKS)
    assert '"checkpoint"' not in queries[4]["sql"]
    assert '"options"' not in queries[4]["sql"]


def test_a_list_refuses_what_it_does_not_know_by_name(alice):
    body = assert_problem(alice.get(f"{TASKS}?staus=DEAD&limit=0"), 400, field="staus")
    assert "status" in body["errors"][0]["message"]


def test_a_waiting_task_tells_when_it_is_expected_to_start(alice):
    factories.make_leader()
    factories.make_worker(threads=1)
    first = alice.submit(priority=9, estimated_seconds=30).json()
    second = alice.submit().json()
    assert alice.get(f"{TASKS}/{second['id']}").json()["expected_start_seconds"] == 30
    assert alice.get(f"{TASKS}/{first['id']}").json()["expected_start_seconds"] == 0
    assert {task["expected_start_seconds"] for task in alice.get(TASKS).json()["results"]} == {None}


def test_a_waiting_task_tells_what_it_waits_for(alice):
    task = alice.submit(delay_seconds=3600).json()
    queues.pause("default", by=Author("ada", Door.CLI, "too hot"))
    shown = alice.get(task["url"]).json()
    kinds = [one["kind"] for one in shown["waiting_for"]]
    assert kinds == ["no_scheduler", "queue_paused", "queue_not_served", "not_due"]
    paused = shown["waiting_for"][1]
    assert (paused["queue"], paused["by"], paused["reason"]) == ("default", "ada", "too hot")
    assert paused["message"] == f"queue default is paused by ada since {_written(paused['since'])} UTC: too hot"
    due = {"kind": "not_due", "message": f"not due until {_written(task['run_at'])} UTC", "run_at": task["run_at"]}
    assert shown["waiting_for"][3] == due
    (listed,) = alice.get(TASKS).json()["results"]
    assert listed["waiting_for"] == task["waiting_for"] == [due], "the row alone tells it"


def _written(time):
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S}"
