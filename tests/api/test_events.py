"""``GET tasks/{id}/events`` as a list, a long poll and a stream, and submissions that wait for the end."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

from tasks import lifecycle
from tasks.contract import watching
from tasks.contract.watching import hub
from tasks.models import Task, Worker
from tests import factories
from tests.callers import TASKS, Caller, assert_problem
from tests.waiting import wait_until

DO = {"do": "return"}


def events_of(task: Task | str) -> str:
    return f"{TASKS}/{task.pk if isinstance(task, Task) else task}/events"


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [str(one["status"] or one["outcome"] or one["verb"] or one["type"]) for one in events]


# --- The list ---------------------------------------------------------------------------------------------------------


def test_the_list_goes_on_behind_a_cursor(alice: Caller, worker: Worker) -> None:
    task = factories.submit(owner_id=alice.id)
    lifecycle.complete_many([factories.outcome(factories.start(task, worker), worker, result=7)])
    page = alice.get(events_of(task)).json()
    assert kinds(page["results"]) == ["submitted", "SUCCEEDED", "SUCCEEDED"]
    assert page["results"][-1]["result"] == 7
    assert (page["next"], page["previous"]) == (None, None)
    seen, address = [], f"{events_of(task)}?limit=1"
    while address:
        page = alice.get(address).json()
        seen += page["results"]
        address = page["next"]
    assert kinds(seen) == ["submitted", "SUCCEEDED", "SUCCEEDED"]
    assert alice.get(f"{events_of(task)}?cursor={seen[-1]['id']}").json()["results"] == []


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_who_may_not_see_the_task_does_not_find_it(alice: Caller, bob: Caller, nobody: Caller, accept: str) -> None:
    task = factories.submit(owner_id=alice.id)
    assert_problem(bob.get(events_of(task), headers={"accept": accept}), 404, code="not_found")
    assert_problem(alice.get(events_of(str(uuid4())), headers={"accept": accept}), 404, code="not_found")
    assert_problem(nobody.get(events_of(task), headers={"accept": accept}), 401, code="not_authenticated")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("wait=-1", "wait"),
        ("wait=abc", "wait"),
        ("wait=61", "wait"),
        ("wait=1.5", "wait"),
        ("wait=", "wait"),
        ("wait=1&wait=2", "wait"),
        ("limit=0", "limit"),
        ("cursor=abc", "cursor"),
        ("cursor=9-0-0-0", "cursor"),
        ("after=1", "after"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_bad_parameters_are_refused(alice: Caller, query: str, field: str, accept: str) -> None:
    task = factories.submit(owner_id=alice.id)
    response = alice.get(f"{events_of(task)}?{query}", headers={"accept": accept})
    assert_problem(response, 400, code="invalid_query", field=field)


@pytest.mark.parametrize("value", ["abc", "9-0-0-0", "", "0-0-0-0-0"])
def test_an_unknown_last_event_is_refused(alice: Caller, value: str) -> None:
    task = factories.submit(owner_id=alice.id)
    response = alice.get(events_of(task), headers={"last-event-id": value, "accept": "text/event-stream"})
    assert_problem(response, 400, code="invalid_query", field="Last-Event-ID")


# --- Waiting ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(transactional_db: None) -> Iterator[Caller]:
    """Give a caller whose tasks other threads see; and end the hub's thread."""
    yield Caller(User.objects.create_user("owner"))
    for one in list(hub._watches):
        one.stop()
    wait_until(lambda: hub._thread is None)


@pytest.fixture(autouse=True)
def _hub_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "IDLE_SECONDS", 0.05)


def later(act: Callable[[], Any], *, seconds: float = 0.15) -> threading.Thread:
    """Do something while the test waits."""

    def run() -> None:
        time.sleep(seconds)
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def last_id(caller: Caller, task: Task) -> str:
    return str(caller.get(events_of(task)).json()["results"][-1]["id"])


def test_a_long_poll_answers_with_the_next_event(owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)
    cursor = last_id(owner, task)
    acting = later(lambda: lifecycle.cancel(task.pk))
    page = owner.get(f"{events_of(task)}?cursor={cursor}&wait=30").json()
    acting.join()
    assert kinds(page["results"]) == ["cancel", "CANCELLED"]
    # There is nothing to wait for any more.
    started = time.monotonic()
    cursor = page["results"][-1]["id"]
    assert owner.get(f"{events_of(task)}?cursor={cursor}&wait=30").json()["results"] == []
    assert time.monotonic() - started < 5
    assert len(hub) == 0


def test_a_long_poll_without_an_event_ends_empty(owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)
    cursor, started = last_id(owner, task), time.monotonic()
    page = owner.get(f"{events_of(task)}?cursor={cursor}&wait=1").json()
    assert page == {"results": [], "next": None, "previous": None}
    assert 0.9 < time.monotonic() - started < 5


def stream(caller: Caller, task: Task, **headers: str) -> Any:
    return caller.get(events_of(task), headers={"accept": "text/event-stream", **headers})


def read(response: Any) -> Iterator[dict[str, Any]]:
    """Read the events of a stream as a browser does."""
    assert response["Content-Type"] == "text/event-stream"
    text = ""
    for piece in response.streaming_content:
        text += piece.decode()
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            values = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in values:
                event = json.loads(values["data"])
                assert (values["id"], values["event"]) == (event["id"], event["type"])
                yield event


def test_a_stream_follows_a_task_to_its_end(owner: Caller) -> None:
    task, worker = factories.submit(owner_id=owner.id), factories.make_worker()
    events, seen = read(stream(owner, task)), []
    seen += [next(events), next(events)]
    claimed = factories.start(task, worker)
    seen.append(next(events))
    lifecycle.complete_many([factories.outcome(claimed, worker, result={"n": 1})])
    seen += events
    assert kinds(seen) == ["submitted", "PENDING", "RUNNING", "SUCCEEDED", "SUCCEEDED"]
    assert seen[-1]["result"] == {"n": 1}
    assert len(hub) == 0


def test_a_reader_who_comes_back_misses_nothing_and_hears_nothing_twice(owner: Caller) -> None:
    task, worker = factories.submit(owner_id=owner.id), factories.make_worker()
    response = stream(owner, task)
    first = next(read(response))
    response.close()
    lifecycle.complete_many([factories.failure(factories.start(task, worker), worker)])
    factories.make_due(task)
    lifecycle.complete_many([factories.outcome(factories.start(task, worker), worker)])
    rest = list(read(stream(owner, task, **{"last-event-id": first["id"]})))
    assert kinds([first, *rest]) == ["submitted", "FAILED", "SUCCEEDED", "SUCCEEDED"]
    # After the last one a browser is told not to come back.
    over = stream(owner, task, **{"last-event-id": rest[-1]["id"]})
    assert over.status_code == 204


def test_a_stream_that_is_closed_frees_its_place(owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)
    response = stream(owner, task)
    next(read(response))
    assert len(hub) == 1
    response.close()
    del response
    wait_until(lambda: len(hub) == 0)


def test_a_stream_says_that_it_is_alive(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.feeds.BEAT_SECONDS", 0.1)
    task = factories.submit(owner_id=owner.id)
    pieces = iter(stream(owner, task).streaming_content)
    wait_until(lambda: next(pieces).startswith(b":"))


def test_too_many_watchers_are_refused(owner: Caller, settings: Any) -> None:
    settings.MAX_WATCHERS_PER_USER = 1
    task = factories.submit(owner_id=owner.id)
    open_one = stream(owner, task)
    next(read(open_one))
    response = stream(owner, task)
    assert_problem(response, 429, code="too_many_watchers")
    assert int(response["Retry-After"]) > 0
    settings.MAX_WATCHERS_PER_USER, settings.MAX_WATCHERS = 10, 1
    response = owner.get(f"{events_of(task)}?wait=5&cursor={last_id(owner, task)}")
    assert_problem(response, 503, code="not_ready")
    assert int(response["Retry-After"]) > 0


def test_a_submission_waits_for_the_result(owner: Caller) -> None:
    worker = factories.make_worker()

    def run() -> None:
        wait_until(Task.objects.exists)
        task = Task.objects.get()
        lifecycle.complete_many([factories.outcome(factories.start(task, worker), worker, result={"n": 1})])

    acting = later(run)
    response = owner.send(f"{TASKS}?wait=20", {"actor": "act", "payload": DO})
    acting.join()
    assert response.status_code == 201
    assert response["Preference-Applied"] == "wait=20"
    body = response.json()
    assert response["Location"] == body["url"]
    assert (body["status"], body["result"]) == ("SUCCEEDED", {"n": 1})


@pytest.mark.parametrize("header", ["wait=1", 'respond-async, wait = "1"; a=b', "handling=lenient,Wait=1"])
def test_a_submission_that_prefers_to_wait_gets_the_task_when_time_is_over(owner: Caller, header: str) -> None:
    started = time.monotonic()
    response = owner.send(TASKS, {"actor": "act", "payload": DO}, headers={"prefer": header})
    assert (response.status_code, response["Preference-Applied"]) == (201, "wait=1")
    assert response.json()["status"] == "PENDING"
    assert 0.9 < time.monotonic() - started < 5


@pytest.mark.parametrize("header", ["wait=-1", "wait", "wait=x", "return=minimal", ""])
def test_a_preference_that_makes_no_sense_is_ignored(alice: Caller, header: str) -> None:
    response = alice.send(TASKS, {"actor": "act", "payload": DO}, headers={"prefer": header})
    assert response.status_code == 201
    assert "Preference-Applied" not in response


@pytest.mark.parametrize("wait", ["-1", "abc", "61", "1.5", ""])
def test_a_submission_with_a_bad_wait_changes_nothing(alice: Caller, wait: str) -> None:
    response = alice.send(f"{TASKS}?wait={wait}", {"actor": "act", "payload": DO})
    assert_problem(response, 400, code="invalid_query", field="wait")
    assert not Task.objects.exists()


def test_a_submission_is_not_refused_because_many_wait(owner: Caller, settings: Any) -> None:
    settings.MAX_WATCHERS = 1
    open_one = stream(owner, factories.submit(owner_id=owner.id))
    next(read(open_one))
    response = owner.send(f"{TASKS}?wait=10", {"actor": "act", "payload": DO})
    assert (response.status_code, response.json()["status"]) == (201, "PENDING")
    assert "Preference-Applied" not in response


def test_in_a_transaction_of_the_project_nobody_waits(owner: Caller) -> None:
    with transaction.atomic():
        response = owner.send(f"{TASKS}?wait=10", {"actor": "act", "payload": DO})
    assert (response.status_code, response.json()["status"]) == (201, "PENDING")
    assert "Preference-Applied" not in response


def test_a_key_that_is_used_again_waits_too(owner: Caller) -> None:
    owner.submit(idempotency_key="k")
    task = Task.objects.get()
    acting = later(lambda: lifecycle.cancel(task.pk))
    response = owner.send(f"{TASKS}?wait=20", {"actor": "act", "payload": DO, "idempotency_key": "k"})
    acting.join()
    assert (response.status_code, response["Idempotency-Replayed"]) == (200, "true")
    assert response.json()["status"] == "CANCELLED"
