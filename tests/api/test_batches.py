"""The REST API of batches: make, fill, read, close and cancel them."""

from typing import Any
from uuid import uuid4

import pytest

from tasks import lifecycle
from tasks.models import ApiToken, Batch, Task
from tasks.states import Status
from tests import factories
from tests.callers import TASKS, Caller, assert_problem

pytestmark = pytest.mark.django_db

BATCHES = "/api/v1/batches"
ACT = {"actor": "act", "payload": {"do": "return"}}


def make(caller: Caller, **body: Any) -> dict[str, Any]:
    response = caller.send(BATCHES, body)
    assert response.status_code == 201, response.content
    assert response["Location"] == response.json()["url"]
    made: dict[str, Any] = response.json()
    return made


def read(caller: Caller, batch: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = caller.get(batch["url"]).json()
    return found


def test_a_batch_is_made_with_its_tasks_and_counts_them(alice, worker, lead) -> None:
    batch = make(alice, name="import", tasks=[ACT, {**ACT, "priority": 9}], on_success={**ACT, "tags": ["done"]})
    assert (batch["status"], batch["name"], batch["total"], batch["unfinished"]) == ("RUNNING", "import", 2, 2)
    assert batch["on_success"] == {"actor": "act", "task_id": None}
    assert batch["on_death"] is None
    tasks = [Task.objects.get(pk=id) for id in batch["task_ids"]]
    assert [task.priority for task in tasks] == [5, 9]
    assert alice.get(f"{TASKS}/{tasks[0].pk}").json()["batch"] == batch["id"]
    listed = alice.get(f"{batch['url']}/tasks").json()["results"]
    assert {task["id"] for task in listed} == {*batch["task_ids"]}
    assert alice.get(f"{TASKS}?batch={batch['id']}&status=pending").json()["results"] == listed
    for task in tasks:
        lifecycle.succeed(factories.outcome(factories.start(task, worker), worker))
    assert (read(alice, batch)["succeeded"], read(alice, batch)["unfinished"]) == (2, 0)
    while lifecycle.settle_batches(**lead).changed:
        pass
    ended = read(alice, batch)
    assert (ended["status"], ended["ended_at"] is None) == ("SUCCEEDED", False)
    assert Task.objects.get(pk=ended["on_success"]["task_id"]).owner_id == alice.user.pk
    assert [one["id"] for one in alice.get(f"{BATCHES}?status=succeeded").json()["results"]] == [batch["id"]]
    assert alice.get(f"{BATCHES}?status=open").json()["results"] == []


def test_an_open_batch_takes_tasks_one_by_one_and_in_bulk_until_it_is_closed(alice) -> None:
    batch = make(alice)
    assert batch["status"] == "OPEN"
    assert alice.submit(batch=batch["id"]).status_code == 201
    bulk = alice.send(f"{TASKS}/bulk", {"tasks": [{**ACT, "batch": batch["id"]}, ACT]})
    assert [task["batch"] for task in bulk.json()["tasks"]] == [batch["id"], None]
    assert read(alice, batch)["total"] == 2
    assert alice.send(f"{batch['url']}/close").json()["status"] == "RUNNING"
    assert alice.send(f"{batch['url']}/close").status_code == 200
    assert_problem(alice.submit(batch=batch["id"]), 409, code="illegal_transition")
    assert read(alice, batch)["total"] == 2


def test_cancel_says_who_and_why(alice) -> None:
    batch = make(alice, tasks=[ACT, ACT], open=True)
    cancelled = alice.send(f"{batch['url']}/cancel", {"reason": "started twice"}).json()
    assert (cancelled["cancelled_by"], cancelled["cancel_reason"]) == ("alice", "started twice")
    assert (cancelled["cancelled"], cancelled["unfinished"]) == (2, 0)
    assert set(Task.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    Batch.objects.update(status="CANCELLED", ended_at="2030-01-01T00:00Z", cancel_before=None)
    assert_problem(alice.send(f"{batch['url']}/cancel"), 409, code="illegal_transition")


def test_a_foreign_batch_looks_like_none(alice, bob) -> None:
    batch = make(alice)
    for id in (batch["id"], str(uuid4())):
        assert_problem(bob.submit(batch=id), 404, code="not_found")
        assert_problem(bob.send(f"{TASKS}/bulk", {"tasks": [{**ACT, "batch": id}]}), 404, code="not_found")
        assert_problem(bob.send(f"{BATCHES}/{id}/cancel"), 404, code="not_found")
    assert bob.get(BATCHES).json()["results"] == []
    assert not Task.objects.exists()


def test_a_token_for_some_actors_cancels_no_tasks_of_others(alice) -> None:
    batch = make(alice, tasks=[ACT, {"actor": "note"}])
    _, secret = ApiToken.issue(user=alice.user, name="narrow", actors=["act"])
    narrow = Caller(authorization=f"Bearer {secret}")
    assert_problem(narrow.send(f"{batch['url']}/cancel"), 403, code="not_allowed")
    assert len(narrow.get(f"{batch['url']}/tasks").json()["results"]) == 1
    assert_problem(narrow.send(BATCHES, {"on_success": {"actor": "note"}}), 403, code="not_allowed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tasks": [ACT, {"actor": "act", "payload": {"do": "return"}, "priority": 11}]}, "tasks.1.priority"),
        ({"tasks": [{**ACT, "batch": str(uuid4())}]}, "tasks.0.batch"),
        ({"tasks": "all"}, "tasks"),
        ({"on_success": {"actor": "act", "priority": 11}}, "on_success.priority"),
        ({"on_success": [ACT]}, "on_success"),
        ({"on_success": {**ACT, "ref": "x"}}, "on_success.ref"),
        ({"open": "yes"}, "open"),
        ({"name": "x" * 201}, "name"),
        ({"spread_seconds": -1, "tasks": [ACT]}, "spread_seconds"),
        ({"on_failure": ACT}, "on_failure"),
    ],
)
def test_a_bad_batch_is_refused_and_nothing_is_made(alice, body, field) -> None:
    assert_problem(alice.send(BATCHES, body), 400, field=field)
    assert (Batch.objects.count(), Task.objects.count()) == (0, 0)


def test_an_unknown_actor_of_a_callback_is_named(alice) -> None:
    assert_problem(alice.send(BATCHES, {"on_death": {"actor": "nobody"}}), 400)


def test_a_batch_is_made_once_under_a_key(alice) -> None:
    body = {"tasks": [ACT, ACT], "on_success": ACT}
    first = alice.send(BATCHES, {**body, "idempotency_key": "k"})
    again = alice.post(BATCHES, body, content_type="application/json", headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code, again["Idempotency-Replayed"]) == (201, 200, "true")
    assert again.json() == first.json()
    assert_problem(alice.send(BATCHES, {"tasks": [ACT], "idempotency_key": "k"}), 422, code="idempotency_key_reused")
    assert (Batch.objects.count(), Task.objects.count()) == (1, 2)


@pytest.mark.parametrize("path", [BATCHES, f"{TASKS}/bulk"])
def test_spread_seconds_smears_a_bulk(alice, path) -> None:
    late = {**ACT, "delay_seconds": 60}
    assert alice.send(path, {"tasks": [ACT, ACT, late, ACT], "spread_seconds": 40}).status_code == 201
    due = [task.run_at - task.created_at for task in Task.objects.order_by("pk")]
    assert [round(one.total_seconds()) for one in due] == [0, 10, 80, 30]


def test_the_limit_of_submissions_counts_the_callbacks(alice, settings) -> None:
    settings.SUBMIT_RATE_LIMIT = (2, 3600)
    assert_problem(alice.send(BATCHES, {"tasks": [ACT, ACT], "on_success": ACT}), 429, code="too_many_at_once")
    assert (Batch.objects.count(), Task.objects.count()) == (0, 0)
