"""Changing and deleting tasks over REST, their results and events."""

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.api import tasks
from tasks.contract import submissions
from tasks.errors import IllegalTransition, NotFound
from tasks.models import Attempt, Journal, Task, new_id
from tasks.states import WAITING, Status
from tests import factories
from tests.callers import TASKS, assert_problem

ALL = {
    "priority": 9,
    "run_at": "2099-01-31T09:00:00Z",
    "payload": {"do": "return", "value": 7},
    "queue": "other",
    "max_retries": 0,
    "tags": ["x"],
}


@pytest.fixture
def make(alice, worker):
    return lambda status, **fields: factories.make_task(status, worker=worker, owner_id=alice.user.pk, **fields)


def _edit(caller, method, url, body, **headers):
    return getattr(caller, method)(url, body, content_type="application/json", headers=headers)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("method", ["patch", "put"])
def test_all_that_can_be_changed_is(alice, method, slash):
    url = alice.submit().json()["url"]
    response = _edit(alice, method, url + slash, ALL)
    assert response.status_code == 200
    assert {name: response.json()[name] for name in ALL} == ALL
    assert response["ETag"].startswith('"2-PENDING-')
    # Read by itself, it also tells what the row alone does not.
    assert alice.get(url).json() | {"waiting_for": []} == response.json() | {"waiting_for": []}
    assert Journal.objects.get().by == "alice"


def test_a_patch_leaves_the_rest(alice):
    task = alice.submit(priority=3, tags=["a"], max_retries=7, run_at="2099-01-01T00:00:00Z").json()
    body = _edit(alice, "patch", task["url"], {"priority": "high"}).json()
    assert {name for name in task if task[name] != body[name]} == {"priority", "band"}
    assert body["priority"] == 9


@pytest.mark.parametrize("missing", [[name] for name in ALL] + [[name for name in ALL if name != "payload"], list(ALL)])
def test_a_put_that_leaves_out_a_field_is_refused_and_changes_nothing(alice, missing):
    """Defaults in the place of forgotten fields once ran a task of 2099 at once."""
    url = alice.submit(priority=3, tags=["a"], max_retries=7, queue="other", run_at="2099-01-01T00:00:00Z").json()[
        "url"
    ]
    before = alice.get(url).json()
    body = {name: value for name, value in ALL.items() if name not in missing}
    problem = assert_problem(_edit(alice, "put", url, body), 400, code="invalid")
    assert {error["field"] for error in problem["errors"] if error["code"] == "required"} == set(missing)
    assert "PATCH" in problem["detail"]
    assert all(name in problem["detail"].partition("missing")[2] for name in missing)
    assert alice.get(url).json() == before
    assert not Journal.objects.exists()


def test_a_put_names_what_is_missing_and_what_is_wrong(alice):
    url = alice.submit().json()["url"]
    problem = assert_problem(_edit(alice, "put", url, {"priority": 11, "tags": None}), 400)
    found = {(error["field"], error["code"]) for error in problem["errors"]}
    missing = {(name, "required") for name in set(ALL) - {"priority", "tags"}}
    assert found == {("priority", "invalid"), ("tags", "invalid"), *missing}


def test_what_a_task_tells_can_be_put_back(alice):
    for actor in ("act", "never_gives_up"):
        task = alice.submit(actor, run_at="2099-01-01T00:00:00Z").json()
        body = {name: task[name] for name in ALL}
        edited = _edit(alice, "put", task["url"], body).json()
        assert {name: edited[name] for name in ALL} == body


def test_endless_retries_are_kept_but_not_given(alice):
    url = alice.submit().json()["url"]
    assert_problem(_edit(alice, "put", url, ALL | {"max_retries": None}), 400, field="max_retries")
    assert alice.get(url).json()["max_retries"] == 3


@pytest.mark.parametrize("method", ["patch", "put"])
def test_a_payload_is_checked_with_the_positional_arguments_of_the_task(alice, make, method):
    task = make(Status.PENDING, actor="add", args=[1])
    rest = {} if method == "patch" else ALL
    assert_problem(_edit(alice, method, f"{TASKS}/{task.pk}", rest | {"payload": {"a": 2}}), 400, field="args")
    assert _edit(alice, method, f"{TASKS}/{task.pk}", rest | {"payload": {"b": 2}}).status_code == 200


def test_the_past_means_now(alice):
    task = alice.submit(run_at="2099-01-01T00:00:00Z").json()
    body = _edit(alice, "patch", task["url"], {"run_at": "2001-01-01T00:00:00Z"}).json()
    assert task["created_at"] < body["run_at"] < "2099"


@pytest.mark.parametrize("status", [status for status in Status if status not in WAITING])
@pytest.mark.parametrize("method", ["patch", "put"])
def test_what_does_not_wait_is_not_changed(alice, make, method, status):
    url = f"{TASKS}/{make(status).pk}"
    problem = assert_problem(_edit(alice, method, url, ALL), 409, code="illegal_transition")
    assert status in problem["detail"]
    assert "PENDING" in problem["detail"]


@pytest.mark.parametrize("method", ["patch", "put"])
@pytest.mark.parametrize("tag", ['"1"', '"7", "1"', "*", 'W/"9" , "1"'])
def test_the_version_that_was_read_is_changed(alice, method, tag):
    url = alice.submit().json()["url"]
    assert _edit(alice, method, url, ALL, **{"if-match": tag}).status_code == 200


@pytest.mark.parametrize("method", ["patch", "put"])
@pytest.mark.parametrize("tag", ['"2"', '"0", "3"', 'W/"1"', '""', '"*"', '"2", W/"1"'])
def test_another_version_is_not(alice, method, tag):
    url = alice.submit().json()["url"]
    before = alice.get(url).json()
    problem = assert_problem(_edit(alice, method, url, ALL, **{"if-match": tag}), 412, code="version_mismatch")
    assert "version 1" in problem["detail"]
    assert alice.get(url).json() == before


@pytest.mark.parametrize("method", ["patch", "put", "delete"])
@pytest.mark.parametrize(
    "tag", ["1", "", "\x00", "x*", '*, "1"', '"1', '"1" "1"', '"1",', 'w/"1"', '"1"' + ',"2"' * 9_000 + "x"]
)
def test_what_is_no_entity_tag_is_refused(alice, method, tag):
    url = alice.submit().json()["url"]
    before = alice.get(url).json()
    body = {} if method == "delete" else ALL
    problem = assert_problem(_edit(alice, method, url, body, **{"if-match": tag}), 400, field="If-Match")
    assert "with its quotes" in problem["detail"]
    assert alice.get(url).json() == before


def test_another_version_is_not_deleted(alice):
    url = alice.submit().json()["url"]
    assert_problem(alice.delete(url, headers={"if-match": '"2"'}), 412, code="version_mismatch")
    assert alice.delete(url, headers={"if-match": '"1"'}).status_code == 204


def test_of_two_who_read_the_same_version_the_second_is_told(alice, monkeypatch):
    url = alice.submit().json()["url"]
    tag = {"if-match": alice.get(url)["ETag"]}
    read_change = submissions.read_change

    def overtaken(body):
        monkeypatch.setattr(tasks, "read_change", read_change)
        assert _edit(alice, "patch", url, {"priority": 1}, **tag).status_code == 200
        return read_change(body)

    # The second has found the task and does not hold it yet; while it does, the first would wait.
    monkeypatch.setattr(tasks, "read_change", overtaken)
    assert_problem(_edit(alice, "patch", url, {"priority": 9}, **tag), 412, code="version_mismatch")
    assert alice.get(url).json()["priority"] == 1


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_what_does_not_run_is_deleted(alice, make, status):
    task = make(status)
    response = alice.delete(f"{TASKS}/{task.pk}")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(alice.get(f"{TASKS}/{task.pk}"), 404)
    assert_problem(alice.delete(f"{TASKS}/{task.pk}"), 404)
    assert not Attempt.objects.filter(task_id=task.pk).exists()
    event = Journal.objects.filter(task_id=task.pk).latest("id")
    assert (event.verb, event.by, event.detail) == ("delete", "alice", {"status": status.value})


def test_what_runs_is_to_be_cancelled_first(alice, make):
    task = make(Status.RUNNING)
    problem = assert_problem(alice.delete(f"{TASKS}/{task.pk}/"), 409, code="illegal_transition")
    assert "cancel it first" in problem["detail"]
    assert Task.objects.filter(pk=task.pk).exists()
    with pytest.raises(IllegalTransition):
        lifecycle.delete(task.pk)


def test_a_dead_letter_outlives_its_task_and_asks_for_nothing_any_more(alice, make):
    task = make(Status.DEAD)
    letter = factories.open_letter(task)
    alice.delete(f"{TASKS}/{task.pk}")
    body = alice.get(f"/api/v1/dlq/{letter.pk}").json()
    assert (body["resolution"], body["resolved_by"], body["reason"]) == ("DISCARDED", "alice", "max_retries_exceeded")
    assert not DeadLetter.objects.open().exists()


def test_the_hint_of_a_deleted_task_starts_nothing(alice, worker):
    task = factories.submit(owner_id=alice.user.pk)
    hint = factories.dispatch(task)
    assert alice.delete(f"{TASKS}/{task.pk}").status_code == 204
    assert lifecycle.claim_many([hint], worker_id=worker.pk) == []


def test_what_is_not_there_cannot_be_deleted(db):
    with pytest.raises(NotFound):
        lifecycle.delete(new_id())


@pytest.mark.parametrize(
    ("status", "result", "error"),
    [
        (Status.SUCCEEDED, {"answer": 42}, None),
        (Status.DEAD, None, {"type": "RuntimeError", "message": "as asked"}),
        (Status.PENDING, None, None),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_result_is_read_by_itself(alice, make, status, result, error, slash):
    task = make(status)
    body = alice.get(f"{TASKS}/{task.pk}/result{slash}").json()
    finished_at = alice.get(f"{TASKS}/{task.pk}").json()["finished_at"]
    expected = {"id": str(task.pk), "status": status, "result": result, "error": error, "finished_at": finished_at}
    assert body == {**expected, "hidden": []}


def test_events_tell_who_did_what_in_order(alice, staff, make):
    task = make(Status.PENDING)
    url = f"{TASKS}/{task.pk}"
    _edit(alice, "patch", url, {"tags": ["a"], "priority": 1})
    staff.send(f"{url}/cancel")
    alice.send(f"{url}/retry")
    page = alice.get(f"{url}/events?limit=3").json()
    first = [(event["type"], event["verb"], event["by"]) for event in page["results"]]
    assert first == [("submitted", None, None), ("act", "edit", "alice"), ("act", "cancel", "staff")]
    assert page["results"][1]["detail"] == {"fields": ["priority", "tags"]}
    rest = alice.get(page["next"]).json()["results"]
    assert [(event["type"], event["verb"]) for event in rest] == [("act", "retry"), ("status", None)]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_dead_letter_is_discarded_once(alice, make, slash):
    task = make(Status.DEAD)
    letter = factories.open_letter(task)
    body = alice.send(f"/api/v1/dlq/{letter.pk}/discard{slash}").json()
    assert (body["resolution"], body["resolved_by"]) == ("DISCARDED", "alice")
    assert alice.get(body["task_url"]).json()["status"] == "DEAD"
    for verb in ("discard", "redrive"):
        assert_problem(alice.send(f"/api/v1/dlq/{letter.pk}/{verb}"), 409, code="already_resolved")
