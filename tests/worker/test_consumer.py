"""The claiming consumer, driven by hand: what it takes, keeps and gives back."""

import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.db import InterfaceError, OperationalError

from tasks import lifecycle
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint
from tasks.lifecycle import workers
from tasks.models import Task, new_id
from tasks.states import Status
from tasks.worker import consumer, isolation
from tasks.worker.consumer import ClaimedMessage
from tasks.worker.execution import Execution
from tasks.worker.runtime import WorkerRuntime
from tests import actors, factories
from tests.factories import make_worker, submit
from tests.waiting import wait_until

BAND = "default.medium"


class Hand:
    """A worker of which nothing runs but what the test calls."""

    def __init__(self, broker: Any) -> None:
        self.worker = dramatiq.Worker(broker, worker_threads=2)
        self.broker = broker
        self.runtime = WorkerRuntime(broker, self.worker)
        self.inflight = self.runtime.inflight
        self.worker.work_queue = self.inflight.work_queue
        self.source: Any = broker.source
        workers.declare_queues()
        workers.register(self.inflight.worker_id, queues=self.runtime.queues, threads=2)
        self.consumer = self.runtime.consumer(self.runtime.served[0])

    def publish(self, *tasks: Task, band: str = BAND) -> None:
        """Dispatch tasks."""
        self.source.publish_many([(band, factories.dispatch(task)) for task in tasks])

    def next(self) -> ClaimedMessage:
        """Take the next message; there has to be one."""
        message = next(self.consumer)
        assert message is not None
        return message

    def put(self, message: ClaimedMessage) -> None:
        """Lay a message where the threads take it from."""
        self.worker.work_queue.put(dramatiq.worker._WorkQueueItem(0, message))

    @property
    def depth(self) -> int:
        """How many hints wait in the broker."""
        return sum(self.source.depth(self.runtime.served).values())

    @property
    def unacknowledged(self) -> int:
        """How many hints the broker has, or had taken from it and was not told to be done."""
        return sum(self.source._broker.queues[name].unfinished_tasks for name in self.runtime.served)


@pytest.fixture
def hand(idle_engine, monkeypatch) -> Hand:
    monkeypatch.setattr(consumer, "PAUSE_AFTER_ERROR_SECONDS", 0.02)
    return Hand(idle_engine.broker)


def status(task: Task) -> str:
    task.refresh_from_db()
    return task.status


def fails_once(monkeypatch, target: Any, name: str, error: Exception) -> None:
    stock, errors = getattr(target, name), [error]

    def called(*args: Any, **kwargs: Any) -> Any:
        if errors:
            raise errors.pop()
        return stock(*args, **kwargs)

    monkeypatch.setattr(target, name, called)


# --- Taking ---


def test_a_hint_is_claimed_before_it_is_handed_out_and_acknowledged_on_the_way_to_the_next(hand) -> None:
    task = submit(payload={"do": "return", "value": 1}, priority=4)
    hand.publish(task)
    message = hand.next()
    assert (message.actor_name, message.kwargs, message.message_id) == (
        "act", {"do": "return", "value": 1}, str(task.pk),
    )  # fmt: skip
    assert (message.queue_name, message.priority) == (hand.runtime.served[0], 4)
    assert status(task) == Status.RUNNING
    assert hand.inflight.keys == [(task.pk, 1)]
    assert (hand.inflight.unstarted, hand.inflight.slots.held) == (1, 1)
    assert hand.unacknowledged == 1
    assert next(hand.consumer) is None
    assert hand.unacknowledged == 0


def test_no_more_is_taken_than_threads_are_free(hand) -> None:
    hand.publish(*[submit() for _ in range(5)])
    assert [next(hand.consumer) is None for _ in range(2)] == [False, False]
    assert (hand.depth, hand.inflight.slots.free()) == (3, 0)


def test_stale_foreign_and_repeated_hints_are_dropped(hand) -> None:
    task = submit()
    hint = factories.dispatch(task)
    hand.source.publish_many([(BAND, one) for one in (Hint(task.pk, 99), Hint(new_id(), 1), hint, hint)])
    hand.source._broker.queues[BAND].put(b"no hint at all")
    messages = []
    while hand.depth:
        messages.append(next(hand.consumer))
    assert [one.message_id for one in messages if one] == [str(task.pk)]
    assert hand.inflight.keys == [(task.pk, 1)]
    assert next(hand.consumer) is None
    assert hand.unacknowledged == 0


WAITS: dict[str, Callable[[Hand], object]] = {
    "for a thread": lambda hand: hand.inflight.slots.acquire(1),
    "for the completer": lambda hand: setattr(hand.runtime.completer, "_waiting", [None] * 5_000),
    "for its lease": lambda hand: setattr(hand.runtime.heartbeat, "_trusted_until", 0),
    "for the neighbours of a quarantined task": lambda hand: hand.consumer._isolation.add(*quarantined(hand)),
    "for its end": lambda hand: hand.runtime.drain.begin(),
}


@pytest.mark.parametrize("what", WAITS)
def test_what_was_claimed_is_acknowledged_before_the_consumer_waits(hand, monkeypatch, what: str) -> None:
    hand.publish(submit())
    hand.next()
    monkeypatch.setattr(hand.source, "take", pytest.fail)
    WAITS[what](hand)
    assert next(hand.consumer) is None
    assert hand.unacknowledged == 0


def test_an_old_task_goes_with_the_first_of_the_band_that_it_was_let_into(hand) -> None:
    hand.publish(submit(priority=2), band="default.high")
    assert hand.next().priority == 10


def test_options_that_dramatiqs_worker_would_misread_stay_out_of_the_message(hand) -> None:
    options = {"eta": 1, "throws": "not a class", "mine": 7}
    hand.publish(submit(options=options))
    assert hand.next().options == {"mine": 7}


def test_a_payload_never_shows_in_dramatiqs_log_lines(hand) -> None:
    hand.publish(submit(payload={"do": "return", "value": "secret"}))
    assert "secret" not in f"{hand.next()}"


def test_an_actor_that_this_process_does_not_know_goes_back_for_a_while(hand, monkeypatch) -> None:
    task = submit("add", payload={"a": 1})
    hand.publish(task)
    monkeypatch.delitem(hand.broker.actors, "add")
    assert next(hand.consumer) is None
    assert status(task) == Status.PENDING
    assert 0 < (task.run_at - factories.database_now()).total_seconds() <= 31
    assert (hand.inflight.keys, hand.inflight.slots.held) == ([], 0)


# --- What goes back ---


def test_a_first_task_after_a_long_rest_is_not_put_back_before_a_thread_wakes(hand) -> None:
    hand.inflight._last_start = time.monotonic() - 3600
    task = submit()
    hand.publish(task)
    hand.put(hand.next())
    hand.inflight.put_back_waiting(longer_than=consumer.PUT_BACK_AFTER_SECONDS)
    assert status(task) == Status.RUNNING


def test_what_waits_while_no_thread_takes_anything_is_put_back(hand) -> None:
    tasks = [submit() for _ in range(2)]
    hand.publish(*tasks)
    for _ in tasks:
        hand.put(hand.next())
    hand.inflight._last_start = time.monotonic() - 1
    next(hand.consumer)
    assert [status(task) for task in tasks] == [Status.PENDING] * 2
    assert (hand.inflight.keys, hand.inflight.unstarted, hand.inflight.slots.held) == ([], 0, 0)
    assert hand.worker.work_queue.unfinished_tasks == 0


def test_more_that_comes_while_something_waits_does_not_reset_the_clock(hand) -> None:
    first, second = submit(), submit()
    hand.publish(first)
    hand.put(hand.next())
    hand.inflight._last_start = time.monotonic() - 1
    hand.inflight.hold([])
    hand.publish(second)
    next(hand.consumer)
    assert status(first) == Status.PENDING


def test_what_has_started_is_not_put_back(hand) -> None:
    task = submit()
    hand.publish(task)
    hand.inflight.start(hand.next().execution)
    hand.inflight._last_start = 0
    hand.inflight.put_back_waiting(longer_than=0)
    assert status(task) == Status.RUNNING


def test_what_cannot_be_put_back_is_held_no_more_so_that_the_heartbeat_finds_it(hand, monkeypatch) -> None:
    task = submit()
    hand.publish(task)
    hand.put(hand.next())
    fails_once(monkeypatch, lifecycle, "put_back_many", OperationalError("away"))
    hand.inflight.put_back_waiting(longer_than=0)
    assert status(task) == Status.RUNNING
    assert (hand.inflight.keys, hand.inflight.slots.held) == ([], 0)


# --- What ends ---


def test_a_thread_takes_no_other_task_while_it_decides_what_follows_from_the_last(hand, monkeypatch) -> None:
    # The user's predicates and validators run there, for as long as they like.
    held: list[int] = []
    monkeypatch.setattr(hand.runtime.completer, "add", lambda _: held.append(hand.inflight.slots.held))
    hand.publish(submit())
    hand.consumer.ack(hand.next())
    assert (held, hand.inflight.slots.held) == ([1], 0)


# --- What ran in processes that crashed ---


def suspect(crashes: int = 2) -> Task:
    task = submit()
    Task.objects.filter(pk=task.pk).update(crashes=crashes, attempt=crashes)
    return task


def quarantined(hand: Hand) -> tuple[Any, str]:
    """Give the worker a task that only runs alone, beside one that runs."""
    (claimed,) = lifecycle.claim_many([factories.dispatch(suspect())], worker_id=hand.inflight.worker_id)
    execution = Execution(claimed, claimed_monotonic=time.monotonic())
    hand.inflight.hold([execution])
    return execution, BAND


def test_a_task_that_one_more_crash_does_not_kill_runs_like_any_other(hand) -> None:
    neighbour, task = submit(priority=7), suspect(crashes=1)
    hand.publish(neighbour, task)
    assert [hand.next().message_id for _ in range(2)] == [str(neighbour.pk), str(task.pk)]


def test_a_quarantined_task_waits_until_all_else_has_ended_and_then_runs_with_nothing_beside_it(hand) -> None:
    neighbour, alone, later = submit(priority=7), suspect(), submit()
    hand.publish(neighbour, alone)
    beside = hand.next()
    hand.publish(later)
    assert next(hand.consumer) is None
    hand.consumer.ack(beside)
    message = hand.next()
    assert message.message_id == str(alone.pk)
    assert next(hand.consumer) is None
    assert hand.depth == 1
    hand.consumer.ack(message)
    assert hand.next().message_id == str(later.pk)


def test_quarantined_tasks_run_one_by_one(hand) -> None:
    tasks = [suspect() for _ in range(2)]
    hand.publish(*tasks)
    assert next(hand.consumer) is None
    first = hand.next()
    assert next(hand.consumer) is None
    hand.consumer.ack(first)
    second = hand.next()
    assert {first.message_id, second.message_id} == {str(task.pk) for task in tasks}


def test_a_quarantined_task_does_not_start_while_it_is_decided_what_follows_from_another(hand, monkeypatch) -> None:
    # The user's code decides, and may crash the process: what had started would be blamed.
    started: list[Any] = []
    monkeypatch.setattr(hand.runtime.completer, "add", lambda _: started.append(next(hand.consumer)))
    hand.publish(*[suspect() for _ in range(2)])
    assert next(hand.consumer) is None
    hand.consumer.ack(hand.next())
    assert started == [None]
    hand.next()


def test_quarantined_tasks_that_wait_are_put_back_when_the_worker_drains_or_loses_its_lease(hand) -> None:
    for end in (lambda: setattr(hand.runtime.heartbeat, "_trusted_until", 0), hand.runtime.drain.begin):
        neighbour, alone = submit(priority=7), suspect()
        hand.publish(neighbour, alone)
        hand.inflight.start(hand.next().execution)
        end()
        assert next(hand.consumer) is None
        assert (status(alone), status(neighbour)) == (Status.PENDING, Status.RUNNING)
        lifecycle.cancel(alone.pk)
        hand.runtime.heartbeat._trusted_until = float("inf")
        hand.inflight.slots.release()


def test_a_quarantined_task_does_not_keep_a_process_for_long_while_others_run(hand, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "WAIT_FOR_OTHERS_SECONDS", 0.1)
    neighbour, alone = submit(priority=7), suspect()
    hand.consumer._isolation = isolation.Isolation(hand.inflight)
    hand.publish(neighbour, alone)
    hand.inflight.start(hand.next().execution)
    while status(alone) == Status.RUNNING:
        assert next(hand.consumer) is None
    assert (status(alone), alone.failures, alone.crashes) == (Status.PENDING, 0, 2)
    assert status(neighbour) == Status.RUNNING
    # The process does other things meanwhile.
    hand.publish(submit("note"))
    assert hand.next().actor_name == "note"


def test_only_half_of_the_workers_run_quarantined_tasks_and_the_others_go_on(hand) -> None:
    other = make_worker()
    assert workers.begin_isolation(other.pk)
    alone, ordinary = suspect(), submit()
    hand.publish(alone, ordinary)
    hand.inflight.slots.release(0)
    assert hand.next().message_id == str(ordinary.pk)
    assert next(hand.consumer) is None
    assert status(alone) == Status.PENDING
    assert alone.run_at > alone.created_at, "not at once, or the two would play ping-pong"
    workers.end_isolation(other.pk)
    hand.publish(suspect())
    hand.inflight.put_back_waiting(longer_than=0)


def test_a_process_takes_turns_between_quarantined_and_other_tasks(hand, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "TURN_SECONDS", 0.0)
    first, second, ordinary = suspect(), suspect(), submit()
    hand.publish(first, second)
    assert next(hand.consumer) is None
    message = hand.next()
    hand.publish(ordinary)
    assert next(hand.consumer) is None, "nothing runs beside it"
    hand.consumer.ack(message)
    assert hand.next().message_id == str(ordinary.pk)
    assert sorted([status(first), status(second)]) == [Status.PENDING, Status.RUNNING]


def test_a_quarantined_task_that_cannot_be_handed_out_keeps_the_process_from_nothing(hand, monkeypatch) -> None:
    hand.publish(suspect())
    assert next(hand.consumer) is None
    monkeypatch.delitem(hand.broker.actors, "act")
    assert next(hand.consumer) is None
    hand.publish(submit("note"))
    assert hand.next().actor_name == "note"


# --- A worker that may not claim ---


def test_a_worker_that_was_asked_to_drain_gives_the_hints_it_takes_to_others(hand) -> None:
    # It hears of the drain with its next heartbeat only; until then its claims are refused.
    task = submit()
    hand.publish(task)
    workers.ask_to_drain([hand.inflight.worker_id])
    assert next(hand.consumer) is None
    assert (hand.depth, status(task)) == (1, Status.QUEUED)
    other = make_worker()
    (taken,) = hand.source.take([BAND], 1)
    assert [one.id for one in lifecycle.claim_many([taken.hint], worker_id=other.pk)] == [task.pk]


# --- Errors ---


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("connection already closed")])
def test_hints_outlive_a_database_that_is_away(hand, monkeypatch, error: Exception) -> None:
    fails_once(monkeypatch, lifecycle, "claim_many", error)
    task = submit()
    hand.publish(task)
    assert next(hand.consumer) is None
    assert hand.depth == 0
    assert hand.next().message_id == str(task.pk)
    assert hand.unacknowledged == 1


def test_a_broker_that_is_away_while_hints_are_taken_is_asked_again(hand, monkeypatch) -> None:
    fails_once(monkeypatch, hand.source, "take", BrokerUnavailable("away"))
    hand.publish(submit())
    assert next(hand.consumer) is None
    hand.next()


@pytest.mark.parametrize("call", ["take", "done"])
def test_a_broker_that_lost_a_reply_hears_once_the_worker_is_idle_that_nothing_is_in_hand(
    hand, monkeypatch, call: str
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(hand.source, "forget_taken", told.append)
    fails_once(monkeypatch, hand.source, call, BrokerUnavailable("away"))
    hand.publish(submit())
    while (message := next(hand.consumer)) is None:
        pass
    assert told == []
    hand.put(message)
    hand.inflight.put_back_waiting(longer_than=0)
    assert next(hand.consumer) is None
    assert next(hand.consumer) is None
    assert told == [hand.runtime.served]


def test_a_worker_without_a_lease_claims_nothing_and_puts_back_what_waits(hand) -> None:
    waiting, hinted = submit(), submit()
    hand.publish(waiting)
    hand.put(hand.next())
    hand.publish(hinted)
    hand.runtime.heartbeat._trusted_until = 0
    assert next(hand.consumer) is None
    assert (status(waiting), status(hinted), hand.depth) == (Status.PENDING, Status.QUEUED, 1)


# --- The end ---


def test_a_draining_worker_takes_nothing_and_gives_hints_back(hand, monkeypatch) -> None:
    fails_once(monkeypatch, lifecycle, "claim_many", OperationalError("away"))
    kept, other = submit(), submit()
    hand.publish(kept)
    next(hand.consumer)
    hand.publish(other)
    hand.runtime.drain.begin()
    assert next(hand.consumer) is None
    assert hand.depth == 2
    assert (status(kept), status(other)) == (Status.QUEUED, Status.QUEUED)


def test_a_claim_that_was_under_way_when_the_drain_began_is_put_back(hand) -> None:
    tasks = [submit() for _ in range(2)]
    hand.publish(*tasks)
    hand.put(hand.next())
    hand.runtime.drain.begin()
    hand.put(hand.next())
    assert next(hand.consumer) is None
    assert [status(task) for task in tasks] == [Status.PENDING] * 2


def rounds(hand: Hand, seconds: float = 0.3) -> int:
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        assert next(hand.consumer) is None
        count += 1
    return count


def test_a_draining_consumer_does_not_spin_beside_what_still_runs(hand) -> None:
    hand.runtime.drain.begin()
    assert rounds(hand) < 20


def test_a_consumer_does_not_spin_while_outcomes_cannot_be_written(hand, monkeypatch) -> None:
    monkeypatch.setattr(type(hand.runtime.completer), "is_full", True)
    hand.publish(submit())
    assert rounds(hand) < 20
    assert hand.depth == 1


# --- In a whole engine ---


def test_one_consumer_thread_serves_all_queues(idle_engine) -> None:
    idle_engine.start_worker()
    assert list(idle_engine.worker.consumers) == [idle_engine.runtime.served[0]]
    assert not [name for name in idle_engine.broker.queues if name.endswith(".DQ")]


def test_a_message_that_cannot_be_built_keeps_an_idle_worker_from_nothing(engine) -> None:
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


def test_a_lost_wake_up_costs_an_idle_worker_no_more_than_its_own_look(idle_engine) -> None:
    idle_engine.start_worker()
    hint = factories.dispatch(submit("note", args=[1]))
    # Past the source, so that nobody is woken.
    idle_engine.broker.queues[BAND].put(f"{hint.task_id}:{hint.dispatch}".encode())
    wait_until(lambda: actors.noted)
