"""The watchdog: when it ends a worker process."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from dramatiq.middleware import Shutdown

from tasks import lifecycle
from tasks.db import call_timeout
from tasks.models import Attempt, Task
from tasks.states import AttemptOutcome, Status
from tasks.worker import event_loop
from tasks.worker import watchdog as watchdog_module
from tasks.worker.flight_recorder import Ending
from tasks.worker.watchdog import EXIT_LEASE_LOST, Fault, Watchdog
from tests import factories
from tests.factories import submit
from tests.waiting import wait_until
from tests.worker.parts import Parts


@pytest.fixture
def watchdog(parts: Parts, heartbeat: Any, monkeypatch) -> Watchdog:
    heartbeat._thread = SimpleNamespace(is_alive=lambda: True, ident=1)
    monkeypatch.setattr(event_loop, "is_alive", lambda: True)
    thread = SimpleNamespace(is_alive=lambda: True)
    worker: Any = SimpleNamespace(workers=[thread], consumers={"q": thread})
    return Watchdog(
        worker,
        interrupter=parts.interrupter,
        completer=parts.completer,
        heartbeat=heartbeat,
        drain=parts.drain,
        recorder=parts.recorder,
    )


def dead() -> Any:
    return SimpleNamespace(is_alive=lambda: False, ident=1)


def test_a_healthy_worker_is_left_alone(watchdog, parts) -> None:
    assert watchdog._fault() is None
    assert parts.interrupter.fences == []


def test_a_worker_that_was_declared_gone_ends(watchdog, heartbeat) -> None:
    heartbeat.is_gone = True
    fault = watchdog._fault()
    assert (fault.ending, fault.exit_code) == (Ending.LEASE_LOST, EXIT_LEASE_LOST)
    assert "declared gone" in fault.reason


def test_a_worker_whose_lease_is_over_interrupts_its_tasks_and_stays(watchdog, parts, heartbeat) -> None:
    heartbeat._trusted_until = time.monotonic() - 1
    parts.interrupter.running = 1
    assert watchdog._fault() is None
    assert parts.interrupter.fences == [Shutdown]


def test_it_ends_when_an_actor_ignores_the_interrupt_for_another_lease(watchdog, parts, heartbeat, settings) -> None:
    heartbeat._trusted_until = time.monotonic() - settings.WORKER_LEASE_SECONDS - 1
    parts.interrupter.running = 1
    assert watchdog._fault().exit_code == EXIT_LEASE_LOST


def test_while_nothing_runs_it_waits_for_the_database_without_limit(watchdog, parts, heartbeat) -> None:
    # Until then it keeps the outcomes of ended tasks.
    heartbeat._trusted_until = time.monotonic() - 86_400
    assert watchdog._fault() is None


def test_a_dead_thread_ends_the_process(watchdog, parts, heartbeat, monkeypatch) -> None:
    parts.completer.is_alive = False
    assert watchdog._fault().ending is Ending.UNHEALTHY
    parts.completer.is_alive = True
    watchdog._worker.workers.append(dead())
    assert watchdog._fault().ending is Ending.UNHEALTHY
    watchdog._worker.workers.pop()
    watchdog._worker.consumers["q"] = dead()
    assert watchdog._fault().ending is Ending.UNHEALTHY
    # Dramatiq's threads end in a drain, Callboard's do not.
    parts.drain.has_begun = True
    assert watchdog._fault() is None
    heartbeat._thread = dead()
    assert watchdog._fault().ending is Ending.UNHEALTHY


def test_a_dead_event_loop_ends_the_process(watchdog, monkeypatch) -> None:
    monkeypatch.setattr(event_loop, "is_alive", lambda: False)
    assert watchdog._fault().ending is Ending.NONE, "an actor ended it, so the running tasks are to blame"


@pytest.mark.parametrize("part", ["completer", "heartbeat"])
def test_a_thread_that_stands_still_ends_the_process_unless_it_waits_for_the_database(
    watchdog, parts, heartbeat, settings, part
) -> None:
    if part == "completer":
        parts.completer.stalled_for = settings.WORKER_LEASE_SECONDS + 1
    else:
        heartbeat._beat_monotonic = time.monotonic() - settings.WORKER_LEASE_SECONDS - 1
    assert watchdog._fault().ending is Ending.UNHEALTHY
    if part == "heartbeat":
        heartbeat._thread.ident = threading.get_ident()
        with call_timeout.bounded(60):
            assert watchdog._fault() is None


def test_threads_are_not_blamed_for_a_process_that_stood_still(watchdog, parts, heartbeat, settings) -> None:
    # After a suspend of the machine, for example, the threads need a moment.
    parts.completer.stalled_for = settings.WORKER_LEASE_SECONDS + 1
    heartbeat._beat_monotonic = watchdog._consumer_round = time.monotonic() - 3600
    watchdog._awake_since = time.monotonic() - 1
    assert watchdog._fault() is None
    watchdog._awake_since -= settings.WORKER_LEASE_SECONDS + 1
    assert watchdog._fault().ending is Ending.UNHEALTHY


def test_a_consumer_that_waits_for_the_database_is_not_stale(watchdog) -> None:
    watchdog.note_consumer_round()
    watchdog._consumer_round = time.monotonic() - watchdog_module.STALE_CONSUMER_SECONDS - 1
    with call_timeout.bounded(60):
        assert watchdog._fault() is None
    # It has its answer, and has not ended its round yet.
    assert watchdog._fault() is None


def test_a_consumer_that_makes_no_rounds_ends_the_process(watchdog, parts) -> None:
    watchdog._consumer_round = time.monotonic() - watchdog_module.STALE_CONSUMER_SECONDS - 1
    assert watchdog._fault().ending is Ending.UNHEALTHY
    watchdog.note_consumer_round()
    assert watchdog._fault() is None


def test_a_fault_ends_the_process_with_its_code(watchdog, parts, heartbeat, monkeypatch) -> None:
    class Ended(BaseException):
        """Ends the thread, as os._exit() would end the process."""

    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr(watchdog_module, "os", SimpleNamespace(_exit=end))
    monkeypatch.setattr(watchdog, "_stopped", SimpleNamespace(wait=lambda _: False))
    heartbeat.is_gone = True
    with pytest.raises(Ended):
        watchdog._run()
    assert (codes, parts.recorder.endings) == ([EXIT_LEASE_LOST], [Ending.LEASE_LOST])


@pytest.mark.parametrize(("is_retiring", "ending"), [(True, Ending.RETIRED), (False, Ending.UNFINISHED)])
def test_a_process_that_ignores_its_own_signal_ends_all_the_same(watchdog, parts, is_retiring, ending) -> None:
    parts.drain.is_ignored, parts.drain.is_retiring = True, is_retiring
    assert watchdog._fault().ending is ending


@pytest.mark.parametrize(
    ("ending", "waits"), [(Ending.UNHEALTHY, True), (Ending.NONE, True), (Ending.LEASE_LOST, False)]
)
def test_a_process_that_ends_itself_lets_outcomes_be_written_first_while_it_has_its_lease(
    watchdog, parts, monkeypatch, ending, waits
) -> None:
    parts.completer.is_writing = True
    left: list[bool] = []

    def write(_seconds: float) -> None:
        parts.completer.is_writing = False

    monkeypatch.setattr(watchdog_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=write))
    monkeypatch.setattr(watchdog_module, "os", SimpleNamespace(_exit=lambda _: left.append(parts.completer.is_writing)))
    watchdog.end(Fault(ending, 70, "a test"))
    assert left == [not waits]


# --- In a real worker ---


def run(engine: Any, **fields: Any) -> Task:
    """Hand a task to the worker as the dispatcher would."""
    task = submit(**fields)
    engine.broker.source.publish_many([("default.medium", factories.dispatch(task))])
    return task


def test_a_lease_that_is_over_interrupts_running_tasks_keeps_outcomes_and_starts_nothing(lone, monkeypatch) -> None:
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


def test_an_interrupt_for_a_lost_lease_is_a_shutdown(lone) -> None:
    task = run(lone, payload={"do": "sleep", "value": 60})
    wait_until(lambda: lone.runtime.interrupter.running)
    (execution,) = lone.runtime.inflight.executions
    lone.runtime.interrupter.interrupt_all(Shutdown)
    wait_until(Attempt.objects.exists)
    assert execution.interrupts == [Shutdown]
    assert Task.objects.get(pk=task.pk).failures == 0
