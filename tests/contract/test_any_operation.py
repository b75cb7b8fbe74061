"""The doors agree on batches, schedules, failures, operations, and what else operators do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.contract import rate_limit
from tasks.contract.rate_limit import MemoryBuckets
from tasks.models import ApiToken, Batch, Operation, Schedule, Task
from tasks.states import Scope, Status
from tests import factories
from tests.callers import Caller
from tests.contract.any_operation import CALLS
from tests.contract.test_doors import assert_refused

GOOD = {"actor": "act", "payload": {"do": "return"}}
HOURLY = {"name": "hourly", **GOOD, "cron": "0 * * * *"}
NOWHERE = "0197a000-0000-7000-8000-000000000000"
pytestmark = pytest.mark.django_db


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Any:
    return CALLS[request.param]


@pytest.fixture
def letters(worker: Any) -> list[DeadLetter]:
    for tags in (["a"], ["a"], ["b"]):
        factories.make_task(Status.DEAD, worker=worker, tags=tags)
    lifecycle.fold_failures(**factories.make_lead())
    return list(DeadLetter.objects.newest_first())


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")


# --- Batches ------------------------------------------------------------------------------------------------------


def test_a_batch_is_made_filled_closed_and_read(call: Any, alice: Caller) -> None:
    wanted = {"name": "night", "tasks": [GOOD, GOOD], "open": True, "spread_seconds": 60, "on_complete": GOOD}
    made = call(alice, "createBatch", **wanted, idempotency_key="k").body
    again = call(alice, "createBatch", **wanted, idempotency_key="k").body
    assert (made["name"], made["status"], len(made["task_ids"])) == ("night", "OPEN", 2)
    assert again["task_ids"] == made["task_ids"]
    assert made["on_complete"] == {"actor": "act", **({"task_id": None} if "url" in made else {})}
    first, second = Task.objects.filter(pk__in=made["task_ids"]).order_by("run_at")
    assert second.run_at - first.run_at == timedelta(seconds=30)
    assert call(alice, "submitTask", **GOOD, batch=made["id"]).body["batch"] == made["id"]
    closed = call(alice, "closeBatch", made["id"], reason="all are in").body
    assert (closed["status"], closed["total"]) == ("RUNNING", 3)
    assert call(alice, "readBatch", made["id"]).body["unfinished"] == 3
    assert_refused(call(alice, "submitTask", **GOOD, batch=made["id"]), "illegal_transition")
    assert [one["id"] for one in call(alice, "listBatches", status=["RUNNING"]).body["results"]] == [made["id"]]
    assert not call(alice, "listBatches", status=["OPEN"]).body.get("results")


def test_a_batch_is_cancelled_with_who_and_why(call: Any, alice: Caller, bob: Caller) -> None:
    made = call(alice, "createBatch", tasks=[GOOD]).body
    for name in ("readBatch", "closeBatch", "cancelBatch"):
        assert_refused(call(bob, name, made["id"]), "not_found")
    cancelled = call(alice, "cancelBatch", made["id"], reason="not needed").body
    assert (cancelled["cancelled_by"], cancelled["cancel_reason"]) == ("alice", "not needed")
    assert Task.objects.get().status == Status.CANCELLED
    assert_refused(call(alice, "readBatch", NOWHERE), "not_found")


def test_a_bad_batch_names_its_fields_and_makes_nothing(call: Any, alice: Caller) -> None:
    bad = {"tasks": [{**GOOD, "priority": 99}], "on_success": {**GOOD, "queue": ""}, "spread_seconds": -1}
    assert_refused(
        call(alice, "createBatch", **bad), "invalid", "tasks.0.priority", "on_success.queue", "spread_seconds"
    )
    ApiToken.objects.update(scopes=[Scope.READ])
    assert_refused(call(alice, "createBatch", tasks=[GOOD]), "not_allowed")
    assert not Batch.objects.exists()


def test_the_limit_counts_the_tasks_of_a_batch(call: Any, alice: Caller, settings: Any, monkeypatch: Any) -> None:
    buckets = MemoryBuckets(clock=lambda: 0.0)
    monkeypatch.setattr(rate_limit, "_buckets", lambda: buckets)
    settings.SUBMIT_RATE_LIMIT = "3/m"
    assert not call(alice, "createBatch", tasks=[GOOD, GOOD]).code
    assert_refused(call(alice, "createBatch", tasks=[GOOD], on_success=GOOD), "rate_limited")


# --- Failures -----------------------------------------------------------------------------------------------------


def test_a_failure_is_read_and_looked_after(call: Any, staff: Caller, letters: list[DeadLetter]) -> None:
    (listed,) = call(staff, "listFailures", open="true" if call is CALLS["rest"] else True, limit=5).body["results"]
    print_ = listed["fingerprint"]
    assert (listed["open"], listed["actor"]) == (3, "act")
    found = call(staff, "readFailure", print_).body
    assert (found["compared"], found["open"]) == (3, 3)
    assert {one["kind"] for one in found["in_common"]} >= {"tag", "queue"}
    changed = call(staff, "changeFailure", print_, assignee="ada", note="known", snoozed_until=in_an_hour()).body
    assert (changed["assignee"], changed["note"], bool(changed["snoozed_until"])) == ("ada", "known", True)
    snoozed = call(staff, "changeFailure", print_, snoozed_until_new_build=True).body
    assert (snoozed["snoozed_until_new_build"], bool(snoozed.get("snoozed_until"))) == (True, False)
    cleared = call(staff, "changeFailure", print_, snoozed_until_new_build=None, note=None).body
    assert not cleared.get("snoozed_until_new_build")
    assert not cleared.get("snoozed_until")
    assert not cleared.get("note")
    assert cleared["assignee"] == "ada"
    assert len(call(staff, "listDeadLetters", failure=print_).body["results"]) == 3


def test_a_bad_change_of_a_failure_changes_nothing(call: Any, staff: Caller, letters: list[DeadLetter]) -> None:
    failure = Failure.objects.get()
    assert call(staff, "changeFailure", failure.pk).code == "invalid"
    assert_refused(call(staff, "changeFailure", failure.pk, note="x" * 5_000), "invalid", "note")
    assert_refused(call(staff, "changeFailure", "0" * 32, note="x"), "not_found")
    assert_refused(call(staff, "listFailures", limit=0), "invalid_query", "limit")
    failure.refresh_from_db()
    assert failure.note == ""


# --- Operations ---------------------------------------------------------------------------------------------------


def test_an_operation_is_previewed_paced_and_followed(call: Any, staff: Caller, letters: list[DeadLetter]) -> None:
    wanted = {"verb": "redrive", "filter": {"actor": "act", "resolution": ["open"]}, "canary": 1}
    begun = call(
        staff, "beginOperation", **wanted, rate_per_second=50, stop_percent=20, preview=True, reason="the fix is out"
    ).body
    assert (begun["state"], begun["total"], begun["rate_per_second"]) == ("PREVIEW", 3, 50)
    assert (begun["canary"], begun["stop_percent"], begun["reason"]) == (1, 20, "the fix is out")
    assert set(begun["filter"]) == {"actor", "resolution"}
    paced = call(staff, "changeOperation", begun["id"], rate_per_second=None, stop_percent=5).body
    assert (paced.get("rate_per_second"), paced["stop_percent"]) == (None, 5)
    assert call(staff, "resumeOperation", begun["id"]).body["state"] == "CANARY"
    lifecycle.step_operation(Operation.objects.get().pk, **factories.make_lead())
    read = call(staff, "readOperation", begun["id"]).body
    assert (read["moved"], read["left"]) == (1, 2)
    (item,) = call(staff, "listOperationItems", begun["id"], state=["moved"]).body["results"]
    assert Task.objects.get(pk=item["task_id"]).status == Status.PENDING
    first = call(staff, "listOperationItems", begun["id"], limit=2).body
    assert len(first["results"]) == 2
    assert call(staff, "pauseOperation", begun["id"], reason="look").body["state"] == "PAUSED"
    assert [one["id"] for one in call(staff, "listOperations", state=["paused"]).body["results"]] == [begun["id"]]
    assert call(staff, "cancelOperation", begun["id"]).body["state"] == "CANCELLED"
    assert_refused(call(staff, "pauseOperation", begun["id"]), "illegal_transition")


def test_an_operation_edits_tasks_by_id(call: Any, staff: Caller) -> None:
    task = factories.submit(tags=["old"])
    begun = call(staff, "beginOperation", verb="edit", ids=[str(task.pk)], change={"priority": 9, "tags": ["new"]}).body
    assert (begun["change"]["priority"], begun["change"]["tags"]) == (9, ["new"])
    lifecycle.step_operation(Operation.objects.get().pk, **factories.make_lead())
    task.refresh_from_db()
    assert (task.priority, task.tags) == (9, ["new"])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"verb", "filter"}),
        ({"verb": "redrive"}, {"filter"}),
        ({"verb": "redrive", "filter": {"nonsense": "x"}}, {"filter.nonsense"}),
        ({"verb": "cancel", "filter": {"limit": "10"}}, {"filter.limit"}),
        ({"verb": "redrive", "filter": {"actor": "act", "cursor": "x"}}, {"filter.cursor"}),
        ({"verb": "redrive", "filter": {"actor": "act"}, "ids": [NOWHERE]}, {"filter"}),
        ({"verb": "cancel", "filter": {"actor": "act"}, "canary": 5}, {"canary"}),
        ({"verb": "edit", "filter": {"actor": "act"}}, {"change"}),
        ({"verb": "edit", "filter": {"actor": "act"}, "change": {"priority": 99}}, {"change.priority"}),
        ({"verb": "edit", "filter": {"actor": "act"}, "change": {"payload": {}}}, {"change.payload"}),
        ({"verb": "retry", "filter": {"actor": "act"}, "rate_per_second": 0}, {"rate_per_second"}),
    ],
)
def test_a_bad_operation_names_its_fields_and_makes_none(call: Any, staff: Caller, body: Any, fields: Any) -> None:
    assert_refused(call(staff, "beginOperation", **body), "invalid", *fields)
    assert not Operation.objects.exists()


# --- Schedules ----------------------------------------------------------------------------------------------------


def test_a_schedule_is_added_edited_and_removed(call: Any, staff: Caller) -> None:
    made = call(staff, "addSchedule", **HOURLY, overlap="buffer_one", priority=9, tags=["t"], reason="new").body
    assert (made["cron"], made["overlap"], made["priority"], made["tags"]) == ("0 * * * *", "buffer_one", 9, ["t"])
    assert call(staff, "readSchedule", made["id"]).body["payload"] == {"do": "return"}
    edited = call(staff, "editSchedule", made["id"], every_seconds=90, priority=None, catch_up="all").body
    assert (edited.get("cron"), edited["every_seconds"], edited["catch_up"]) == (None, 90, "all")
    assert edited.get("priority") is None
    assert edited["tags"] == ["t"]
    assert [one["id"] for one in call(staff, "listSchedules", actor="act").body["results"]] == [made["id"]]
    assert not call(staff, "removeSchedule", made["id"]).code
    assert_refused(call(staff, "readSchedule", made["id"]), "not_found")


def test_a_schedule_is_paused_resumed_run_filled_and_previewed(call: Any, staff: Caller) -> None:
    id = call(staff, "addSchedule", **HOURLY).body["id"]
    assert call(staff, "pauseSchedule", id, reason="rest").body["pause_reason"] == "rest"
    assert not call(staff, "resumeSchedule", id).body.get("paused_at")
    ran = call(staff, "runSchedule", id).body
    assert (ran["actor"], ran["schedule_id"]) == ("act", id)
    (result,) = call(staff, "readSchedule", id).body["last_results"]
    assert result["status"] == "PENDING"
    span = {"starts_at": "2024-01-01T00:00:00Z", "ends_at": "2024-01-01T03:00:00Z"}
    filled = call(staff, "backfillSchedule", id, **span).body
    assert filled["fires"] == 4
    fires = call(staff, "previewSchedule", id, after="2030-01-01T00:30:00Z", limit=2).body["results"]
    assert [one["local"] for one in fires] == ["2030-01-01T01:00:00+00:00", "2030-01-01T02:00:00+00:00"]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"cron": "every day"}, {"cron"}),
        ({"actor": None}, {"actor"}),
        ({"cron": None}, {"cron"}),
        ({"cron": "0 * * * *", "every_seconds": 5}, {"every_seconds"}),
        ({"taken_over": True}, {"taken_over"}),
        ({"taken_over": False, "timezone": "UTC"}, {"taken_over"}),
        ({"nonsense": None}, {"nonsense"}),
    ],
)
def test_a_bad_edit_of_a_schedule_changes_nothing(call: Any, staff: Caller, change: Any, fields: Any) -> None:
    schedule = factories.make_schedule()
    assert_refused(call(staff, "editSchedule", schedule.pk, **change), "invalid", *fields)
    assert Schedule.objects.get().version == schedule.version


def test_what_code_declares_is_taken_over_and_given_back(call: Any, staff: Caller) -> None:
    schedule = factories.make_schedule(is_declared=True)
    assert call(staff, "editSchedule", schedule.pk, timezone="Europe/Berlin").body["taken_over"] is True
    back = call(staff, "editSchedule", schedule.pk, taken_over=False).body
    assert (back.get("taken_over", False), back["timezone"]) == (False, "UTC")
    assert call(staff, "removeSchedule", schedule.pk).code


# --- Tasks --------------------------------------------------------------------------------------------------------


def test_a_waiting_task_is_edited_and_deleted(call: Any, alice: Caller, bob: Caller) -> None:
    task = factories.submit(owner_id=alice.id, tags=["t"])
    edited = call(alice, "editTask", task.pk, priority=9, payload={"do": "return", "value": 2**60}).body
    assert (edited["priority"], edited["payload"]["value"], edited["tags"]) == (9, 2**60, ["t"])
    assert call(alice, "editTask", task.pk).code == "invalid"
    assert_refused(call(alice, "editTask", task.pk, priority=0, queue=""), "invalid", "priority", "queue")
    assert_refused(call(bob, "editTask", task.pk, priority=1), "not_found")
    assert_refused(call(bob, "deleteTask", task.pk), "not_found")
    assert not call(alice, "deleteTask", task.pk, reason="a mistake").code
    assert not Task.objects.exists()


def test_tasks_are_found_by_values_in_their_payloads(call: Any, staff: Caller) -> None:
    task = factories.submit(payload={"do": "return", "value": {"id": 42}})
    factories.submit()
    found = call(staff, "listTasks", payload=["do:return", "value.id:42"]).body["results"]
    assert [one["id"] for one in found] == [str(task.pk)]
    assert_refused(call(staff, "listTasks", payload=["42"]), "invalid_query", "payload")


def test_attempts_are_listed(call: Any, staff: Caller, worker: Any) -> None:
    task = factories.make_task(Status.DEAD, worker=worker)
    (attempt,) = call(staff, "listAttempts", task.pk).body["results"]
    assert (attempt["number"], attempt["outcome"].upper(), attempt["worker_id"]) == (1, "FAILED", str(worker.pk))
    assert attempt["error"]["type"]
    assert_refused(call(staff, "listAttempts", task.pk, limit=0), "invalid_query", "limit")


def test_a_workflow_is_listed(call: Any, alice: Caller, bob: Caller) -> None:
    parent = factories.submit(owner_id=alice.id)
    child = factories.submit(owner_id=alice.id, depends_on=[parent.pk])
    found = call(alice, "listWorkflow", child.pk).body
    assert [one["id"] for one in found["results"]] == [str(parent.pk), str(child.pk)]
    assert (found["tasks"], found["statuses"], found["is_complete"]) == (2, {"PENDING": 1, "BLOCKED": 1}, True)
    assert [one["id"] for one in found["results"][1]["depends_on"]] == [str(parent.pk)]
    assert_refused(call(bob, "listWorkflow", child.pk), "not_found")


def test_a_signal_is_given_to_a_task(call: Any, alice: Caller, bob: Caller, worker: Any) -> None:
    task = factories.submit(owner_id=alice.id)
    assert call(alice, "signalTask", task.pk, signal="approved", payload={"by": [1]}).body["id"] == str(task.pk)
    assert_refused(call(alice, "signalTask", task.pk, signal="approved"), "already_resolved")
    assert_refused(call(alice, "signalTask", task.pk, signal="x" * 101), "invalid", "signal")
    assert_refused(call(bob, "signalTask", task.pk, signal="approved"), "not_found")


# --- Everything else ----------------------------------------------------------------------------------------------


def test_actors_the_journal_and_a_series_are_read(call: Any, staff: Caller) -> None:
    factories.submit()
    actors = {one["name"]: one for one in call(staff, "listActors").body["results"]}
    assert {"max_retries", "priority"} <= set(actors["act"]["defaults"])
    assert actors["act"]["payload_schema"]["type"] == "object"
    lifecycle.cancel(Task.objects.get().pk)
    (entry,) = call(staff, "listJournal", kind=["task"], verb="cancel", limit=5).body["results"]
    assert (entry["kind"], entry["object"], entry["actor"]) == ("task", str(Task.objects.get().pk), "act")
    series = call(staff, "readStatsSeries", window="24h", actor="act").body
    assert (series["window"], series["step_seconds"], len(series["points"])) == ("24h", 1800, 48)
    assert_refused(call(staff, "readStatsSeries", window="2h"), "invalid_query", "window")


@pytest.mark.parametrize("name", ["listFailures", "listOperations", "listJournal", "listSchedules", "readStatsSeries"])
def test_plain_users_are_kept_from_the_lists_of_operators(call: Any, alice: Caller, name: str) -> None:
    assert_refused(call(alice, name), "not_allowed")


def test_both_doors_write_a_row_alike(staff: Caller, letters: list[DeadLetter]) -> None:
    rows = {
        "readBatch": factories.make_batch(owner_id=staff.id, name="n").pk,
        "readSchedule": factories.make_schedule().pk,
        "readFailure": Failure.objects.get().pk,
        "readOperation": CALLS["rest"](staff, "beginOperation", verb="discard", filter={"actor": "act"}).body["id"],
    }
    for name, id in rows.items():
        rest, grpc = (dict(call(staff, name, id).body) for call in CALLS.values())
        rest.pop("filter", None), grpc.pop("filter", None)
        rest.pop("in_common", None), grpc.pop("in_common", None), grpc.pop("results", None)
        assert len(grpc) > 4
        assert {field: rest[field] for field in grpc} == grpc
        assert not {field: value for field, value in rest.items() if field not in grpc and value and field != "url"}
