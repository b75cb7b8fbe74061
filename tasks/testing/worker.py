"""A worker in the calling thread: it dispatches, claims, runs and completes one task at a time, by the real verbs.

Everything happens in the caller's session, so it works inside the transaction that Django's ``TestCase`` rolls back.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Self
from uuid import UUID

import dramatiq
from django.db import DataError, IntegrityError, transaction
from django.db.models import QuerySet
from dramatiq.asyncio import get_event_loop_thread, set_event_loop_thread
from dramatiq.broker import Consumer
from dramatiq.middleware import Interrupt
from dramatiq.worker import ConsumerThread, WorkerThread

from tasks import current, lifecycle, registry
from tasks.broker import dramatiq_internals
from tasks.broker.notifier import notifier
from tasks.db.sessions import in_transaction
from tasks.errors import CallboardError, GiveUp, Snooze
from tasks.lifecycle import Claimed, Outcome, Probe, Share, workers
from tasks.log import get_logger
from tasks.models import Task, Term, new_id
from tasks.priority import band_of
from tasks.queries.due import Position
from tasks.testing.clock import is_aborted
from tasks.testing.event_loop import CallersLoop
from tasks.worker.completer import decide
from tasks.worker.consumer import ClaimedMessage, OneConsumer, mark_failed
from tasks.worker.execution import Execution, Resisted
from tasks.worker.flight_recorder import NoRecorder
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Interrupter
from tasks.worker.outcomes import reduced

log = get_logger(__name__)

#: Exceptions that end an attempt and nothing else.
_OF_THE_TASK = (Exception, SystemExit, Interrupt, Snooze, GiveUp)
#: The term of the leader that a test is. Nobody else leads under this name.
LEASE = "testing"


class Busy(RuntimeError):
    """An actor asked for other tasks to run while it runs itself."""


class _Thread(threading.local):
    is_engaged = False


_this_thread = _Thread()


def is_engaged() -> bool:
    """Tell whether the calling thread runs a task or writes its outcome, so that no other task may run in it."""
    return _this_thread.is_engaged


@contextmanager
def engaged() -> Iterator[None]:
    """Let the calling thread run no other task within the block."""
    before, _this_thread.is_engaged = _this_thread.is_engaged, True
    try:
        yield
    finally:
        _this_thread.is_engaged = before


class InlineWorker(Consumer):
    """Runs tasks of the test's database; a context manager, which is on the registry of workers for its time."""

    def __init__(self) -> None:
        self._broker = dramatiq.get_broker()
        self._inflight = Inflight(new_id(), threads=1, recorder=NoRecorder())
        self._interrupter = Interrupter()
        self._loop = CallersLoop()
        queue: Any = self._inflight.work_queue
        # Never started: their methods are what happens to a message in Dramatiq's worker.
        consumer = ConsumerThread(broker=self._broker, queue_name="", prefetch=1, work_queue=queue, worker_timeout=0)
        consumer.consumer = self
        self._thread = WorkerThread(
            broker=self._broker, consumers=OneConsumer({"": consumer}), work_queue=queue, worker_timeout=0
        )

    def __enter__(self) -> Self:
        workers.declare_queues()
        workers.register(self._inflight.worker_id, queues=registry.queue_names(), threads=1)
        term, _ = Term.objects.get_or_create(name=LEASE, defaults={"term": 1})
        self._term = term.term
        self._interrupter.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._interrupter.stop()
        self._loop.stop()
        if not any(map(is_aborted, in_transaction())):
            workers.leave(self._inflight.worker_id)

    # --- One task ---

    def run_first(self, tasks: "QuerySet[Task]") -> Execution | None:
        """Run the task that a worker would get first from these; None if none of them is due and can run.

        Raises:
            Busy: called by an actor that it runs.
        """
        self.expire()
        self.settle()
        passed: set[UUID] = set()
        while True:
            task = runnable(tasks).due().exclude(pk__in=passed).order_by("-priority", "run_at", "id").first()
            if task is None:
                return None
            claimed = self._claim(task)
            if claimed is not None:
                return self._run(claimed)
            # Its queue is paused, or another session has locked it.
            passed.add(task.pk)

    def run(self, task: Task) -> Execution:
        """Run this task, which is due.

        Raises:
            AssertionError: it cannot be claimed.
        """
        claimed = self._claim(task)
        assert claimed is not None, f"{task} cannot run: its queue is paused, or another session has its row"
        return self._run(claimed)

    def expire(self) -> None:
        """Let tasks die that are too old to start."""
        with _committing():
            while lifecycle.expire_many(lease=LEASE, term=self._term):
                pass

    def settle(self) -> None:
        """Tell tasks and batches what became of those that they wait for."""
        with _committing():
            lifecycle.settle_all(lease=LEASE, term=self._term)
            while lifecycle.settle_batches(lease=LEASE, term=self._term).changed:
                pass

    def _claim(self, task: Task) -> Claimed | None:
        if current.run() is not None:
            raise Busy("an actor runs in this thread; tasks that it submits run when it has ended")
        before = Position(task.run_at, task.pk).just_before
        probe = Probe(task.priority, band_of(task.priority), 1, after_run_at=before.run_at, after_id=before.id)
        with _committing():
            # The clock may have travelled past the end of its lease.
            workers.beat(self._inflight.worker_id)
            share = Share(task.queue, [probe], space=1)
            dispatched = lifecycle.dispatch_many([share], actors=[task.actor], lease=LEASE, term=self._term)
            hints = [one.hint for one in dispatched]
            return next(iter(lifecycle.claim_many(hints, worker_id=self._inflight.worker_id)), None)

    def _run(self, claimed: Claimed) -> Execution:
        execution = Execution(claimed, claimed_monotonic=time.monotonic())
        mark_failed([execution] if claimed.failures else [])
        self._inflight.hold([execution])
        message = ClaimedMessage(
            execution, priority=claimed.priority, inflight=self._inflight, interrupter=self._interrupter
        )
        queue = self._inflight.work_queue
        queue.put(SimpleNamespace(message=message))
        with engaged():
            with _committing(), _savepoints(), _kept_open(), _as_test_blocks(), self._event_loop():
                self._thread.process_message(queue.get_nowait().message)
            self._end(execution)
        return execution

    # --- Called by Dramatiq's consumer thread ---

    def ack(self, message: Any) -> None:
        """Note that the actor has ended."""
        message.execution.capture_failure(None)

    def nack(self, message: Any) -> None:
        """Note that a hook has failed the message."""
        message.execution.reject(dramatiq_internals.exception_of(message))

    # --- The outcome ---

    def _end(self, execution: Execution) -> None:
        self._inflight.end(execution)
        self._inflight.slots.release()
        self._inflight.forget([execution])
        if isinstance(execution.error, Resisted):
            raise execution.error
        if not execution.is_completed:
            self._complete(execution)
        error = execution.error
        if error is not None and not isinstance(error, _OF_THE_TASK):
            # Ctrl-C, pytest.fail() or pytest.skip(): it ends the test, not only the attempt.
            raise error

    def _complete(self, execution: Execution) -> None:
        outcome: Outcome | None = decide(execution, self._inflight.worker_id)
        while outcome is not None:
            try:
                with _committing(), transaction.atomic():
                    lifecycle.complete_many([outcome])
            except (DataError, IntegrityError, CallboardError) as error:
                # As the completer does; a follow-up may be refused as well.
                outcome = reduced(outcome, error)
            else:
                return
        log.critical("outcome lost", task_id=str(execution.claimed.id))

    @contextmanager
    def _event_loop(self) -> Iterator[None]:
        before = get_event_loop_thread()
        set_event_loop_thread(self._loop)
        try:
            yield
        finally:
            set_event_loop_thread(before)


def runnable(tasks: "QuerySet[Task]") -> Any:
    """Leave out tasks of actors that nobody declares."""
    return tasks.filter(actor__in=registry.actor_names())


# --- The test's transaction ---


@contextmanager
def _committing() -> Iterator[None]:
    """Run the hooks that the block leaves for a commit at its end, as if the block had committed.

    Hooks of the test itself stay. In a session without a transaction Django has already run them.
    """
    before = {one.alias: len(one.run_on_commit) for one in in_transaction()}
    wake, notifier.local = notifier.local, lambda _: None
    try:
        yield
        for one in in_transaction():
            hooks: Sequence[Any] = one.run_on_commit[before.get(one.alias, 0) :]
            del one.run_on_commit[before.get(one.alias, 0) :]
            for _, hook, _ in hooks:
                hook()
    finally:
        notifier.local = wake


@contextmanager
def _savepoints() -> Iterator[None]:
    """Keep the test's transactions usable if a statement of the actor fails: what it wrote is then lost.

    In production such an actor loses nothing that it wrote before, since each statement commits alone.
    """
    kept = [one for one in in_transaction() if one.in_atomic_block and not is_aborted(one)]
    points = [(one, one.savepoint() or "", len(one.run_on_commit)) for one in kept]
    yield
    for one, point, hooks in points:
        if not is_aborted(one):
            one.savepoint_commit(point)
            continue
        one.needs_rollback = False
        one.savepoint_rollback(point)
        del one.run_on_commit[hooks:]


@contextmanager
def _kept_open() -> Iterator[None]:
    """Keep the test's transactions from Django's clean-up of sessions, which Dramatiq's middleware does for each task.

    It takes a session in a transaction for a forgotten one.
    """
    kept: Sequence[Any] = in_transaction()
    for one in kept:
        one.close_if_unusable_or_obsolete = lambda: None
    try:
        yield
    finally:
        for one in kept:
            del one.close_if_unusable_or_obsolete


@contextmanager
def _as_test_blocks() -> Iterator[None]:
    """Let transactions around the actor count as the test's own, as those of ``TestCase`` do.

    No transaction is around an actor in a worker. So it may open a durable one, which Django allows in blocks of a
    test only.
    """
    blocks: Sequence[Any] = [block for one in in_transaction() for block in one.atomic_blocks[-1:]]
    ours = [block for block in blocks if not block._from_testcase]
    for block in ours:
        block._from_testcase = True
    try:
        yield
    finally:
        for block in ours:
            block._from_testcase = False
