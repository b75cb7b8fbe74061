"""The doors agree: each case once, at REST and at gRPC, with the same outcome."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import Error, OperationalError

from tasks import lifecycle
from tasks.contract import authentication, rate_limit
from tasks.contract.rate_limit import MemoryBuckets
from tasks.lifecycle import NewBatch, batches, workers
from tasks.models import ApiToken, Journal, Queue, Task, Worker
from tasks.states import Door, Scope, Status
from tests import factories
from tests.callers import Caller
from tests.contract.doors import DOORS, Grpc, Outcome

DO = {"do": "return"}
pytestmark = pytest.mark.django_db


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Any:
    return DOORS[request.param]


def assert_refused(outcome: Outcome, code: str, *fields: str) -> None:
    assert outcome.code == code
    assert outcome.fields == set(fields)


# --- Submission ---------------------------------------------------------------------------------------------------


def test_a_task_is_submitted_with_all_its_fields(door: Any, alice: Caller) -> None:
    parent = factories.submit(owner_id=alice.id)
    fields = {
        "actor": "act",
        "payload": {"do": "return", "value": [2**60, 0.5, "ü"]},
        "priority": 9,
        "queue": "other",
        "run_at": "2099-01-01T00:00:00Z",
        "max_retries": 7,
        "min_backoff_seconds": 3.5,
        "max_backoff_seconds": 90,
        "retry_for_seconds": 1000,
        "time_limit_seconds": 0,
        "max_age_seconds": 60,
        "estimated_seconds": 5,
        "tags": ["red", "green"],
        "depends_on": [{"id": str(parent.pk), "on_failure": "run"}],
    }
    outcome = door.submit(alice, **fields)
    assert outcome.fields == set()
    made = outcome.body
    assert {name: made[name] for name in fields if name != "depends_on"} == {
        name: value for name, value in fields.items() if name != "depends_on"
    }
    (edge,) = made["depends_on"]
    assert (edge["id"], edge.get("batch"), edge["on_failure"], edge["state"]) == (str(parent.pk), None, "run", "NEW")
    assert made["status"] == Status.BLOCKED
    row = Task.objects.get(pk=made["id"])
    assert (row.owner_id, row.payload, row.max_retries) == (alice.id, fields["payload"], 7)


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ({}, "invalid", ["actor"]),
        ({"actor": "nobody"}, "unknown_actor", ["actor"]),
        ({"actor": "act", "priority": 11}, "invalid", ["priority"]),
        ({"actor": "act", "priority": -1, "max_retries": -1}, "invalid", ["priority", "max_retries"]),
        ({"actor": "act", "payload": DO, "queue": "nowhere"}, "invalid", ["queue"]),
        ({"actor": "act", "payload": {}}, "invalid", ["payload.do"]),
        ({"actor": "act", "payload": DO, "tags": [""]}, "invalid", ["tags"]),
        ({"actor": "act", "delay_seconds": -1}, "invalid", ["delay_seconds"]),
        ({"actor": "act", "delay_seconds": 1, "run_at": "2030-01-01T00:00:00Z"}, "invalid", ["run_at"]),
        ({"actor": "act", "run_at": "9999-12-31T00:00:00Z"}, "invalid", ["run_at"]),
        ({"actor": "act", "depends_on": ["nonsense"]}, "invalid", ["depends_on"]),
        ({"actor": "act", "payload": DO, "depends_on": [str(uuid4())]}, "invalid", ["depends_on"]),
        ({"actor": "act", "unique": {"key": ""}}, "invalid", ["unique"]),
        ({"actor": "act", "fairness_key": ""}, "invalid", ["fairness_key"]),
        ({"actor": "act", "max_retries": 101}, "invalid", ["max_retries"]),
    ],
)
def test_a_bad_task_is_refused_by_its_field(door: Any, alice: Caller, body: Any, code: str, fields: list[str]) -> None:
    assert_refused(door.submit(alice, **body), code, *fields)
    assert not Task.objects.exists()


def test_a_key_makes_one_task_and_is_for_one_content(door: Any, alice: Caller, bob: Caller) -> None:
    first = door.submit(alice, key="k", actor="act", payload=DO)
    again = door.submit(alice, key="k", actor="act", payload=DO)
    assert first.body["id"] == again.body["id"]
    assert_refused(door.submit(alice, key="k", actor="act", payload=DO, priority=2), "idempotency_key_reused")
    assert door.submit(bob, key="k", actor="act", payload=DO).body["id"] != first.body["id"]
    assert Task.objects.count() == 2


def test_a_key_of_one_door_is_known_at_the_other(alice: Caller) -> None:
    bodies = {"actor": "act", "payload": {"do": "return", "value": 3}, "priority": 4, "delay_seconds": 10}
    ids = {one.submit(alice, key="k", **bodies).body["id"] for one in DOORS.values()}
    assert len(ids) == 1


def test_a_unique_key_that_is_held_refuses_or_returns(door: Any, alice: Caller) -> None:
    rule = {"key": "u", "until": "started", "ttl_seconds": 60}
    made = door.submit(alice, actor="act", payload=DO, unique=rule).body
    held = made["id"]
    assert {**rule, "on_conflict": "return", "outcome": "created"}.items() <= made["unique"].items()
    assert door.submit(alice, actor="act", payload=DO, unique={"key": "u"}).body["id"] == held
    refused = door.submit(alice, actor="act", payload=DO, unique={"key": "u", "on_conflict": "reject"})
    assert refused.code == "duplicate"


def test_many_are_accepted_or_none(door: Any, alice: Caller) -> None:
    good = {"actor": "act", "payload": DO}
    child = {**good, "depends_on": [{"ref": "a"}]}
    made = door.submit_many(alice, {**good, "ref": "a"}, child, key="k").body["tasks"]
    assert [one["status"] for one in made] == ["PENDING", "BLOCKED"]
    assert [one["id"] for one in door.submit_many(alice, {**good, "ref": "a"}, child, key="k").body["tasks"]] == [
        one["id"] for one in made
    ]
    assert_refused(door.submit_many(alice, good, {"actor": "act", "priority": 99}), "invalid", "tasks.1.priority")
    assert_refused(door.submit_many(alice), "invalid", "tasks")
    assert_refused(door.submit_many(alice, *([good] * 1_001)), "invalid", "tasks")
    assert Task.objects.count() == 2


def test_many_become_due_over_a_time(door: Any, alice: Caller) -> None:
    good = {"actor": "act", "payload": DO}
    made = door.submit_many(alice, good, good, good, spread_seconds=90).body["tasks"]
    first, second, third = (datetime.fromisoformat(one["run_at"]) for one in made)
    assert (second - first, third - second) == (timedelta(seconds=30), timedelta(seconds=30))
    assert_refused(door.submit_many(alice, good, spread_seconds=-1), "invalid", "spread_seconds")


def test_tasks_come_only_into_batches_that_the_caller_may_add_to(door: Any, alice: Caller, bob: Caller) -> None:
    created = batches.create(NewBatch(owner_id=alice.id))
    task = {"actor": "act", "payload": DO, "batch": str(created.batch.pk)}
    assert door.submit(alice, **task).body["batch"] == task["batch"]
    assert_refused(door.submit(bob, **task), "not_found")
    assert_refused(door.submit_many(bob, task), "not_found")
    assert Task.objects.count() == 1


def test_the_limit_counts_tasks(door: Any, alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = MemoryBuckets(clock=lambda: 0.0)
    monkeypatch.setattr(rate_limit, "_buckets", lambda: buckets)
    settings.SUBMIT_RATE_LIMIT = "3/m"
    good = {"actor": "act", "payload": DO}
    assert not door.submit_many(alice, good, good).code
    assert door.submit_many(alice, good, good).code == "rate_limited"
    assert door.submit_many(alice, good, good, good, good).code == "too_many_at_once"
    assert not door.submit(alice, **good).code
    assert door.submit(alice, **good).code == "rate_limited"


def test_refused_requests_are_limited(door: Any, alice: Caller, settings: Any, monkeypatch: Any) -> None:
    buckets = MemoryBuckets(clock=lambda: 0.0)
    monkeypatch.setattr(rate_limit, "_buckets", lambda: buckets)
    settings.REFUSED_RATE_LIMIT = "2/m"
    codes = [door.submit(alice, actor="nobody").code for _ in range(4)]
    assert codes == ["unknown_actor", "unknown_actor", "unknown_actor", "too_many_refused"]
    assert not door.tasks(alice).code


# --- Access -------------------------------------------------------------------------------------------------------


def test_without_a_valid_token_nothing_is_answered(door: Any, db: None) -> None:
    wrong = Caller(authorization="Bearer wrong")
    basic = Caller(authorization="Basic YTpi")
    for caller in (Caller(), wrong, basic):
        for outcome in (door.tasks(caller), door.submit(caller, actor="act", payload=DO), door.stats(caller)):
            assert_refused(outcome, "not_authenticated")


def test_a_blocked_user_is_refused(door: Any, alice: Caller) -> None:
    User.objects.update(is_active=False)
    assert_refused(door.tasks(alice), "not_authenticated")


def test_a_token_does_what_its_scopes_say(door: Any, alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    ApiToken.objects.update(scopes=[Scope.READ])
    assert door.task(alice, task.pk).body["id"] == str(task.pk)
    assert_refused(door.submit(alice, actor="act", payload=DO), "not_allowed")
    assert_refused(door.cancel(alice, task.pk), "not_allowed")


def test_a_token_reaches_its_actors_and_queues(door: Any, alice: Caller) -> None:
    ApiToken.objects.update(queues=["other"])
    hidden, seen = (factories.submit(owner_id=alice.id, queue=name) for name in ("default", "other"))
    assert [one["id"] for one in door.tasks(alice).body["results"]] == [str(seen.pk)]
    assert_refused(door.task(alice, hidden.pk), "not_found")
    assert_refused(door.submit(alice, actor="act", payload=DO), "not_allowed", "queue")


def test_users_see_their_own_tasks(door: Any, alice: Caller, bob: Caller, staff: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    assert door.task(alice, task.pk).body["payload"] == DO
    assert_refused(door.task(bob, task.pk), "not_found")
    assert_refused(door.cancel(bob, task.pk), "not_found")
    assert_refused(door.task(bob, "nonsense"), "not_found")
    assert door.tasks(bob).body["results"] == []
    assert len(door.tasks(staff).body["results"]) == 1


def test_plain_users_are_kept_from_the_operators_calls(door: Any, alice: Caller, worker: Any) -> None:
    for outcome in (
        door.queues(alice),
        door.pause(alice, "default"),
        door.workers(alice),
        door.worker(alice, worker.pk),
        door.drain(alice, worker.pk),
        door.stats(alice),
    ):
        assert_refused(outcome, "not_allowed")


# --- Reading ------------------------------------------------------------------------------------------------------


def test_lists_have_filters_and_cursors(door: Any, alice: Caller) -> None:
    made = [str(factories.submit(owner_id=alice.id, priority=n, tags=["t"]).pk) for n in (1, 5, 9)][::-1]
    first = door.tasks(alice, limit=2).body
    assert [one["id"] for one in first["results"]] == made[:2]
    second = door.tasks(alice, limit=2, cursor=first["next_cursor"]).body
    assert [one["id"] for one in second["results"]] == made[2:]
    assert not second.get("next_cursor")
    back = door.tasks(alice, limit=2, cursor=second["previous_cursor"]).body
    assert [one["id"] for one in back["results"]] == made[:2]
    assert [one["id"] for one in door.tasks(alice, band="high", tag="t", status="PENDING").body["results"]] == made[:1]
    assert door.tasks(alice, created_after="2099-01-01T00:00:00Z").body["results"] == []


@pytest.mark.parametrize(
    ("filters", "field"),
    [({"limit": 0}, "limit"), ({"limit": 501}, "limit"), ({"cursor": "x"}, "cursor"), ({"priority": 11}, "priority"),
     ({"schedule": "x"}, "schedule"), ({"actor": ""}, "actor")],
)  # fmt: skip
def test_a_bad_filter_is_named(door: Any, alice: Caller, filters: Any, field: str) -> None:
    assert_refused(door.tasks(alice, **filters), "invalid_query", field)


def test_results_are_read(door: Any, alice: Caller, worker: Any) -> None:
    task = factories.make_task(Status.SUCCEEDED, worker=worker, owner_id=alice.id)
    Task.objects.filter(pk=task.pk).update(result={"n": 2**60})
    outcome = door.result(alice, task.pk).body
    assert (outcome["status"], outcome["result"]) == ("SUCCEEDED", {"n": 2**60})


def test_both_doors_write_a_task_alike(staff: Caller, life: Task) -> None:
    rest, grpc = (dict(one.task(staff, life.pk).body) for one in DOORS.values())
    grpc = {name: value for name, value in grpc.items() if name != "task"}
    assert {"status", "attempt", "tags", "started_at", "trace_id"} <= set(grpc)
    for name in ("expected_start_seconds", "waiting_for"):
        # Of this moment, and with more facts in REST.
        rest.pop(name), grpc.pop(name, None)
    assert {name: rest[name] for name in grpc} == grpc
    left_out = {name: value for name, value in rest.items() if name not in grpc}
    assert set(left_out) - {name for name, value in left_out.items() if not value} == {"url"}


# --- Verbs --------------------------------------------------------------------------------------------------------


def test_a_task_is_cancelled_and_retried_with_a_reason(door: Any, alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    assert door.cancel(alice, task.pk, reason="not needed").body["status"] == "CANCELLED"
    assert_refused(door.cancel(alice, task.pk), "illegal_transition")
    assert door.retry(alice, task.pk).body["status"] == "PENDING"
    assert_refused(door.retry(alice, task.pk), "illegal_transition")
    assert_refused(door.cancel(alice, task.pk, reason="two\nlines"), "invalid", "reason")
    entry = Journal.objects.get(task=task, verb="cancel")
    expected = Door.GRPC if isinstance(door, Grpc) else Door.API
    assert (entry.by, entry.door, entry.reason) == ("alice", expected, "not needed")


def test_a_whole_workflow_is_cancelled(door: Any, alice: Caller) -> None:
    parent = factories.submit(owner_id=alice.id)
    child = factories.submit(owner_id=alice.id, depends_on=[parent.pk])
    assert door.cancel(alice, parent.pk, workflow=True).body["status"] == "CANCELLED"
    child.refresh_from_db()
    assert child.status == Status.CANCELLED


def test_dead_letters_are_redriven_and_discarded(door: Any, alice: Caller, worker: Any) -> None:
    tasks = [factories.make_task(Status.DEAD, worker=worker, owner_id=alice.id) for _ in range(2)]
    first, second = map(factories.open_letter, tasks)
    listed = door.dead_letters(alice, resolution="open", reason="max_retries_exceeded").body["results"]
    assert [one["id"] for one in listed] == [str(second.pk), str(first.pk)]
    assert len(door.dead_letters(alice, failure=first.fingerprint).body["results"]) == 2
    assert door.dead_letters(alice, failure="0" * 32).body["results"] == []
    assert door.dead_letter(alice, first.pk).body["task_id"] == str(tasks[0].pk)
    redriven = door.redrive(alice, first.pk).body
    assert (redriven["resolution"], redriven["task_status"]) == ("REDRIVEN", "PENDING")
    assert_refused(door.redrive(alice, first.pk), "already_resolved")
    assert door.discard(alice, second.pk).body["resolution"] == "DISCARDED"
    assert_refused(door.discard(alice, uuid4()), "not_found")
    assert door.restore(alice, second.pk, reason="too early").body["resolution"] == "OPEN"
    assert_refused(door.restore(alice, second.pk), "illegal_transition")
    assert_refused(door.restore(alice, uuid4()), "not_found")


def test_a_dead_letter_is_redriven_with_another_payload(door: Any, alice: Caller, bob: Caller, worker: Any) -> None:
    task = factories.make_task(Status.DEAD, worker=worker, owner_id=alice.id)
    letter, payload = factories.open_letter(task), {"do": "return", "value": 7}
    assert_refused(
        door.redrive(alice, letter.pk, payload={"do": "return", "nonsense": 1}), "invalid", "payload.nonsense"
    )
    assert_refused(door.redrive(bob, letter.pk, payload=payload), "not_found")
    assert Task.objects.get(pk=task.pk).payload == task.payload
    assert door.redrive(alice, letter.pk, payload=payload).body["task_status"] == "PENDING"
    assert Task.objects.get(pk=task.pk).payload == payload


def test_queues_are_paused_and_resumed(door: Any, staff: Caller, worker: Any) -> None:
    assert door.pause(staff, "default", reason="rest").body["paused_at"]
    assert Queue.objects.get(name="default").paused_at
    assert not door.resume(staff, "default").body.get("paused_at")
    assert_refused(door.pause(staff, "nowhere"), "not_found")
    assert {"default", "other"} <= {one["name"] for one in door.queues(staff).body["results"]}


def test_workers_are_listed_and_drained(door: Any, staff: Caller, worker: Any) -> None:
    assert [one["id"] for one in door.workers(staff, status=["ALIVE"]).body["results"]] == [str(worker.pk)]
    task = factories.make_task(Status.RUNNING, worker=worker)
    assert door.worker(staff, worker.pk).body["running"] == [str(task.pk)]
    assert door.drain(staff, worker.pk).body["status"] == "DRAINING"
    assert_refused(door.drain(staff, "x"), "not_found")


def test_a_worker_that_is_deleted_beside_its_drain_is_not_found(
    door: Any, staff: Caller, worker: Any, monkeypatch
) -> None:
    monkeypatch.setattr(workers, "ask_to_drain", lambda *_, **__: Worker.objects.all().delete())
    assert_refused(door.drain(staff, worker.pk), "not_found")


def test_statistics_are_read(door: Any, staff: Caller, worker: Any) -> None:
    factories.submit()
    outcome = door.stats(staff, minutes=10).body
    assert outcome["tasks"]["PENDING"] == 1
    assert outcome["recent"]["minutes"] == 10
    assert [one["id"] for one in outcome["workers"]] == [str(worker.pk)]
    assert_refused(door.stats(staff, minutes=0), "invalid_query", "minutes")


# --- Failures -----------------------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_told(door: Any, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(authentication, "token_for_secret", fail)
    assert_refused(door.tasks(alice), "database_unavailable")


def test_a_defect_is_an_error_without_its_text(door: Any, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise Error("a secret")

    monkeypatch.setattr(authentication, "token_for_secret", fail)
    assert_refused(door.tasks(alice), "error")


# --- Watching -----------------------------------------------------------------------------------------------------


def test_events_are_told_from_any_point_on(door: Any, alice: Caller, worker: Worker) -> None:
    task = factories.submit(owner_id=alice.id)
    first = door.events(alice, task.pk).body["results"]
    assert [one["type"] for one in first] == ["submitted", "status"]
    claimed = factories.start(task, worker)
    lifecycle.complete_many([factories.outcome(claimed, worker, result={"n": 2**60})])
    rest = door.events(alice, task.pk, first[-1]["id"]).body["results"]
    assert [(one["type"], one["attempt"]) for one in rest] == [("attempt", 1), ("status", 1)]
    assert (rest[0]["outcome"], rest[1]["status"], rest[1]["result"]) == ("SUCCEEDED", "SUCCEEDED", {"n": 2**60})
    assert door.events(alice, task.pk, rest[-1]["id"]).body["results"] == []


def test_an_id_of_one_door_is_known_at_the_other(alice: Caller) -> None:
    task = factories.make_task(Status.CANCELLED, owner_id=alice.id)
    told = [[one["id"] for one in door.events(alice, task.pk).body["results"]] for door in DOORS.values()]
    assert told[0] == told[1]


def test_acts_are_told(door: Any, alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    door.cancel(alice, task.pk, reason="too late")
    (act,) = (one for one in door.events(alice, task.pk).body["results"] if one["type"] == "act")
    assert (act["verb"], act["by"], act["reason"]) == ("cancel", "alice", "too late")


def test_who_may_not_see_a_task_may_not_watch_it(door: Any, alice: Caller, bob: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    assert_refused(door.events(bob, task.pk), "not_found")
    assert_refused(door.events(alice, uuid4()), "not_found")
    assert_refused(door.events(alice, "nonsense"), "not_found")
    assert_refused(door.events(Caller(), task.pk), "not_authenticated")
    ApiToken.objects.update(scopes=[Scope.SUBMIT])
    assert_refused(door.events(alice, task.pk), "not_allowed")


@pytest.mark.parametrize("last", ["abc", "9-0-0-0", "1-2-3"])
def test_an_unknown_last_event_is_refused(door: Any, alice: Caller, last: str) -> None:
    task = factories.submit(owner_id=alice.id)
    assert_refused(door.events(alice, task.pk, last), "invalid_query", "last_event_id")


def test_watchers_see_what_readers_see(door: Any, alice: Caller, staff: Caller, worker: Worker) -> None:
    task = factories.submit(owner_id=alice.id)
    claimed = factories.start(task, worker)
    lifecycle.complete_many([factories.outcome(claimed, worker, result={"password": "hunter2"})])
    shown = [door.events(caller, task.pk).body["results"][-1]["result"] for caller in (alice, staff)]
    assert shown[0] == {"password": "hunter2"}
    assert shown[1] == door.result(staff, task.pk).body["result"] != shown[0]
