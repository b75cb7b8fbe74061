"""Idempotency keys: the same submission under the same key makes its tasks once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connections
from django.db.models import F

from tasks import lifecycle
from tasks.lifecycle.prune import FIRST_ID
from tasks.models import IdempotencyKey, Task
from tasks.scheduler.pruner import Pruner
from tasks.states import Status
from tests import factories
from tests.callers import TASKS, Caller, assert_problem

FAULT = "F19"

BULK = f"{TASKS}/bulk"
BODY = {"actor": "add", "payload": {"a": 1, "b": 2}, "priority": "high", "tags": ["x"]}


def _keyed(caller, key="k", body=BODY, path=TASKS):
    return caller.send(path, body, headers={"idempotency-key": key})


def test_the_second_time_answers_the_first_task_as_it_is_now(alice):
    first = _keyed(alice)
    assert first.status_code == 201
    assert "Idempotency-Replayed" not in first
    lifecycle.cancel(Task.objects.get().pk)
    again = _keyed(alice)
    assert (again.status_code, again["Idempotency-Replayed"], again["Location"]) == (200, "true", first["Location"])
    assert again.json() == alice.get(first["Location"]).json()
    assert again.json()["status"] == "CANCELLED"
    assert Task.objects.count() == 1


def test_a_task_shows_its_key(alice):
    assert _keyed(alice, "order 7").json()["idempotency_key"] == "order 7"
    assert alice.get(TASKS).json()["results"][0]["idempotency_key"] == "order 7"
    assert alice.submit().json()["idempotency_key"] is None


@pytest.mark.parametrize("key", ["k", '"k"'], ids=["bare", "quoted as the draft has it"])
def test_body_and_header_are_two_places_for_one_key(alice, key):
    first = alice.send(TASKS, BODY | {"idempotency_key": "k"})
    assert first.status_code == 201
    assert _keyed(alice, key).json()["id"] == first.json()["id"]
    assert _keyed(alice, key, BODY | {"idempotency_key": "k"}).status_code == 200


@pytest.mark.parametrize("path", [TASKS, BULK])
def test_two_different_keys_are_refused(alice, path):
    body = BODY if path == TASKS else {"tasks": [BODY]}
    response = _keyed(alice, "k", body | {"idempotency_key": "l"}, path)
    assert_problem(response, 400, field="idempotency_key")
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    "same",
    [
        {"tags": ["x"], "priority": "HIGH", "payload": {"b": 2, "a": 1}, "actor": "add"},
        BODY | {"priority": 9, "queue": None},
    ],
    ids=["another order", "another spelling"],
)
def test_the_same_is_the_same_however_it_is_written(alice, same):
    _keyed(alice)
    assert _keyed(alice, body=same, key="k").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "act", "payload": {"do": "return"}},
        {"payload": {"a": 1, "b": 3}},
        {"priority": 8},
        {"max_retries": 0},
        {"delay_seconds": 1},
        {"tags": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_submission_under_the_same_key_is_refused(alice, change):
    _keyed(alice)
    assert_problem(_keyed(alice, body=BODY | change), 422, code="idempotency_key_reused")
    assert Task.objects.count() == 1


def test_an_invalid_submission_leaves_its_key_free(alice):
    assert_problem(_keyed(alice, body=BODY | {"payload": {"a": "x"}}), 400)
    assert _keyed(alice).status_code == 201


def test_keys_of_others_are_others(alice, bob, staff):
    ids = {_keyed(caller).json()["id"] for caller in (alice, bob, staff)}
    assert len(ids) == 3


def test_another_token_of_the_same_user_replays(alice):
    assert _keyed(alice).json() == _keyed(Caller(alice.user)).json()


def test_a_bulk_has_one_key(alice):
    body = {"tasks": [BODY, BODY | {"priority": 1}]}
    first = _keyed(alice, body=body, path=BULK)
    assert first.status_code == 201
    again = alice.send(BULK, body | {"idempotency_key": "k"})
    assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert [task["priority"] for task in again.json()["tasks"]] == [9, 1]
    assert_problem(_keyed(alice, body={"tasks": body["tasks"][::-1]}, path=BULK), 422)
    assert Task.objects.count() == 2


def test_a_key_outlives_its_task(alice, worker):
    task_id = _keyed(alice).json()["id"]
    Task.objects.all().delete()
    again = _keyed(alice)
    assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
    assert again.json() == {"id": task_id, "url": f"http://testserver{TASKS}/{task_id}", "status": "REMOVED"}
    assert_problem(_keyed(alice, body=BODY | {"priority": 1}), 422)
    assert not Task.objects.exists()


def _expire():
    IdempotencyKey.objects.update(expires_at=F("expires_at") - timedelta(seconds=86_401))


def test_a_key_lives_a_day_whatever_happens_to_the_task(alice):
    first = _keyed(alice).json()
    key = IdempotencyKey.objects.get()
    assert (key.expires_at - Task.objects.get().created_at).total_seconds() == pytest.approx(86_400, abs=1)
    _expire()
    second = _keyed(alice, body=BODY | {"priority": 1})
    assert second.status_code == 201
    assert second.json()["id"] != first["id"]
    assert _keyed(alice, body=BODY | {"priority": 1}).json()["id"] == second.json()["id"]


def test_the_pruner_removes_expired_keys_and_no_others(alice, lead, monkeypatch):
    for key in "ab":
        _keyed(alice, key)
    _expire()
    _keyed(alice, "c")
    assert lifecycle.prune_keys(batch=1, **lead) == 1
    pruner = Pruner(type("Leadership", (), {"term": lead["term"]})())
    pruner.step()
    assert [key.key for key in IdempotencyKey.objects.all()] == ["c"]
    assert Task.objects.count() == 3


def test_keys_are_removed_by_the_leader_alone(alice, lead):
    _keyed(alice)
    _expire()
    assert lifecycle.prune_keys(batch=9, lease=lead["lease"], term=lead["term"] + 1) == 0


def test_a_task_that_was_pruned_is_not_made_again(alice, worker, lead):
    task = Task.objects.get(pk=_keyed(alice, body={"actor": "act", "payload": {"do": "return"}}).json()["id"])
    claimed = factories.start(task, worker)
    lifecycle.complete_many([factories.outcome(claimed, worker)])
    factories.age(task, finished_at=timedelta(days=2))
    Task.objects.filter(pk=task.pk).update(id="00000000-0000-7000-8000-000000000001")
    IdempotencyKey.objects.update(task_ids=["00000000-0000-7000-8000-000000000001"])
    assert lifecycle.prune_many(FIRST_ID, keep_seconds={Status.SUCCEEDED: 60}, batch=9, **lead).removed == 1
    again = _keyed(alice, body={"actor": "act", "payload": {"do": "return"}})
    assert (again.status_code, again.json()["status"]) == (200, "REMOVED")


def test_a_keyed_submission_asks_the_database_thrice(alice, django_assert_num_queries):
    alice.submit()
    with django_assert_num_queries(5):  # the token, BEGIN, the key, the task, COMMIT
        _keyed(alice)


@pytest.mark.parametrize("path", [TASKS, BULK])
def test_fifty_at_once_make_one(transactional_db, django_user_model, path):
    user = django_user_model.objects.create_user("alice")
    callers, gate = [Caller(user) for _ in range(50)], Barrier(50, timeout=20)

    def submit(caller):
        try:
            gate.wait()
            return _keyed(caller, body=BODY if path == TASKS else {"tasks": [BODY]}, path=path)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(submit, callers))
    assert sorted(answer.status_code for answer in answers) == [*[200] * 49, 201]
    assert len({answer.content for answer in answers}) == 1
    assert Task.objects.count() == 1
