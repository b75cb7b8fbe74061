"""Submitting tasks over REST."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.models import Task
from tests.callers import TASKS, assert_problem

#: The shape of a task's answer. Changes are additive.
ANSWER = {
    *("id", "url", "actor", "status", "payload", "priority", "band", "queue", "run_at", "tags", "trace_id"),
    *("schedule_id", "scheduled_at"),
    *("max_retries", "min_backoff_seconds", "max_backoff_seconds", "retry_for_seconds", "time_limit_seconds"),
    *(
        "max_age_seconds",
        "estimated_seconds",
        "expected_start_seconds",
        "attempt",
        "failures",
        "crashes",
        "result",
        "progress",
        "checkpointed_at",
        "error",
        "hidden",
    ),
    *(
        "created_at",
        "queued_at",
        "started_at",
        "finished_at",
        "cancel_requested_at",
        "depends_on",
        "cause_id",
        "cause",
        "waiting_for",
        "ref",
    ),
    *("idempotency_key", "unique", "concurrency_key", "fairness_key", "batch"),
}


@pytest.mark.parametrize("path", [TASKS, f"{TASKS}/"])
def test_a_task_is_submitted(alice, path):
    response = alice.send(path, {"actor": "act", "payload": {"do": "return", "value": {"ü": [1, 2.5, None]}}})
    assert response.status_code == 201
    body = response.json()
    task = Task.objects.get()
    assert body["id"] == str(task.pk)
    assert response["Location"] == body["url"] == f"http://testserver{TASKS}/{task.pk}"
    assert (body["status"], body["actor"], body["queue"]) == ("PENDING", "act", "default")
    assert task.payload == body["payload"] == {"do": "return", "value": {"ü": [1, 2.5, None]}}
    assert task.owner_id == alice.user.pk
    assert response["Cache-Control"] == "no-store"


def test_the_answer_has_its_whole_shape(alice):
    submitted = alice.submit().json()
    read = alice.get(submitted["url"]).json()
    assert set(submitted) == ANSWER
    assert submitted == read | {"waiting_for": []}, "read by itself, it also tells what the row alone does not"


def test_defaults_are_those_of_the_settings(alice):
    body = alice.submit().json()
    assert (body["priority"], body["band"], body["max_retries"]) == (5, "medium", 3)
    assert (body["min_backoff_seconds"], body["max_backoff_seconds"], body["time_limit_seconds"]) == (2, 3600, 300)
    assert (body["retry_for_seconds"], body["max_age_seconds"], body["estimated_seconds"]) == (None, None, None)
    assert (body["tags"], body["depends_on"], body["waiting_for"], body["error"]) == ([], [], [], None)


def test_defaults_of_the_actor_come_before_those_of_the_settings(alice):
    body = alice.submit("limited").json()
    assert (body["max_retries"], body["min_backoff_seconds"], body["time_limit_seconds"]) == (1, 1, 2.5)
    assert alice.submit("elsewhere").json()["queue"] == "other"
    assert alice.submit("elsewhere").json()["priority"] == 8


def test_every_field_is_stored(alice):
    given = {
        "priority": 7,
        "queue": "other",
        "max_retries": 0,
        "min_backoff_seconds": 1.5,
        "max_backoff_seconds": 60,
        "retry_for_seconds": 60,
        "time_limit_seconds": 0,
        "max_age_seconds": 3600,
        "estimated_seconds": 1.5,
        "tags": ["a", "ü 🙂"],
    }
    body = alice.submit(**given).json()
    assert {name: body[name] for name in given} == given
    read = alice.get(body["url"]).json()
    assert {name: read[name] for name in given} == given


def test_null_means_not_given(alice):
    empty = dict.fromkeys(ANSWER & {"priority", "queue", "tags", "max_retries", "unique", "batch"})
    body = alice.submit(**empty, depends_on=[]).json()
    assert (body["priority"], body["queue"], body["tags"], body["max_retries"]) == (5, "default", [], 3)


@pytest.mark.parametrize(("given", "kept"), [("high", 9), ("Medium", 5), ("LOW", 2), (1, 1), (10, 10)])
def test_priorities_are_numbers_or_words(alice, given, kept):
    assert alice.submit(priority=given).json()["priority"] == kept


def test_run_at_keeps_the_moment_whatever_its_zone(alice):
    body = alice.submit(run_at="2099-01-31T09:00:00+02:00").json()
    assert body["run_at"] == "2099-01-31T07:00:00Z"


@pytest.mark.parametrize("past", ["2001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_the_past_means_now(alice, past):
    body = alice.submit(run_at=past).json()
    assert body["run_at"] == body["created_at"]


def test_delay_seconds_counts_from_now(alice):
    body = alice.submit(delay_seconds=90.5).json()
    waits = datetime.fromisoformat(body["run_at"]) - datetime.fromisoformat(body["created_at"])
    assert waits == timedelta(seconds=90.5)


def test_a_pydantic_payload_is_checked(alice):
    assert alice.submit("ship", payload={"number": 1, "placed_on": "2026-01-31"}).status_code == 201
    body = assert_problem(alice.submit("ship", payload={"number": "1"}), 400, code="invalid", field="payload.number")
    assert {error["field"] for error in body["errors"]} == {"payload.number", "payload.placed_on"}


def test_actors_closed_to_the_api_look_like_unknown_ones(alice):
    closed = assert_problem(alice.submit("private"), 400, code="unknown_actor", field="actor")
    unknown = assert_problem(alice.submit("no_such"), 400, code="unknown_actor", field="actor")
    assert closed["detail"].replace("private", "no_such") == unknown["detail"]
    names = [actor["name"] for actor in alice.get("/api/v1/actors").json()["results"]]
    assert "act" in names
    assert "private" not in names


def test_actors_tell_what_they_take(alice):
    actors = {actor["name"]: actor for actor in alice.get("/api/v1/actors/").json()["results"]}
    assert actors["add"]["payload_schema"]["required"] == ["a"]
    assert actors["add"]["description"] == "Add two numbers."
    assert actors["elsewhere"]["queue"] == "other"
    assert actors["elsewhere"]["defaults"]["priority"] == 8
    assert actors["limited"]["defaults"]["time_limit_seconds"] == 2.5
    assert actors["never_gives_up"]["defaults"]["max_retries"] is None


def test_a_bulk_keeps_its_order_and_is_one_statement(alice, django_assert_num_queries):
    tasks = [{"actor": "add", "payload": {"a": number}} for number in range(1000)]
    alice.submit()
    with django_assert_num_queries(2):  # the token, the tasks
        response = alice.send(f"{TASKS}/bulk", {"tasks": tasks})
    assert response.status_code == 201
    answers = response.json()["tasks"]
    assert [answer["payload"]["a"] for answer in answers] == list(range(1000))
    assert set(answers[0]) == ANSWER
    assert sorted(answer["id"] for answer in answers) == [answer["id"] for answer in answers]
    assert Task.objects.count() == 1001


def test_a_bulk_is_all_or_nothing(alice):
    tasks: list[Any] = [{"actor": "add", "payload": {"a": 1}} for _ in range(5)]
    tasks[1] = {"actor": "no_such"}
    tasks[2] = {"actor": "add", "payload": {"a": 1}, "priority": 11, "nope": 1}
    tasks[3] = "a task"
    body = assert_problem(alice.send(f"{TASKS}/bulk", {"tasks": tasks}), 400, code="invalid")
    assert [error["field"] for error in body["errors"]] == [
        "tasks.1.actor",
        "tasks.2.priority",
        "tasks.2.nope",
        "tasks.3",
    ]
    assert not Task.objects.exists()


def test_a_bulk_names_wrong_payloads_by_place(alice):
    tasks = [{"actor": "add", "payload": {"a": 1}}, {"actor": "add", "payload": {"a": "x"}}, {"actor": "add"}]
    body = assert_problem(alice.send(f"{TASKS}/bulk/", {"tasks": tasks}), 400, code="invalid")
    assert [error["field"] for error in body["errors"]] == ["tasks.1.payload.a", "tasks.2.payload.a"]
    assert not Task.objects.exists()


def test_a_thousand_errors_are_not_all_listed(alice):
    body = assert_problem(alice.send(f"{TASKS}/bulk", {"tasks": [{"nope": 1}] * 1000}), 400)
    assert len(body["errors"]) == 100


def test_submitting_asks_the_database_twice(alice, django_assert_num_queries):
    alice.submit()
    with django_assert_num_queries(2):  # the token, the task
        alice.submit()


def test_the_callers_trace_goes_onto_the_row_and_back(alice):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    response = alice.send(TASKS, {"actor": "add", "payload": {"a": 1}}, headers={"x-trace-id": trace_id})
    assert response["X-Trace-Id"] == response.json()["trace_id"] == Task.objects.get().trace_id == trace_id


def test_run_at_is_read_in_every_common_form(alice):
    for text in (
        *("2099-01-31T09:00:00Z", "2099-01-31T09:00:00.000+00:00", "2099-01-31 09:00:00Z", "20990131T090000Z"),
        *("2099-01-31t09:00:00z", "2099-01-31T10:00+01"),
    ):
        assert alice.submit(run_at=text).json()["run_at"] == "2099-01-31T09:00:00Z"
    assert datetime(2099, 1, 31, 9, tzinfo=UTC) == Task.objects.values_list("run_at", flat=True)[0]


def test_a_whole_number_may_be_written_with_its_point(alice):
    task = alice.submit(priority=7.0, max_retries=2.0).json()
    assert (task["priority"], task["max_retries"]) == (7, 2)
    assert isinstance(task["priority"], int)
