"""The completer: one thread that writes outcomes in batches, while actor threads go on with the next task."""

import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DataError, IntegrityError, close_old_connections, connection
from django.db import Error as DatabaseProblem

from tasks import lifecycle
from tasks.engine import failpoints, silence
from tasks.engine.execution import Execution
from tasks.engine.loop import breath_seconds
from tasks.engine.outcomes import ResultNotStorable, bare, outcome_of, unstorable
from tasks.lifecycle import Outcome
from tasks.lifecycle.sql import keep_plans

log = structlog.get_logger(__name__)

MOST_PER_BATCH = 500
#: Outcomes that may wait to be written; beyond, the process claims nothing more.
MOST_WAITING = 5_000
#: A write may wait for a lock; what it waits for longer than these leases is no lock.
SILENT_LEASES = 4
RETRY_DELAYS_SECONDS = (0.1, 0.5, 1, 2, 4)

Entry = tuple[Execution, Outcome]


class Completer:
    """Writes what runs said about their attempts; waits for a database that is away, without limit.

    Parameters:
        written: called with executions whose attempt is closed, accepted or not.
    """

    def __init__(self, worker_id: UUID, *, written: Callable[[Sequence[Execution]], None]) -> None:
        self._worker_id = worker_id
        self._written = written
        self._waiting: list[Entry] = []
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="completer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, execution: Execution) -> None:
        """Take an ended run; returns at once."""
        entry = (execution, self._decide(execution))
        with self._changed:
            self._waiting.append(entry)
            self._changed.notify()

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should be claimed."""
        return len(self._waiting) >= MOST_WAITING

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout: float) -> bool:
        """Write what waits and end; False if that took longer than ``timeout`` seconds."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _decide(self, execution: Execution) -> Outcome:
        try:
            return outcome_of(execution, self._worker_id)
        except Exception as error:
            # A callback that names no actor, an option of the wrong kind: the attempt fails, and says why.
            log.exception("cannot tell what follows from a run; it counts as failed", task_id=str(execution.claimed.id))
            return unstorable(execution, self._worker_id, error)

    def _run(self) -> None:
        keep_plans()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_stopping)
                batch = self._waiting[:MOST_PER_BATCH]
            if not batch:
                connection.close()
                return
            began = time.monotonic()
            self._write(batch)
            with self._changed:
                del self._waiting[: len(batch)]
            self._written([execution for execution, _ in batch])
            if not self._is_stopping:
                time.sleep(breath_seconds(time.monotonic() - began, moved=len(batch)))

    def _write(self, batch: Sequence[Entry]) -> None:
        tries = 0
        while True:
            try:
                failpoints.reach("before_completion")
                with silence.bounded(SILENT_LEASES * settings.WORKER_LEASE_SECONDS):
                    self._complete(batch)
                failpoints.reach("after_completion")
                return
            except (DataError, IntegrityError) as error:
                self._split(batch, error)
                return
            except DatabaseProblem as error:
                delay = RETRY_DELAYS_SECONDS[min(tries, len(RETRY_DELAYS_SECONDS) - 1)]
                log.warning("outcomes wait for the database", error=str(error), count=len(batch), wait_seconds=delay)
                tries += 1
                time.sleep(delay)
                close_old_connections()
            except Exception as error:  # noqa: BLE001
                # A follow-up that does not fit its actor, a validator of the user's that raises: one outcome's matter.
                self._split(batch, error)
                return

    def _complete(self, batch: Sequence[Entry]) -> None:
        outcomes = [outcome for _, outcome in batch]
        accepted = {(move.id, move.attempt) for move in lifecycle.complete_many(outcomes)}
        refused = [outcome for outcome in outcomes if (outcome.task_id, outcome.attempt) not in accepted]
        if not refused:
            return
        # Either a lost reply made us write twice, or the task was given to somebody else in the meantime.
        recorded = lifecycle.recorded(refused)
        for outcome in refused:
            if (outcome.task_id, outcome.attempt) not in recorded:
                log.warning(
                    "late outcome refused; the task was taken from this worker",
                    task_id=str(outcome.task_id),
                    attempt=outcome.attempt,
                )

    def _split(self, batch: Sequence[Entry], error: BaseException) -> None:
        """Find the outcome that cannot be stored, so that it fails alone."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._write(batch[:middle])
            self._write(batch[middle:])
            return
        execution, outcome = batch[0]
        log.error("an outcome cannot be stored", task_id=str(outcome.task_id), error=str(error)[:1000])
        if outcome.error_type != ResultNotStorable.__name__:
            self._write([(execution, unstorable(execution, self._worker_id, error))])
        elif outcome.error_message:
            self._write([(execution, bare(execution, self._worker_id))])
        else:
            log.critical("outcome lost; the heartbeat will put the task back", task_id=str(outcome.task_id))
