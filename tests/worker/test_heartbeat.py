"""The heartbeat: what a worker learns from the registry, and how it keeps its lease."""

import threading
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.db import InterfaceError, OperationalError

from tasks import lifecycle
from tasks.lifecycle import workers
from tasks.lifecycle.workers import HeartbeatReply, Reconciled
from tasks.models import Task, Worker, new_id
from tasks.states import Status
from tasks.worker import heartbeat as heartbeat_module
from tests import factories
from tests.factories import submit
from tests.worker.parts import Key


class News(NamedTuple):
    """What one beat brings, in both of its parts."""

    heard: HeartbeatReply
    reconciled: Reconciled


@pytest.fixture
def heard(monkeypatch) -> list[Any]:
    """What the registry answers, one after the other; errors are raised, functions called."""
    answers: list[Any] = []
    reconciled: list[Reconciled] = []

    def beat(worker_id: UUID, *, unwritten: Any, memory_bytes: int | None) -> HeartbeatReply:
        assert memory_bytes is None or memory_bytes > 1_000_000
        answer = answers.pop(0) if answers else news()
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        reconciled[:] = [answer.reconciled]
        return answer.heard

    monkeypatch.setattr(workers, "beat", beat)
    monkeypatch.setattr(workers, "reconcile", lambda worker_id, held: reconciled[0])
    return answers


def news(*, present: bool = True, draining: bool = False, cancelled: Any = (), unheld: Any = ()) -> News:
    return News(HeartbeatReply(present, draining), Reconciled(list(cancelled), list(unheld)))


@pytest.fixture
def put_back(monkeypatch) -> list[Key]:
    """Collect what the heartbeat puts back."""
    returned: list[Key] = []

    def put_back_many(keys: Any, *, worker_id: UUID) -> int:
        returned.extend(keys)
        return len(keys)

    monkeypatch.setattr(lifecycle, "put_back_many", put_back_many)
    return returned


# --- Rows that the process does not hold ---


def test_a_row_that_two_beats_in_a_row_found_unheld_is_put_back_once(heartbeat, heard, put_back) -> None:
    key = (new_id(), 1)
    heard += [news(unheld=[key]), news(unheld=[key]), news()]
    heartbeat._beat()
    assert put_back == []
    heartbeat._beat()
    heartbeat._beat()
    assert put_back == [key]


def test_a_row_that_one_beat_found_and_the_next_did_not_is_left_alone(heartbeat, heard, put_back) -> None:
    key = (new_id(), 1)
    heard += [news(unheld=[key]), news(), news(unheld=[key])]
    for _ in range(3):
        heartbeat._beat()
    assert put_back == []


def test_a_stale_heartbeat_does_not_put_back_what_runs(parts, heartbeat, heard, put_back) -> None:
    # Both beats were asked before the claim and are answered after it.
    key = (new_id(), 1)

    def claimed_meanwhile() -> News:
        parts.inflight.held.add(key)
        return news(unheld=[key])

    heard += [claimed_meanwhile, claimed_meanwhile]
    heartbeat._beat()
    heartbeat._beat()
    assert put_back == []


def test_a_row_that_was_held_between_two_beats_is_no_longer_unconfirmed(parts, heartbeat, heard, put_back) -> None:
    key = (new_id(), 1)
    heard += [news(unheld=[key])] * 3
    heartbeat._beat()
    parts.inflight.held.add(key)
    heartbeat._beat()
    parts.inflight.held.clear()
    heartbeat._beat()
    assert put_back == []


def test_another_attempt_is_another_row(heartbeat, heard, put_back) -> None:
    id = new_id()
    heard += [news(unheld=[(id, 1)]), news(unheld=[(id, 2)])]
    heartbeat._beat()
    heartbeat._beat()
    assert put_back == []


# --- News ---


def test_cancels_are_passed_on_and_a_drain_begins_once(parts, heartbeat, heard) -> None:
    key = (new_id(), 1)
    heard += [news(cancelled=[key]), news(draining=True), news(draining=True)]
    for _ in range(3):
        heartbeat._beat()
    assert (parts.interrupter.interrupted, parts.drain.retirements) == ([key], 1)


def test_a_worker_that_is_due_for_a_drain_asks_for_it_in_the_registry(parts, heartbeat, heard, monkeypatch) -> None:
    asked: list[list[UUID]] = []
    monkeypatch.setattr(workers, "ask_to_drain", lambda ids, **_: asked.append(ids))
    heard += [news(), news(), news(draining=True), news(draining=True)]
    heartbeat._beat()
    parts.drain.is_due = True
    heartbeat._beat()
    assert (asked, parts.drain.retirements) == ([[parts.inflight.worker_id]], 1), (
        "not a beat later: it would go on taking hints"
    )
    heartbeat._beat()
    heartbeat._beat()
    assert (asked, parts.drain.retirements) == ([[parts.inflight.worker_id]], 1)


def test_a_registry_that_fails_in_the_middle_of_a_beat_does_not_end_the_heartbeat(
    parts, heartbeat, heard, monkeypatch
) -> None:
    def away(_: Any, **__: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(workers, "ask_to_drain", away)
    parts.drain.is_due = True
    assert heartbeat._guarded_beat() is False
    monkeypatch.setattr(workers, "reconcile", lambda *_: 1 / 0)
    parts.drain.is_due = False
    assert heartbeat._guarded_beat() is False
    assert heartbeat.has_lease


class LockNotAvailable(Exception):
    """What psycopg2 raises when a lock was not given in time."""

    pgcode = "55P03"


def locked_out() -> OperationalError:
    error = OperationalError("canceling statement due to lock timeout")
    error.__cause__ = LockNotAvailable()
    return error


def test_a_lock_on_its_row_costs_a_worker_nothing(heartbeat, heard) -> None:
    heartbeat._trusted_until = time.monotonic() - 100
    heard += [locked_out()]
    assert heartbeat._guarded_beat() is False, "it is tried again soon"
    assert heartbeat.has_lease


def test_a_lock_on_the_table_of_tasks_does_not_keep_the_lease_from_being_renewed(heartbeat, heard, monkeypatch) -> None:
    def locked(*_: Any) -> Reconciled:
        raise locked_out()

    monkeypatch.setattr(workers, "reconcile", locked)
    heartbeat._trusted_until = time.monotonic() - 100
    assert heartbeat._guarded_beat() is True
    assert heartbeat.has_lease


def test_the_lease_counts_from_before_the_beat_was_asked(heartbeat, heard, settings, monkeypatch) -> None:
    settings.WORKER_LEASE_SECONDS = 15
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(heartbeat_module, "time", clock)

    def slow() -> News:
        clock.now += 16
        return news()

    heard.append(slow)
    assert heartbeat._beat()
    assert not heartbeat.has_lease
    assert heartbeat.lease_over_for == 1
    heartbeat._beat()
    assert heartbeat.has_lease


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("connection already closed")])
def test_a_beat_that_fails_renews_nothing_and_is_tried_again(heartbeat, heard, settings, error) -> None:
    heartbeat._trusted_until = 0
    heard += [error, news()]
    assert heartbeat._guarded_beat() is False
    assert not heartbeat.has_lease
    assert heartbeat._guarded_beat() is True
    assert heartbeat.has_lease


def test_a_worker_that_was_declared_gone_never_has_a_lease_again(heartbeat, heard) -> None:
    heard += [news(present=False)]
    heartbeat._beat()
    assert heartbeat.is_gone
    assert not heartbeat.has_lease
    heartbeat._beat()
    assert not heartbeat.has_lease


def test_it_beats_until_it_is_stopped(heartbeat, monkeypatch, settings) -> None:
    settings.HEARTBEAT_INTERVAL_SECONDS = 0.01
    beats = threading.Semaphore(0)

    def beat(*_: Any, **__: Any) -> HeartbeatReply:
        beats.release()
        return news().heard

    monkeypatch.setattr(workers, "beat", beat)
    monkeypatch.setattr(workers, "reconcile", lambda *_: news().reconciled)
    heartbeat.start()
    assert beats.acquire(timeout=10)
    assert beats.acquire(timeout=10)
    settings.HEARTBEAT_INTERVAL_SECONDS = 5
    heartbeat.stop()
    assert not heartbeat.is_alive


def test_a_claim_whose_reply_was_lost_is_put_back_by_the_heartbeat(lone) -> None:
    # Committed for this worker and unknown to it.
    worker = Worker.objects.get(pk=lone.runtime.inflight.worker_id)
    task = submit()
    factories.start(task, worker)
    factories.age(task, started_at=timedelta(seconds=10))
    lone.runtime.heartbeat._beat()
    assert Task.objects.get(pk=task.pk).status == Status.RUNNING
    lone.runtime.heartbeat._beat()
    task.refresh_from_db()
    assert (task.status, task.failures, task.attempts.count()) == (Status.PENDING, 0, 0)
