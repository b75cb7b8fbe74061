"""The claiming consumer, driven by hand: what it takes, keeps and gives back."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from dramatiq.middleware import Shutdown

from tasks import lifecycle
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint
from tasks.lifecycle import workers
from tasks.models import Task, new_id
from tasks.states import Status
from tests import actors, factories
from tests.factories import make_worker, submit
from tests.waiting import wait_until
from tests.worker.manual import BAND, ManualWorker, claim_quarantined, fails_once, status

# --- Taking ---


def test_a_hint_is_claimed_before_it_is_handed_out_and_acknowledged_with_the_next_take(manual) -> None:
    task = submit(payload={"do": "return", "value": 1}, priority=4)
    manual.publish(task)
    message = manual.next()
    assert (message.actor_name, message.kwargs, message.message_id) == (
        "act", {"do": "return", "value": 1}, str(task.pk),
    )  # fmt: skip
    assert (message.queue_name, message.priority) == ("default", 4)
    assert status(task) == Status.RUNNING
    assert manual.inflight.keys == [(task.pk, 1)]
    assert (manual.inflight.unstarted, manual.inflight.slots.held) == (1, 1)
    assert manual.unacknowledged == 1
    assert next(manual.consumer) is None
    assert manual.unacknowledged == 0


def test_no_more_hints_are_taken_than_threads_are_free(manual) -> None:
    manual.publish(*[submit() for _ in range(5)])
    assert [next(manual.consumer) is None for _ in range(2)] == [False, False]
    assert (manual.depth, manual.inflight.slots.free()) == (3, 0)


def test_stale_foreign_and_repeated_hints_are_dropped(manual) -> None:
    task = submit()
    hint = factories.dispatch(task)
    manual.source.publish_many([(BAND, one) for one in (Hint(task.pk, 99), Hint(new_id(), 1), hint, hint)])
    manual.source._broker.queues[BAND].put(b"no hint at all")
    messages = []
    while manual.depth:
        messages.append(next(manual.consumer))
    assert [one.message_id for one in messages if one] == [str(task.pk)]
    assert manual.inflight.keys == [(task.pk, 1)]
    assert next(manual.consumer) is None
    assert manual.unacknowledged == 0


WAITS: dict[str, Callable[[ManualWorker], object]] = {
    "for a thread": lambda manual: manual.inflight.slots.acquire(1),
    "for the completer": lambda manual: setattr(manual.runtime.completer, "_waiting", [None] * 5_000),
    "for its lease": lambda manual: setattr(manual.runtime.heartbeat, "_trusted_until", 0),
    "for other tasks to end": lambda manual: manual.consumer._isolation.add(*claim_quarantined(manual)),
    "for its end": lambda manual: manual.runtime.drain.begin(),
}


@pytest.mark.parametrize("what", WAITS)
def test_claimed_hints_are_acknowledged_before_the_consumer_waits(manual, monkeypatch, what: str) -> None:
    manual.publish(submit())
    manual.next()
    monkeypatch.setattr(manual.source, "take", pytest.fail)
    WAITS[what](manual)
    assert next(manual.consumer) is None
    assert manual.unacknowledged == 0


def test_an_aged_task_gets_the_highest_priority_of_the_band_it_was_dispatched_to(manual) -> None:
    manual.publish(submit(priority=2), band="default.high")
    assert manual.next().priority == 10


def test_options_that_dramatiqs_worker_would_misread_stay_out_of_the_message(manual) -> None:
    options = {"eta": 1, "throws": "not a class", "mine": 7}
    manual.publish(submit(options=options))
    assert manual.next().options == {"mine": 7}


def test_a_payload_never_shows_in_dramatiqs_log_lines(manual) -> None:
    manual.publish(submit(payload={"do": "return", "value": "secret"}))
    assert "secret" not in f"{manual.next()}"


def test_a_task_whose_actor_this_process_does_not_know_is_put_back_with_a_delay(manual, monkeypatch) -> None:
    task = submit("add", payload={"a": 1})
    manual.publish(task)
    monkeypatch.delitem(manual.broker.actors, "add")
    assert next(manual.consumer) is None
    assert status(task) == Status.PENDING
    assert 0 < (task.run_at - factories.database_now()).total_seconds() <= 31
    assert (manual.inflight.keys, manual.inflight.slots.held) == ([], 0)


# --- What ends ---


def test_a_slot_stays_taken_while_the_outcome_of_its_task_is_decided(manual, monkeypatch) -> None:
    # The user's predicates and validators may take long there.
    held: list[int] = []
    monkeypatch.setattr(manual.runtime.completer, "add", lambda _: held.append(manual.inflight.slots.held))
    manual.publish(submit())
    manual.consumer.ack(manual.next())
    assert (held, manual.inflight.slots.held) == ([1], 0)


# --- A worker that may not claim ---


def test_a_worker_that_was_asked_to_drain_gives_the_hints_it_takes_to_others(manual) -> None:
    # It learns of the drain with its next heartbeat. Until then its claims are refused.
    task = submit()
    manual.publish(task)
    workers.ask_to_drain([manual.inflight.worker_id])
    assert next(manual.consumer) is None
    assert (manual.depth, status(task)) == (1, Status.QUEUED)
    other = make_worker()
    (taken,) = manual.source.take([BAND], 1)
    assert [one.id for one in lifecycle.claim_many([taken.hint], worker_id=other.pk)] == [task.pk]


# --- Errors ---


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("connection already closed")])
def test_hints_outlive_a_database_that_is_away(manual, monkeypatch, error: Exception) -> None:
    fails_once(monkeypatch, lifecycle, "claim_many", error)
    task = submit()
    manual.publish(task)
    assert next(manual.consumer) is None
    assert manual.depth == 0
    assert manual.next().message_id == str(task.pk)
    assert manual.unacknowledged == 1


def test_taking_hints_is_retried_after_the_broker_was_away(manual, monkeypatch) -> None:
    fails_once(monkeypatch, manual.source, "take", BrokerUnavailable("away"))
    manual.publish(submit())
    assert next(manual.consumer) is None
    manual.next()


@pytest.mark.parametrize("call", ["take", "done"])
def test_hints_of_a_lost_reply_are_released_once_the_worker_is_idle(manual, monkeypatch, call: str) -> None:
    released: list[Any] = []
    monkeypatch.setattr(manual.source, "forget_taken", released.append)
    fails_once(monkeypatch, manual.source, call, BrokerUnavailable("away"))
    manual.publish(submit())
    while (message := next(manual.consumer)) is None:
        pass
    assert released == []
    manual.put(message)
    manual.inflight.put_back_waiting(longer_than=0)
    assert next(manual.consumer) is None
    assert next(manual.consumer) is None
    assert released == [manual.runtime.served]


@pytest.mark.parametrize("how", ["its lease is over", "it was declared gone", "it stops"])
def test_no_task_starts_when_others_may_have_it_or_the_process_stops(manual, how: str) -> None:
    ran: list[bool] = []
    manual.publish(submit())
    execution = manual.next().execution
    match how:
        case "its lease is over":
            manual.runtime.heartbeat._trusted_until = 0
        case "it was declared gone":
            manual.runtime.heartbeat.is_gone = True
        case "it stops":
            manual.runtime.drain.heard()
    manual.inflight.start(execution)
    with pytest.raises(Shutdown):
        execution.run(lambda: ran.append(True), manual.runtime.interrupter, is_async=False)
    assert not ran


def test_a_worker_without_a_lease_claims_nothing_and_puts_back_what_waits(manual) -> None:
    waiting, hinted = submit(), submit()
    manual.publish(waiting)
    manual.put(manual.next())
    manual.publish(hinted)
    manual.runtime.heartbeat._trusted_until = 0
    assert next(manual.consumer) is None
    assert (status(waiting), status(hinted), manual.depth) == (Status.PENDING, Status.QUEUED, 1)


# --- The end ---


def test_a_draining_worker_takes_nothing_and_gives_hints_back(manual, monkeypatch) -> None:
    fails_once(monkeypatch, lifecycle, "claim_many", OperationalError("away"))
    kept, other = submit(), submit()
    manual.publish(kept)
    next(manual.consumer)
    manual.publish(other)
    manual.runtime.drain.begin()
    assert next(manual.consumer) is None
    assert manual.depth == 2
    assert (status(kept), status(other)) == (Status.QUEUED, Status.QUEUED)


def test_a_claim_that_was_under_way_when_the_drain_began_is_put_back(manual) -> None:
    tasks = [submit() for _ in range(2)]
    manual.publish(*tasks)
    manual.put(manual.next())
    manual.runtime.drain.begin()
    manual.put(manual.next())
    assert next(manual.consumer) is None
    assert [status(task) for task in tasks] == [Status.PENDING] * 2


def rounds(manual: ManualWorker, seconds: float = 0.3) -> int:
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        assert next(manual.consumer) is None
        count += 1
    return count


def test_a_draining_consumer_does_not_spin_while_tasks_still_run(manual) -> None:
    manual.runtime.drain.begin()
    assert rounds(manual) < 20


def test_a_consumer_does_not_spin_while_outcomes_cannot_be_written(manual, monkeypatch) -> None:
    monkeypatch.setattr(type(manual.runtime.completer), "is_full", True)
    manual.publish(submit())
    assert rounds(manual) < 20
    assert manual.depth == 1


# --- In a whole engine ---


def test_one_consumer_thread_serves_all_queues(idle_engine) -> None:
    idle_engine.start_worker()
    assert list(idle_engine.worker.consumers) == [idle_engine.runtime.served[0]]
    assert not [name for name in idle_engine.broker.queues if name.endswith(".DQ")]


def test_a_message_that_cannot_be_built_does_not_keep_an_idle_worker_from_other_tasks(engine) -> None:
    broken = submit("ship", payload={"number": 7, "placed_on": "2030-02-03"}, delay_seconds=3600, max_retries=0)
    Task.objects.filter(pk=broken.pk).update(
        payload={"number": "what an older release allowed"}, run_at=broken.created_at
    )
    engine.wait_for(broken)
    for number in range(3):
        (done,) = engine.wait_for(submit("add", payload={"a": number}))
        assert (done.result, done.dispatch, done.attempt) == (number, 1, 1)


def test_a_model_may_be_sent_as_the_one_positional_argument(engine) -> None:
    message = actors.ship.send({"number": 7, "placed_on": "2030-02-03"})  # type: ignore[arg-type]
    (done,) = engine.wait_for(Task.objects.get(pk=message.message_id))
    assert done.result == "7/2030/0"


def test_an_idle_worker_finds_a_task_without_a_wake_up(idle_engine) -> None:
    idle_engine.start_worker()
    hint = factories.dispatch(submit("note", args=[1]))
    # Not through the source, which would wake the worker.
    idle_engine.broker.queues[BAND].put(f"{hint.task_id}:{hint.dispatch}".encode())
    wait_until(lambda: actors.noted)
