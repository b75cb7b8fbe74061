"""The reporter: writes what running actors tell of their progress, while they run."""

import threading
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db import close_old_connections, connection

from tasks.conf import conf
from tasks.db import call_timeout
from tasks.lifecycle.checkpoint import report_many
from tasks.log import get_logger
from tasks.worker.execution import Execution

log = get_logger(__name__)

#: Between two writes of one worker process.
INTERVAL_SECONDS = 1.0
#: With nothing to write for so many intervals its thread ends, and with it its session.
IDLE_INTERVALS = 30
MOST_PER_WRITE = 500


class Reporter:
    """A thread that exists while actors report: it writes what has changed, for all of them in one statement."""

    def __init__(self, worker_id: UUID) -> None:
        self._worker_id = worker_id
        self._changed: dict[Any, Execution] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, execution: Execution) -> None:
        """Note that a run has reported something; safe in any thread."""
        with self._lock:
            self._changed[execution.key] = execution
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread; completions write what is left."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(INTERVAL_SECONDS)

    def _run(self) -> None:
        idle = 0
        while not self._stopped.wait(INTERVAL_SECONDS):
            idle = 0 if self._write() else idle + 1
            with self._lock:
                if idle >= IDLE_INTERVALS and not self._changed:
                    self._thread = None
                    break
        connection.close()

    def _write(self) -> bool:
        """Write what has changed; return whether there was anything."""
        with self._lock:
            keys = list(self._changed)[:MOST_PER_WRITE]
            batch = {key: self._changed.pop(key) for key in keys}
        # An ended run is left to its completion.
        running = [one for one in batch.values() if not one.is_captured]
        if not running:
            return bool(batch)
        try:
            close_old_connections()
            with call_timeout.bounded(conf.WORKER_LEASE_SECONDS):
                written = report_many([self._row(one) for one in running])
        except DatabaseProblem as error:
            log.warning("progress cannot be written; the next report is", error=str(error).strip())
            written = set()
        left = {key: one for key, one in batch.items() if key not in written and not one.is_captured}
        with self._lock:
            self._changed = {**left, **self._changed}
        return True

    def _row(self, execution: Execution) -> dict[str, Any]:
        claimed, report = execution.claimed, execution.report
        row = {"id": claimed.id, "attempt": claimed.attempt, "worker": self._worker_id}
        told = {"progress": report.progress, "log": report.log()}
        return {**row, **{name: value for name, value in told.items() if value is not None}}
