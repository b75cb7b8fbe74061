"""The completer: one thread that writes outcomes in batches while actor threads run the next tasks."""

import threading
import time
from collections.abc import Sequence
from uuid import UUID

from django.db import DataError, IntegrityError, close_old_connections, connection
from django.db import Error as DatabaseProblem

from tasks import lifecycle
from tasks.conf import conf
from tasks.db import call_timeout
from tasks.db.batching import pause_after_batch_seconds
from tasks.db.statements import keep_plans
from tasks.lifecycle import Outcome
from tasks.log import get_logger
from tasks.telemetry import metrics
from tasks.testing import failpoints
from tasks.worker.error_report import report_of
from tasks.worker.execution import Execution
from tasks.worker.inflight import Inflight
from tasks.worker.outcomes import outcome_of, reduced, undecided

log = get_logger(__name__)

MOST_PER_BATCH = 500
#: Outcomes that may wait to be written; at this number the process stops claiming.
MOST_WAITING = 5_000
#: A write may wait for a table's lock. After so many leases it is retried, to see whether the database still answers.
SILENT_LEASES = 4
#: How often a row that another transaction has locked is tried again.
LOCKED_PAUSE_SECONDS = 0.2
#: How often a flush looks.
FLUSH_LOOK_SECONDS = 0.005
RETRY_DELAYS_SECONDS = (0.1, 0.5, 1, 2, 4)

Entry = tuple[Execution, Outcome]


class Completer:
    """Writes the outcomes of runs; waits without limit for a database that is away."""

    def __init__(self, inflight: Inflight) -> None:
        self._inflight = inflight
        self._waiting: list[Entry] = []
        #: Another transaction has locked their rows; only they wait for it.
        self._locked: list[Entry] = []
        self._next_try = 0.0
        self._progress_monotonic = time.monotonic()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="completer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, execution: Execution) -> None:
        """Decide the outcome of an ended run in the calling thread, and queue it; waits for no database."""
        entry = (execution, decide(execution, self._inflight.worker_id))
        with self._changed:
            if not self._waiting:
                # The thread had nothing to do, however long ago its last progress was.
                self._progress_monotonic = time.monotonic()
            self._waiting.append(entry)
            self._changed.notify()

    def flush(self, timeout: float) -> bool:
        """Wait until the outcomes that wait now are written, except those of locked rows.

        Returns False if that takes longer than ``timeout`` seconds.
        """
        until, last = time.monotonic() + timeout, self._waiting[-1:]
        while self._waits(last):
            if time.monotonic() >= until:
                return False
            time.sleep(FLUSH_LOOK_SECONDS)
        return True

    def _waits(self, entries: Sequence[Entry]) -> bool:
        with self._changed:
            return any(entry in self._waiting for entry in entries)

    @property
    def is_full(self) -> bool:
        """Whether so many outcomes wait that nothing more should be claimed."""
        return self.backlog >= MOST_WAITING

    @property
    def backlog(self) -> int:
        """How many outcomes wait to be written."""
        return len(self._waiting) + len(self._locked)

    @property
    def is_writing(self) -> bool:
        """Whether outcomes wait that no lock of another transaction holds up."""
        return bool(self._waiting)

    def unwritten(self, *, older_than_seconds: float) -> list[tuple[UUID, int]]:
        """List task id and attempt of runs that ended that long ago and whose outcome is still unwritten."""
        before = time.monotonic() - older_than_seconds
        entries = [*self._locked, *self._waiting]
        return [one.key for one, _ in entries if (one.finished_monotonic or 0) < before]

    @property
    def stalled_for(self) -> float:
        """Seconds without progress while outcomes wait; 0 while the thread waits for the database."""
        if not self._waiting:
            return 0
        return call_timeout.stalled_seconds(self._thread.ident, since=self._progress_monotonic)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout: float) -> bool:
        """Write what waits and end; return False if that takes longer than ``timeout`` seconds."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        keep_plans()
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._wait_seconds())
                batch = self._waiting[:MOST_PER_BATCH]
            self._progress_monotonic = time.monotonic()
            locked = self._locked[:MOST_PER_BATCH] if self._progress_monotonic >= self._next_try else []
            if batch or locked:
                self._write_round(batch, locked)
            elif self._is_stopping and not self._locked:
                connection.close()
                return

    def _has_work(self) -> bool:
        return bool(self._waiting) or (self._is_stopping and not self._locked)

    def _wait_seconds(self) -> float | None:
        return max(0.0, self._next_try - time.monotonic()) if self._locked else None

    def _write_round(self, batch: Sequence[Entry], locked: Sequence[Entry]) -> None:
        """Write what has ended and what was locked in the last round; then pause."""
        began = time.monotonic()
        entries = [*locked, *batch]
        still_locked = self._write(entries)
        with self._changed:
            del self._waiting[: len(batch)]
            self._locked = [*self._locked[len(locked) :], *still_locked]
        self._next_try = time.monotonic() + LOCKED_PAUSE_SECONDS if self._locked else 0.0
        left = {id(execution) for execution, _ in still_locked}
        self._inflight.forget([execution for execution, _ in entries if id(execution) not in left])
        if not self._is_stopping:
            time.sleep(pause_after_batch_seconds(time.monotonic() - began, moved=len(batch)))

    def _write(self, batch: Sequence[Entry]) -> list[Entry]:
        """Write outcomes; return those whose rows are locked."""
        tries = 0
        while True:
            self._progress_monotonic = time.monotonic()
            try:
                failpoints.reach("before_completion")
                with call_timeout.bounded(SILENT_LEASES * conf.WORKER_LEASE_SECONDS):
                    locked = self._complete(batch)
                failpoints.reach("after_completion")
                return locked
            except (DataError, IntegrityError) as error:
                return self._split(batch, error)
            except DatabaseProblem as error:
                metrics.count_error(error, part="completer")
                delay = RETRY_DELAYS_SECONDS[min(tries, len(RETRY_DELAYS_SECONDS) - 1)]
                log.warning("outcomes wait for the database", error=str(error), count=len(batch), wait_seconds=delay)
                tries += 1
                # A pause is no stall, and it may be longer than a short lease.
                self._progress_monotonic = time.monotonic() + delay
                time.sleep(delay)
                close_old_connections()
            except Exception as error:  # noqa: BLE001
                # One outcome is at fault: its follow-up does not fit its actor, or a user's validator raises.
                return self._split(batch, error)

    def _complete(self, batch: Sequence[Entry]) -> list[Entry]:
        outcomes = [outcome for _, outcome in batch]
        accepted = {(move.id, move.attempt) for move in lifecycle.complete_many(outcomes)}
        refused = [outcome for outcome in outcomes if (outcome.task_id, outcome.attempt) not in accepted]
        if not refused:
            return []
        # Written before and the reply was lost, or the row is locked, or another worker has the task.
        recorded = lifecycle.recorded(refused)
        held = lifecycle.still_held(refused)
        for outcome in refused:
            if (outcome.task_id, outcome.attempt) not in recorded | held:
                log.warning(
                    "late outcome refused; the task was taken from this worker",
                    task_id=str(outcome.task_id),
                    attempt=outcome.attempt,
                )
        return [entry for entry in batch if (entry[1].task_id, entry[1].attempt) in held]

    def _split(self, batch: Sequence[Entry], error: BaseException) -> list[Entry]:
        """Find the outcome that cannot be stored, so that only it loses what the database refuses."""
        if len(batch) > 1:
            middle = len(batch) // 2
            return self._write(batch[:middle]) + self._write(batch[middle:])
        execution, outcome = batch[0]
        log.error("an outcome cannot be stored", task_id=str(outcome.task_id), error=report_of(error).message[:1000])
        rest = reduced(outcome, error)
        if rest is not None:
            return self._write([(execution, rest)])
        log.critical("outcome lost; the heartbeat will put the task back", task_id=str(outcome.task_id))
        return []


def decide(execution: Execution, worker_id: UUID) -> Outcome:
    """Decide the outcome of an ended run; never raises."""
    try:
        return outcome_of(execution, worker_id)
    except BaseException as error:  # noqa: BLE001 - this thread has other tasks to run
        # Not expected: what the user's code raises is caught where it is called.
        log.error(
            "cannot decide the outcome of a run; a plain one is written",
            task_id=str(execution.claimed.id),
            error=report_of(error).traceback,
        )
        return undecided(execution, worker_id, error)
