"""Heartbeat and watchdog: what a worker learns, and when it gives up."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.db import InterfaceError, OperationalError
from dramatiq.middleware import Shutdown

from tasks import lifecycle
from tasks.db import call_timeout
from tasks.lifecycle import workers
from tasks.lifecycle.workers import Concerns, Heard
from tasks.models import Attempt, Task, Worker, new_id
from tasks.states import AttemptOutcome, Status
from tasks.worker import event_loop
from tasks.worker import heartbeat as heartbeat_module
from tasks.worker import watchdog as watchdog_module
from tasks.worker.flight_recorder import Ending
from tasks.worker.heartbeat import Heartbeat
from tasks.worker.watchdog import EXIT_LEASE_LOST, Watchdog
from tests import factories
from tests.factories import submit
from tests.waiting import wait_until

Key = tuple[UUID, int]


class FakeRuntime:
    """A worker's own part, as the heartbeat and the watchdog see it."""

    def __init__(self) -> None:
        self.worker_id = new_id()
        self.keys: set[Key] = set()
        self.is_draining = self.is_worn_out = False
        self.cancelled: list[Key] = []
        self.ends = self.fences = 0
        self.completer = SimpleNamespace(is_alive=True, stalled_for=0, unwritten=lambda older_than_seconds: [])
        self.interrupter = SimpleNamespace(running=0, is_alive=True)
        self.endings: list[Ending] = []

    @property
    def held(self) -> list[Key]:
        return list(self.keys)

    def holds(self, key: Key) -> bool:
        return key in self.keys

    def cancel(self, keys: list[Key]) -> None:
        self.cancelled += keys

    def retire(self) -> None:
        self.ends += 1
        self.is_draining = True

    def fence(self) -> None:
        self.fences += 1

    def say_ending(self, ending: Ending) -> None:
        self.endings.append(ending)

    def end_if_retired(self) -> None:
        pass

    def tick(self, *, is_last: bool = False) -> None:
        pass


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def heartbeat(runtime: FakeRuntime) -> Any:
    beat: Any = Heartbeat(runtime)  # type: ignore[arg-type]
    runtime.heartbeat = beat  # type: ignore[attr-defined]
    return beat


class News(NamedTuple):
    """What one beat brings, in both of its parts."""

    heard: Heard
    concerns: Concerns


@pytest.fixture
def heard(monkeypatch) -> list[Any]:
    """What the registry answers, one after the other; errors are raised, functions called."""
    answers: list[Any] = []
    concerns: list[Concerns] = []

    def beat(worker_id: UUID, *, unwritten: Any) -> Heard:
        answer = answers.pop(0) if answers else news()
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        concerns[:] = [answer.concerns]
        return answer.heard

    monkeypatch.setattr(workers, "beat", beat)
    monkeypatch.setattr(workers, "concerns", lambda worker_id, held: concerns[0])
    return answers


def news(*, present: bool = True, draining: bool = False, cancelled: Any = (), unheld: Any = ()) -> News:
    return News(Heard(present, draining), Concerns(list(cancelled), list(unheld)))


@pytest.fixture
def put_back(monkeypatch) -> list[Key]:
    """Collect what the heartbeat puts back."""
    returned: list[Key] = []

    def put_back_many(keys: Any, *, worker_id: UUID) -> int:
        returned.extend(keys)
        return len(keys)

    monkeypatch.setattr(lifecycle, "put_back_many", put_back_many)
    return returned


# --- Rows that nobody holds ---


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


def test_a_stale_heartbeat_does_not_put_back_what_runs(runtime, heartbeat, heard, put_back) -> None:
    # Both beats were asked before the claim and are answered after it.
    key = (new_id(), 1)

    def claimed_meanwhile() -> News:
        runtime.keys.add(key)
        return news(unheld=[key])

    heard += [claimed_meanwhile, claimed_meanwhile]
    heartbeat._beat()
    heartbeat._beat()
    assert put_back == []


def test_a_row_that_was_held_between_two_beats_is_no_suspect_any_more(runtime, heartbeat, heard, put_back) -> None:
    key = (new_id(), 1)
    heard += [news(unheld=[key])] * 3
    heartbeat._beat()
    runtime.keys.add(key)
    heartbeat._beat()
    runtime.keys.clear()
    heartbeat._beat()
    assert put_back == []


def test_another_attempt_is_another_row(heartbeat, heard, put_back) -> None:
    id = new_id()
    heard += [news(unheld=[(id, 1)]), news(unheld=[(id, 2)])]
    heartbeat._beat()
    heartbeat._beat()
    assert put_back == []


# --- News ---


def test_cancels_are_passed_on_and_a_drain_is_heeded_once(runtime, heartbeat, heard) -> None:
    key = (new_id(), 1)
    heard += [news(cancelled=[key]), news(draining=True), news(draining=True)]
    for _ in range(3):
        heartbeat._beat()
    assert (runtime.cancelled, runtime.ends) == ([key], 1)


def test_who_is_worn_out_asks_for_its_own_drain_by_way_of_the_board(runtime, heartbeat, heard, monkeypatch) -> None:
    asked: list[list[UUID]] = []
    monkeypatch.setattr(workers, "ask_to_drain", asked.append)
    heard += [news(), news(), news(draining=True), news(draining=True)]
    heartbeat._beat()
    runtime.is_worn_out = True
    heartbeat._beat()
    assert (asked, runtime.ends) == ([[runtime.worker_id]], 1), "not a beat later: it would go on taking hints"
    heartbeat._beat()
    heartbeat._beat()
    assert (asked, runtime.ends) == ([[runtime.worker_id]], 1)


def test_a_registry_that_fails_while_news_is_heeded_does_not_end_the_heartbeat(
    runtime, heartbeat, heard, monkeypatch
) -> None:
    def away(_: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(workers, "ask_to_drain", away)
    runtime.is_worn_out = True
    assert heartbeat._guarded_beat() is False
    monkeypatch.setattr(runtime, "cancel", lambda keys: 1 / 0)
    runtime.is_worn_out = False
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


def test_a_lock_on_the_table_of_tasks_keeps_no_lease_from_being_renewed(heartbeat, heard, monkeypatch) -> None:
    def locked(*_: Any) -> Concerns:
        raise locked_out()

    monkeypatch.setattr(workers, "concerns", locked)
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


def test_a_worker_that_was_declared_gone_has_no_lease_for_ever(heartbeat, heard) -> None:
    heard += [news(present=False)]
    heartbeat._beat()
    assert heartbeat.is_gone
    assert not heartbeat.has_lease
    heartbeat._beat()
    assert not heartbeat.has_lease


def test_it_beats_until_it_is_stopped(heartbeat, monkeypatch, settings) -> None:
    settings.HEARTBEAT_INTERVAL_SECONDS = 0.01
    beats = threading.Semaphore(0)

    def beat(*_: Any, **__: Any) -> Heard:
        beats.release()
        return news().heard

    monkeypatch.setattr(workers, "beat", beat)
    monkeypatch.setattr(workers, "concerns", lambda *_: news().concerns)
    heartbeat.start()
    assert beats.acquire(timeout=10)
    assert beats.acquire(timeout=10)
    settings.HEARTBEAT_INTERVAL_SECONDS = 5
    heartbeat.stop()
    assert not heartbeat.is_alive


# --- The watchdog ---


@pytest.fixture
def dogged(runtime: FakeRuntime, heartbeat: Any, monkeypatch) -> Any:
    heartbeat._thread = SimpleNamespace(is_alive=lambda: True, ident=1)
    monkeypatch.setattr(event_loop, "is_alive", lambda: True)
    thread = SimpleNamespace(is_alive=lambda: True)
    return Watchdog(runtime, SimpleNamespace(workers=[thread], consumers={"q": thread}))  # type: ignore[arg-type]


def dead() -> Any:
    return SimpleNamespace(is_alive=lambda: False, ident=1)


def test_a_healthy_worker_is_left_alone(dogged, runtime) -> None:
    assert dogged._fault() is None
    assert runtime.fences == 0


def test_a_worker_that_was_declared_gone_ends(dogged, heartbeat) -> None:
    heartbeat.is_gone = True
    fault = dogged._fault()
    assert (fault.ending, fault.exit_code) == (Ending.LEASE_LOST, EXIT_LEASE_LOST)
    assert "declared gone" in fault.reason


def test_a_worker_whose_lease_is_over_interrupts_what_runs_and_stays(dogged, runtime, heartbeat) -> None:
    heartbeat._trusted_until = time.monotonic() - 1
    runtime.interrupter.running = 1
    assert dogged._fault() is None
    assert runtime.fences == 1


def test_it_ends_when_an_actor_does_not_heed_the_interrupt_for_another_lease(
    dogged, runtime, heartbeat, settings
) -> None:
    heartbeat._trusted_until = time.monotonic() - settings.WORKER_LEASE_SECONDS - 1
    runtime.interrupter.running = 1
    assert dogged._fault().exit_code == EXIT_LEASE_LOST


def test_with_nothing_that_runs_it_waits_for_the_database_for_ever(dogged, runtime, heartbeat) -> None:
    # What has ended keeps its outcome until then.
    heartbeat._trusted_until = time.monotonic() - 86_400
    assert dogged._fault() is None


def test_a_dead_thread_ends_the_process(dogged, runtime, heartbeat, monkeypatch) -> None:
    runtime.completer.is_alive = False
    assert dogged._fault().ending is Ending.UNHEALTHY
    runtime.completer.is_alive = True
    dogged._worker.workers.append(dead())
    assert dogged._fault().ending is Ending.UNHEALTHY
    dogged._worker.workers.pop()
    dogged._worker.consumers["q"] = dead()
    assert dogged._fault().ending is Ending.UNHEALTHY
    # Threads of Dramatiq's end in a drain; ours do not.
    runtime.is_draining = True
    assert dogged._fault() is None
    heartbeat._thread = dead()
    assert dogged._fault().ending is Ending.UNHEALTHY


def test_a_dead_event_loop_ends_the_process(dogged, monkeypatch) -> None:
    monkeypatch.setattr(event_loop, "is_alive", lambda: False)
    assert dogged._fault().ending is Ending.NONE, "an actor did it, and what runs is to blame"


@pytest.mark.parametrize("part", ["completer", "heartbeat"])
def test_a_thread_that_stands_still_ends_the_process_unless_it_waits_for_the_database(
    dogged, runtime, heartbeat, settings, part
) -> None:
    if part == "completer":
        runtime.completer.stalled_for = settings.WORKER_LEASE_SECONDS + 1
    else:
        heartbeat._moved = time.monotonic() - settings.WORKER_LEASE_SECONDS - 1
    assert dogged._fault().ending is Ending.UNHEALTHY
    if part == "heartbeat":
        heartbeat._thread.ident = threading.get_ident()
        with call_timeout.bounded(60):
            assert dogged._fault() is None


def test_threads_are_not_blamed_for_a_process_that_stood_still(dogged, runtime, heartbeat, settings) -> None:
    # Suspended with its machine, for example: its threads need a moment after it goes on.
    runtime.completer.stalled_for = settings.WORKER_LEASE_SECONDS + 1
    heartbeat._moved = dogged._seen = time.monotonic() - 3600
    dogged._awake_since = time.monotonic() - 1
    assert dogged._fault() is None
    dogged._awake_since -= settings.WORKER_LEASE_SECONDS + 1
    assert dogged._fault().ending is Ending.UNHEALTHY


def test_a_consumer_that_waits_for_the_database_is_not_stale(dogged) -> None:
    dogged.consumer_came_by()
    dogged._seen = time.monotonic() - watchdog_module.STALE_CONSUMER_SECONDS - 1
    with call_timeout.bounded(60):
        assert dogged._fault() is None


def test_a_consumer_that_does_not_come_by_ends_the_process(dogged, runtime) -> None:
    dogged._seen = time.monotonic() - watchdog_module.STALE_CONSUMER_SECONDS - 1
    assert dogged._fault().ending is Ending.UNHEALTHY
    dogged.consumer_came_by()
    assert dogged._fault() is None


def test_a_fault_ends_the_process_with_its_code(dogged, heartbeat, monkeypatch) -> None:
    class Ended(BaseException):
        """What os._exit does to a process, done to a thread."""

    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr(watchdog_module, "os", SimpleNamespace(_exit=end))
    monkeypatch.setattr(dogged, "_stopped", SimpleNamespace(wait=lambda _: False))
    heartbeat.is_gone = True
    with pytest.raises(Ended):
        dogged._run()
    assert (codes, dogged._runtime.endings) == ([EXIT_LEASE_LOST], [Ending.LEASE_LOST])


# --- In a real worker ---


@pytest.fixture
def lone(idle_engine) -> Iterator[Any]:
    """Start a worker without a scheduler, whose heartbeat is in the test's hands."""
    idle_engine.start_worker(threads=2)
    idle_engine.runtime.heartbeat.stop()
    yield idle_engine
    idle_engine.runtime.heartbeat._trusted_until = float("inf")


def run(engine: Any, **fields: Any) -> Task:
    """Hand a task to the worker as the dispatcher would."""
    task = submit(**fields)
    engine.broker.source.publish_many([("default.medium", factories.dispatch(task))])
    return task


def test_a_lease_that_is_over_interrupts_what_runs_keeps_what_ended_and_starts_nothing(lone, monkeypatch) -> None:
    runtime = lone.runtime
    # The database is away for the completer only, so that an ended outcome waits.
    is_away = threading.Event()
    is_away.set()
    stock = lifecycle.complete_many

    def complete(outcomes: Any, **_: Any) -> Any:
        if is_away.is_set():
            raise OperationalError("away")
        return stock(outcomes)

    monkeypatch.setattr(lifecycle, "complete_many", complete)
    ended = run(lone, payload={"do": "return", "value": 7})
    running = run(lone, payload={"do": "sleep", "value": 60})
    wait_until(lambda: runtime.interrupter.running == 1 and len(runtime.completer._waiting) == 1)
    runtime.heartbeat._trusted_until = time.monotonic() - 1
    runtime.watchdog._fault()
    wait_until(lambda: runtime.interrupter.running == 0)
    late = run(lone, payload={"do": "return"})
    is_away.clear()
    wait_until(lambda: Attempt.objects.count() == 2)
    assert Task.objects.get(pk=ended.pk).result == 7
    assert Task.objects.get(pk=running.pk).status == Status.PENDING
    assert Attempt.objects.get(task_id=running.pk).outcome == AttemptOutcome.INTERRUPTED
    # The hint stays where another worker can take it.
    assert lone.broker.source.depth(["default.medium"]) == {"default.medium": 1}
    assert Task.objects.get(pk=late.pk).status == Status.QUEUED
    assert lone.exits == []


def test_a_lease_that_comes_back_lets_the_worker_go_on(lone) -> None:
    lone.runtime.heartbeat._trusted_until = time.monotonic() - 1
    task = run(lone, payload={"do": "return"})
    lone.runtime.watchdog._fault()
    assert lone.runtime.heartbeat._beat()
    (done,) = lone.wait_for(task)
    assert done.status == Status.SUCCEEDED
    assert lone.exits == []


def test_an_interrupt_by_the_fence_is_a_shutdown(lone) -> None:
    task = run(lone, payload={"do": "sleep", "value": 60})
    wait_until(lambda: lone.runtime.interrupter.running)
    (execution,) = lone.runtime._held.values()
    lone.runtime.fence()
    wait_until(Attempt.objects.exists)
    assert execution.interrupts == [Shutdown]
    assert Task.objects.get(pk=task.pk).failures == 0


def test_a_claim_whose_reply_was_lost_is_put_back_by_the_heartbeat(lone) -> None:
    # Committed for this worker and unknown to it.
    worker = Worker.objects.get(pk=lone.runtime.worker_id)
    task = submit()
    factories.start(task, worker)
    factories.age(task, started_at=timedelta(seconds=10))
    lone.runtime.heartbeat._beat()
    assert Task.objects.get(pk=task.pk).status == Status.RUNNING
    lone.runtime.heartbeat._beat()
    task.refresh_from_db()
    assert (task.status, task.failures, task.attempts.count()) == (Status.PENDING, 0, 0)
