"""Reading one task, cancelling, retrying, its attempts, and the dead letter queue over REST."""

import pytest

from tasks import lifecycle
from tasks.contract.pages import Cursor
from tasks.lifecycle.checkpoint import report_many
from tasks.models import Journal, Task
from tasks.states import Status
from tests import factories
from tests.callers import TASKS, assert_problem


@pytest.fixture
def make(alice, worker):
    return lambda status, **fields: factories.make_task(status, worker=worker, owner_id=alice.user.pk, **fields)


def test_an_etag_changes_with_what_it_describes(alice, worker):
    url = alice.submit().json()["url"]
    task, tags = Task.objects.get(), [alice.get(url)["ETag"]]
    assert tags == ['"1-PENDING-0"']
    hint = factories.dispatch(task)
    tags.append(alice.get(url)["ETag"])
    factories.claim(hint, worker)
    tags.append(alice.get(url)["ETag"])
    assert alice.send(f"{url}/cancel")["ETag"] == alice.get(url)["ETag"]
    tags.append(alice.get(url)["ETag"])
    Task.objects.update(version=7)
    tags.append(alice.get(url)["ETag"])
    assert len(set(tags)) == 5
    assert alice.get(url)["ETag"] == tags[-1]


@pytest.mark.parametrize(("verb", "status"), [("cancel", Status.RUNNING), ("retry", Status.DEAD)])
def test_a_verb_acts_only_on_what_was_read(alice, make, verb, status):
    url = f"{TASKS}/{make(status).pk}"
    before = alice.get(url)
    for stale in ('"1-PENDING-0"', f"W/{before['ETag']}", '"2"'):
        answer = alice.send(f"{url}/{verb}", headers={"if-match": stale})
        assert status in assert_problem(answer, 412, code="version_mismatch")["detail"]
    assert_problem(alice.send(f"{url}/{verb}", headers={"if-match": "1"}), 400, field="If-Match")
    assert alice.get(url)["ETag"] == before["ETag"]
    assert alice.send(f"{url}/{verb}", headers={"if-match": before["ETag"]}).status_code == 200


def test_an_etag_never_hides_that_a_task_moved_on(alice):
    url = alice.submit().json()["url"]
    assert alice.get(url, headers={"if-none-match": '"1"'}).status_code == 200


def test_ids_are_read_in_any_spelling(alice):
    task_id = alice.submit().json()["id"]
    assert alice.get(f"{TASKS}/{task_id.upper()}").json()["id"] == task_id
    assert alice.get(f"{TASKS}/{task_id.replace('-', '')}").json()["id"] == task_id


def test_a_result_is_shown(alice, make):
    body = alice.get(f"{TASKS}/{make(Status.SUCCEEDED).pk}").json()
    assert (body["status"], body["result"], body["error"], body["attempt"]) == ("SUCCEEDED", {"answer": 42}, None, 1)
    assert body["finished_at"] > body["created_at"]


def test_an_error_is_shown(alice, make):
    body = alice.get(f"{TASKS}/{make(Status.DEAD).pk}").json()
    assert body["error"] == {"type": "RuntimeError", "message": "as asked"}
    assert (body["status"], body["failures"]) == ("DEAD", 1)


@pytest.mark.parametrize("body", [b"", b"{}", b" \n", b"null-free"], ids=["none", "empty", "blank", "broken"])
def test_a_cancel_needs_no_body(alice, make, body):
    task = make(Status.PENDING)
    response = alice.post(f"{TASKS}/{task.pk}/cancel", body, content_type="application/json")
    if body == b"null-free":
        assert_problem(response, 400, code="malformed")
        return
    assert response.status_code == 200
    assert response.json()["status"] == "CANCELLED"
    assert Journal.objects.get().by == "alice"


def test_a_cancel_without_any_type_of_body_is_understood(alice, make):
    for path in (f"{TASKS}/{make(Status.PENDING).pk}/cancel", f"{TASKS}/{make(Status.QUEUED).pk}/cancel/"):
        assert alice.post(path).json()["status"] == "CANCELLED"


def test_a_running_task_is_asked_to_stop(alice, make):
    task = make(Status.RUNNING)
    body = alice.send(f"{TASKS}/{task.pk}/cancel").json()
    assert (body["status"], body["cancel_requested_at"] is not None) == ("RUNNING", True)
    again = alice.send(f"{TASKS}/{task.pk}/cancel")
    assert (again.status_code, again.json()["cancel_requested_at"]) == (200, body["cancel_requested_at"])


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.DEAD, Status.CANCELLED])
def test_what_has_ended_is_not_cancelled(alice, make, status):
    problem = assert_problem(alice.send(f"{TASKS}/{make(status).pk}/cancel"), 409, code="illegal_transition")
    assert status in problem["detail"]


@pytest.mark.parametrize(("status", "after"), [("DEAD", "PENDING"), ("CANCELLED", "PENDING"), ("RETRYING", "RETRYING")])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_task_is_retried(alice, make, status, after, slash):
    task = make(Status(status))
    response = alice.send(f"{TASKS}/{task.pk}/retry{slash}")
    assert (response.status_code, response.json()["status"]) == (200, after)
    assert response["ETag"].startswith(f'"2-{after}-')


@pytest.mark.parametrize("status", [Status.PENDING, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED])
def test_what_needs_no_retry_gets_none(alice, make, status):
    problem = assert_problem(alice.send(f"{TASKS}/{make(status).pk}/retry"), 409, code="illegal_transition")
    assert status in problem["detail"]


def test_attempts_are_listed_from_the_first_on(alice, make, worker):
    task = make(Status.DEAD)
    factories.make_due(task)
    alice.send(f"{TASKS}/{task.pk}/retry")
    task.refresh_from_db()
    claimed = factories.start(task, worker)
    lifecycle.complete_many([factories.outcome(claimed, worker)])
    page = alice.get(f"{TASKS}/{task.pk}/attempts").json()
    first, second = page["results"]
    assert (first["number"], first["outcome"], second["number"], second["outcome"]) == (1, "FAILED", 2, "SUCCEEDED")
    assert first["error"] == {"type": "RuntimeError", "message": "as asked", "traceback": "Traceback …"}
    assert second["error"] is None
    assert first["worker_id"] == str(worker.pk)
    assert first["finished_at"] > first["started_at"]
    assert (page["next"], page["previous"]) == (None, None)
    following = alice.get(f"{TASKS}/{task.pk}/attempts/?limit=1").json()["next"]
    assert [attempt["number"] for attempt in alice.get(following).json()["results"]] == [2]


def test_the_attempt_that_runs_is_the_last_one_with_its_lines_so_far(alice, make, worker):
    task = make(Status.DEAD)
    alice.send(f"{TASKS}/{task.pk}/retry")
    task.refresh_from_db()
    claimed = factories.start(task, worker)
    line = {"at": "2030-01-31T12:00:00Z", "line": "half of it"}
    log = {"attempt": claimed.attempt, "lines": [line], "dropped": 3}
    report_many([{"id": task.pk, "attempt": claimed.attempt, "worker": worker.pk, "log": log}])
    address = f"{TASKS}/{task.pk}/attempts"
    read = alice.get(f"{TASKS}/{task.pk}").json()
    ended, running = alice.get(address).json()["results"]
    assert (ended["number"], ended["outcome"]) == (1, "FAILED")
    assert (running["number"], running["outcome"], running["finished_at"]) == (2, None, None)
    assert (running["worker_id"], running["started_at"]) == (str(worker.pk), read["started_at"])
    assert (running["log"], running["log_dropped"]) == ([line], 3)
    assert (running["error"], running["note"], running.keys()) == (None, None, ended.keys())
    # It has its place among the pages, in both directions.
    first = alice.get(f"{address}?limit=1").json()
    second = alice.get(first["next"]).json()
    beyond = alice.get(f"{address}?limit=1&cursor={Cursor(False, 2).encode()}").json()
    assert (first["results"], second["results"], second["next"]) == ([ended], [running], None)
    assert alice.get(second["previous"]).json()["results"] == [ended]
    assert (beyond["results"], alice.get(beyond["previous"]).json()["results"]) == ([], [running])
    lifecycle.complete_many([factories.outcome(claimed, worker)])
    assert [one["outcome"] for one in alice.get(address).json()["results"]] == ["FAILED", "SUCCEEDED"]


def test_a_note_on_an_attempt_is_shown(alice, make, worker):
    task = make(Status.PENDING)
    lifecycle.succeed(factories.outcome(factories.start(task, worker), worker, note="the result was not kept: why"))
    (attempt,) = alice.get(f"{TASKS}/{task.pk}/attempts").json()["results"]
    assert (attempt["outcome"], attempt["error"]) == ("SUCCEEDED", None)
    assert attempt["note"] == "the result was not kept: why"


def test_a_task_that_does_not_fit_its_actor_any_more_is_not_retried(alice, make):
    task = make(Status.DEAD)
    Task.objects.filter(pk=task.pk).update(payload={"what": "an older release took"})
    assert_problem(alice.send(f"{TASKS}/{task.pk}/retry"), 400, field="payload.what")
    letter = factories.open_letter(task)
    assert_problem(alice.send(f"/api/v1/dlq/{letter.pk}/redrive"), 400, field="payload.what")


def test_a_task_that_never_ran_has_no_attempts(alice):
    assert alice.get(alice.submit().json()["url"] + "/attempts").json()["results"] == []


def test_a_dead_letter_says_what_died_and_why(alice, make):
    task = make(Status.DEAD)
    letter = factories.open_letter(task)
    (listed,) = alice.get("/api/v1/dlq").json()["results"]
    assert listed == alice.get(f"/api/v1/dlq/{letter.pk}").json() == alice.get(listed["url"] + "/").json()
    assert (listed["task_id"], listed["reason"], listed["attempt"]) == (str(task.pk), "max_retries_exceeded", 1)
    assert listed["error"] == {"type": "RuntimeError", "message": "as asked"}
    assert (listed["resolution"], listed["resolved_by"], listed["resolved_at"]) == ("OPEN", None, None)
    assert alice.get(listed["task_url"]).json()["status"] == "DEAD"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_dead_letter_is_redriven_once(alice, make, slash):
    letter = factories.open_letter(make(Status.DEAD))
    response = alice.send(f"/api/v1/dlq/{letter.pk}/redrive{slash}")
    body = response.json()
    assert response.status_code == 200
    assert (body["resolution"], body["resolved_by"], body["task_status"]) == ("REDRIVEN", "alice", "PENDING")
    assert alice.get(body["task_url"]).json()["status"] == "PENDING"
    assert_problem(alice.send(f"/api/v1/dlq/{letter.pk}/redrive"), 409, code="already_resolved")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("resolution=open", 1),
        ("resolution=REDRIVEN", 1),
        ("resolution=discarded", 0),
        ("reason=max_retries_exceeded", 2),
        ("reason=crash_loop", 0),
        ("actor=act", 2),
        ("queue=other", 0),
    ],
)
def test_dead_letters_are_filtered(alice, make, query, found):
    make(Status.DEAD)
    letter = factories.open_letter(make(Status.DEAD))
    alice.send(f"/api/v1/dlq/{letter.pk}/redrive")
    assert len(alice.get(f"/api/v1/dlq?{query}").json()["results"]) == found
    assert len(alice.get(f"/api/v1/dlq?task={letter.task_id}&limit=1").json()["results"]) == 1


def test_a_dead_letter_whose_task_is_gone_is_not_redriven(alice, make):
    task = make(Status.DEAD)
    letter = factories.open_letter(task)
    Task.objects.filter(pk=task.pk)._raw_delete("default")
    problem = assert_problem(alice.send(f"/api/v1/dlq/{letter.pk}/redrive"), 404, code="not_found")
    assert "removed" in problem["detail"]
