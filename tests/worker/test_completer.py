"""The completer: outcomes are written, whatever goes wrong."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError, connection

from dlq.models import DeadLetter
from tasks import lifecycle, registry
from tasks.lifecycle import Moved, Outcome
from tasks.models import Attempt, Task, Worker
from tasks.states import AttemptOutcome, DeathReason, Status
from tasks.worker import completer as module
from tasks.worker.completer import Completer
from tasks.worker.execution import Execution
from tests import factories
from tests.factories import make_worker, submit
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Complete = Callable[[Sequence[Outcome]], list[Moved]]
STOCK: Complete = lifecycle.complete_many


@pytest.fixture
def worker(transactional_db: None) -> Worker:
    return make_worker()


class Desk:
    """A completer, and the executions that it has written."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.written: list[Execution] = []
        inflight: Any = SimpleNamespace(worker_id=worker.pk, forget=self.written.extend)
        self.completer = Completer(inflight)

    def run(self, **fields: Any) -> Execution:
        """Claim a task."""
        task = submit(**fields)
        return Execution(factories.start(task, self.worker), claimed_monotonic=0.0)

    def end(self, execution: Execution, *, result: Any = None, error: BaseException | None = None) -> Task:
        """End a run."""
        execution.started_monotonic, execution.finished_monotonic = 1.0, 2.0
        execution.result, execution.error, execution.is_captured = result, error, True
        self.completer.add(execution)
        return Task.objects.get(pk=execution.claimed.id)

    def write(self, count: int = 1) -> None:
        """Let the completer work until so many are written."""
        if not self.completer.is_alive:
            self.completer.start()
        wait_until(lambda: len(self.written) >= count, what=lambda: f"{count} to be written, not {len(self.written)}")


@pytest.fixture
def desk(worker: Worker, monkeypatch) -> Iterator[Desk]:
    monkeypatch.setattr(module, "RETRY_DELAYS_SECONDS", (0.01,))
    made = Desk(worker)
    yield made
    if made.completer.is_alive:
        assert made.completer.stop(10)


@pytest.fixture
def complete(monkeypatch) -> list[Complete]:
    """Stand in for complete_many: each call takes the first of this list, the stock one when it is empty."""
    queued = list[Complete]()

    def called(outcomes: Sequence[Outcome]) -> list[Moved]:
        return queued.pop(0)(outcomes) if queued else STOCK(outcomes)

    monkeypatch.setattr(lifecycle, "complete_many", called)
    return queued


def fails(error: Exception) -> Complete:
    def raising(outcomes: Sequence[Outcome]) -> list[Moved]:
        raise error

    return raising


def counts(sizes: list[int]) -> Complete:
    def counting(outcomes: Sequence[Outcome]) -> list[Moved]:
        sizes.append(len(outcomes))
        return STOCK(outcomes)

    return counting


def statuses() -> list[str]:
    return list(Task.objects.order_by("pk").values_list("status", flat=True))


def test_outcomes_that_wait_are_written_in_one_batch_in_the_order_of_their_end(desk, complete) -> None:
    batches: list[int] = []
    complete.append(counts(batches))
    runs = [desk.run() for _ in range(5)]
    for run in runs:
        desk.end(run, result=1)
    desk.write(5)
    assert batches == [5]
    assert desk.written == runs
    assert statuses() == [Status.SUCCEEDED] * 5


def test_one_unstorable_result_is_dropped_alone_and_its_task_has_succeeded(desk) -> None:
    for place in range(9):
        task = desk.run(max_retries=5)
        # Past the check of results: as if the rule and the database disagreed.
        desk.end(task, result="fine")
        if place == 4:
            execution, outcome = desk.completer._waiting[-1]
            desk.completer._waiting[-1] = (execution, lifecycle.Outcome(**{**vars(outcome), "result": "nul \0"}))
    desk.write(9)
    assert statuses() == [Status.SUCCEEDED] * 9
    assert list(Task.objects.order_by("pk").values_list("result", flat=True)) == ["fine"] * 4 + [None] + ["fine"] * 4
    (note,) = Attempt.objects.exclude(note="").values_list("note", flat=True)
    assert note.startswith("the result was not kept: DataError: ")
    assert Attempt.objects.count() == 9


def test_a_success_that_the_database_refuses_without_its_result_too_dies_and_is_not_run_again(desk, complete) -> None:
    complete += [fails(IntegrityError("first")), fails(IntegrityError("second"))]
    task = desk.end(desk.run(max_retries=5), result=1)
    desk.write()
    task.refresh_from_db()
    assert (task.status, task.failures) == (Status.DEAD, 1)
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.error_type) == (DeathReason.NOT_RETRYABLE, "OutcomeNotStorable")
    assert "IntegrityError: second" in letter.error_message
    assert task.attempts.get().note == "the result was not kept: IntegrityError: first"


def test_a_failure_that_the_database_refuses_keeps_its_retries_with_a_shorter_error(desk, complete) -> None:
    complete.append(fails(IntegrityError("first")))
    task = desk.end(desk.run(max_retries=5), error=RuntimeError("x" * 2_000))
    desk.write()
    task.refresh_from_db()
    assert (task.status, task.failures, task.error) == (Status.RETRYING, 1, f"RuntimeError: {'x' * 500}")
    attempt = task.attempts.get()
    assert (attempt.outcome, attempt.traceback) == (AttemptOutcome.FAILED, "")
    assert attempt.note == "the error was shortened: IntegrityError: first"


def test_a_callback_that_the_database_refuses_is_dropped_and_the_failure_stays(desk, complete) -> None:
    complete += [fails(IntegrityError("first")), fails(IntegrityError("second"))]
    run = desk.run(actor="with_callbacks", payload={"do": "raise"}, max_retries=5)
    task = desk.end(run, error=RuntimeError("as asked"))
    desk.write()
    task.refresh_from_db()
    assert (task.status, task.failures, task.error) == (Status.RETRYING, 1, "RuntimeError: as asked")
    assert "the callbacks were dropped: IntegrityError: second" in task.attempts.get().note
    assert not Task.objects.for_actor("note").exists()


def test_an_outcome_that_can_never_be_stored_is_dropped_and_the_heartbeat_puts_its_task_back(desk, complete) -> None:
    complete += [fails(IntegrityError(str(time))) for time in range(4)]
    lost, kept = desk.run(), desk.run()
    desk.end(lost, result=1)
    desk.write()
    assert desk.written == [lost]
    desk.end(kept, result=2)
    desk.write(2)
    assert statuses() == [Status.RUNNING, Status.SUCCEEDED]


def test_a_commit_whose_reply_was_lost_is_recognised(desk, complete, caplog) -> None:

    def lose_reply(outcomes: Sequence[Outcome]) -> list[Moved]:
        STOCK(outcomes)
        raise OperationalError("server closed the connection unexpectedly")

    complete.append(lose_reply)
    task = desk.end(desk.run(), result=7)
    desk.write()
    task.refresh_from_db()
    assert (task.status, task.result, task.attempts.count()) == (Status.SUCCEEDED, 7, 1)
    assert "late outcome refused" not in caplog.text


def test_a_late_outcome_of_a_task_that_was_taken_away_is_refused_and_logged(desk, caplog) -> None:
    run = desk.run()
    lifecycle.put_back_many([run.key], worker_id=desk.worker.pk)
    task = desk.end(run, result="late")
    desk.write()
    task.refresh_from_db()
    assert (task.status, task.result) == (Status.PENDING, None)
    assert "late outcome refused" in caplog.text


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("connection already closed")])
def test_a_database_that_is_away_is_waited_for(desk, complete, error: Exception) -> None:
    complete += [fails(error)] * 5
    task = desk.end(desk.run(), result=7)
    desk.write()
    task.refresh_from_db()
    assert (task.status, task.result) == (Status.SUCCEEDED, 7)
    assert complete == []


def test_a_session_that_the_server_ended_is_replaced(desk) -> None:
    desk.end(desk.run(), result=1)
    desk.write()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        assert cursor.fetchall()
    task = desk.end(desk.run(), result=2)
    desk.write(2)
    task.refresh_from_db()
    assert (task.status, task.result) == (Status.SUCCEEDED, 2)


@pytest.mark.parametrize("error", [ValueError("not this one"), RecursionError(), SystemExit(), KeyboardInterrupt()])
def test_a_followup_whose_validator_raises_ends_its_task_alone(desk, monkeypatch, error: BaseException) -> None:
    stock = registry.check_arguments

    def check(spec: Any, *, args: Any, payload: Any, is_followup: bool = False) -> None:
        if is_followup and args[1] == "bad":
            raise error
        stock(spec, args=args, payload=payload, is_followup=is_followup)

    monkeypatch.setattr(registry, "check_arguments", check)
    for value in ("good", "bad", "good"):
        desk.end(desk.run(actor="with_callbacks", payload={"do": "return"}, max_retries=5), result=value)
    desk.write(3)
    assert desk.completer.is_alive
    assert list(Task.objects.for_actor("with_callbacks").order_by("pk").values_list("status", flat=True)) == [
        Status.SUCCEEDED, Status.DEAD, Status.SUCCEEDED,
    ]  # fmt: skip
    assert DeadLetter.objects.get().reason == DeathReason.NOT_RETRYABLE
    # The dead one submits neither its callback nor that for failures, because its function has done its work.
    assert Task.objects.for_actor("note").count() == 2


def test_followups_come_once_although_the_reply_was_lost(desk, complete) -> None:

    def lose_reply(outcomes: Sequence[Outcome]) -> list[Moved]:
        STOCK(outcomes)
        raise OperationalError("gone")

    complete.append(lose_reply)
    desk.end(desk.run(actor="with_callbacks", payload={"do": "return"}), result=1)
    desk.write()
    assert Task.objects.for_actor("note").count() == 1


def test_of_two_attempts_in_one_batch_the_older_is_refused_with_its_followups(desk) -> None:
    old = desk.run(actor="with_callbacks", payload={"do": "return"})
    lifecycle.put_back_many([old.key], worker_id=desk.worker.pk)
    task = Task.objects.get(pk=old.claimed.id)
    new = Execution(factories.start(task, desk.worker), claimed_monotonic=0.0)
    assert (new.claimed.id, new.claimed.attempt) == (old.claimed.id, 2)
    desk.end(old, result="old")
    desk.end(new, result="new")
    desk.write(2)
    task.refresh_from_db()
    assert (task.result, list(task.attempts.values_list("number", flat=True))) == ("new", [2])
    (note,) = Task.objects.for_actor("note")
    assert note.args[1] == "new"


@pytest.mark.parametrize("error", [KeyError("no such actor"), SystemExit(), KeyboardInterrupt()])
def test_a_run_whose_outcome_cannot_be_decided_runs_again_only_if_it_failed(desk, monkeypatch, error) -> None:
    def broken(*_: Any) -> Outcome:
        raise error

    monkeypatch.setattr(module, "outcome_of", broken)
    done = desk.end(desk.run(), result=1)
    failed = desk.end(desk.run(), error=RuntimeError("as asked"))
    desk.write(2)
    done.refresh_from_db()
    failed.refresh_from_db()
    assert (done.status, failed.status) == (Status.DEAD, Status.RETRYING)
    assert failed.attempts.get().error_message == "as asked"


def test_a_stop_writes_what_waits(desk) -> None:
    for _ in range(3):
        desk.end(desk.run(), result=1)
    desk.completer.start()
    assert desk.completer.stop(10)
    assert not desk.completer.is_alive
    assert statuses() == [Status.SUCCEEDED] * 3


def test_a_stop_that_takes_too_long_returns_false(desk, complete) -> None:
    goes_on = threading.Event()

    def hang(outcomes: Sequence[Outcome]) -> list[Moved]:
        goes_on.wait(20)
        raise OperationalError("gone")

    complete.append(hang)
    desk.end(desk.run(), result=1)
    desk.completer.start()
    assert desk.completer.stop(0.05) is False
    goes_on.set()
    assert desk.completer.stop(10) is True
    assert statuses() == [Status.SUCCEEDED]


def test_a_flush_returns_when_the_runs_that_had_ended_are_written(desk, complete) -> None:
    goes_on = threading.Event()
    returned: list[tuple[bool, int]] = []

    def wait(outcomes: Sequence[Outcome]) -> list[Moved]:
        goes_on.wait(20)
        return STOCK(outcomes)

    complete.append(wait)
    desk.end(desk.run(), result=1)
    desk.completer.start()
    wait_until(lambda: not complete, what="the first write to begin")
    desk.end(desk.run(), result=1)
    flush = threading.Thread(target=lambda: returned.append((desk.completer.flush(20), desk.completer.backlog)))
    flush.start()
    flush.join(0.1)
    assert flush.is_alive()
    goes_on.set()
    flush.join(10)
    assert returned == [(True, 0)]
    assert statuses() == [Status.SUCCEEDED] * 2


def test_a_flush_waits_no_longer_than_it_may_and_for_no_locked_row(desk, complete, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOCKED_PAUSE_SECONDS", 1)
    # A row that stays RUNNING although it was to be written is locked.
    complete.append(lambda _: [])
    desk.end(desk.run(), result=1)
    assert desk.completer.flush(0.05) is False
    desk.completer.start()
    assert desk.completer.flush(20) is True
    assert desk.completer.backlog == 1
    desk.write()


def test_a_completer_with_too_many_waiting_outcomes_is_full(desk, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    desk.end(desk.run(), result=1)
    assert not desk.completer.is_full
    desk.end(desk.run(), result=1)
    assert desk.completer.is_full
    desk.write(2)
    assert not desk.completer.is_full


def test_a_backlog_is_written_a_batch_at_a_time(desk, complete, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_PER_BATCH", 2)
    sizes: list[int] = []
    complete += [counts(sizes)] * 3
    for _ in range(5):
        desk.end(desk.run(), result=1)
    desk.write(5)
    assert sizes == [2, 2, 1]


def test_a_completer_that_rested_for_long_has_not_stalled_when_a_run_ends(desk) -> None:
    # Its thread has not woken yet; the watchdog may look at that very moment, and would end the process.
    desk.completer._progress_monotonic = time.monotonic() - 3600
    desk.end(desk.run())
    assert desk.completer.stalled_for < 10
    desk.write()


@pytest.mark.parametrize("answer", ["success", "error"])
def test_a_completer_whose_call_took_long_has_not_stalled_when_it_ends(desk, complete, monkeypatch, answer) -> None:
    # It has not noted the end yet; the watchdog may look at that very moment.
    stalls: list[float] = []

    def take_long(outcomes: Sequence[Outcome]) -> list[Moved]:
        desk.completer._progress_monotonic = time.monotonic() - 3600
        if answer == "error":
            raise OperationalError("gone")
        return lifecycle.complete_many(outcomes)

    def look(*_: object, **__: object) -> None:
        stalls.append(desk.completer.stalled_for)

    complete.append(take_long)
    monkeypatch.setattr("tasks.telemetry.metrics.count_error", look)
    monkeypatch.setattr("tasks.testing.failpoints.reach", lambda name: look() if name == "after_completion" else None)
    desk.end(desk.run())
    desk.write()
    assert stalls[0] < 10


def test_a_completer_that_pauses_between_two_tries_has_not_stalled(desk, complete, monkeypatch) -> None:
    stalls: list[float] = []
    # As long as the pause, so that a lease shorter than the pause is looked at too.
    clock = SimpleNamespace(now=time.monotonic())

    def sleep(seconds: float) -> None:
        clock.now += seconds
        stalls.append(desk.completer.stalled_for)

    monkeypatch.setattr(module, "RETRY_DELAYS_SECONDS", (100.0,))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))

    def fail(_outcomes: Sequence[Outcome]) -> list[Moved]:
        raise OperationalError("gone")

    complete.append(fail)
    desk.end(desk.run())
    desk.write()
    assert stalls[0] == 0
