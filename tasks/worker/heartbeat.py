"""The heartbeat: a thread with its own connection that renews the worker's lease and fetches its instructions."""

import threading
import time
from collections.abc import Sequence
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db import close_old_connections, connection

from tasks import lifecycle
from tasks.conf import conf
from tasks.db import call_timeout
from tasks.db.statements import is_lock_timeout
from tasks.lifecycle import Author, workers
from tasks.log import get_logger
from tasks.states import Door
from tasks.telemetry import metrics
from tasks.worker.completer import Completer
from tasks.worker.drain import Drain
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Cancelled, Interrupter
from tasks.worker.memory import resident_bytes

log = get_logger(__name__)

#: Pause after a beat that failed.
RETRY_SECONDS = 0.5

#: A reload, or a limit of the process, asks for a fresh one in its place.
_WORKER = Author(door=Door.WORKER, reason="a fresh process takes its place")


class Heartbeat:
    """Renews the lease every few seconds; learns of cancels, drains, and rows that this process does not hold."""

    def __init__(self, inflight: Inflight, interrupter: Interrupter, completer: Completer, drain: Drain) -> None:
        self._inflight, self._interrupter, self._completer, self._drain = inflight, interrupter, completer, drain
        self._stopped = threading.Event()
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._beat_monotonic = time.monotonic()
        self._trusted_until = time.monotonic() + conf.WORKER_LEASE_SECONDS
        self._unconfirmed: set[tuple[UUID, int]] = set()
        self.is_gone = False

    def start(self) -> None:
        """Start beating."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating."""
        self._stopped.set()
        self._soon.set()
        self._thread.join(conf.HEARTBEAT_INTERVAL_SECONDS)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def beat_soon(self) -> None:
        """Ask for a beat now, without waiting for it."""
        self._soon.set()

    @property
    def stalled_for(self) -> float:
        """Seconds since the last beat began or the database answered it; 0 while it waits for an answer."""
        return call_timeout.stalled_seconds(self._thread.ident, since=self._beat_monotonic)

    @property
    def has_lease(self) -> bool:
        """Whether no other worker can have this one's tasks; counted from before the statement that renewed it."""
        return not self.is_gone and self.lease_over_for < 0

    @property
    def lease_over_for(self) -> float:
        """Seconds since the lease ended; negative while it lasts."""
        return time.monotonic() - self._trusted_until

    def _run(self) -> None:
        while not self._stopped.is_set():
            is_heard = self._guarded_beat()
            pause = conf.HEARTBEAT_INTERVAL_SECONDS
            self._soon.wait(pause if is_heard else min(RETRY_SECONDS, pause))
            self._soon.clear()
        connection.close()

    def _guarded_beat(self) -> bool:
        """Beat; return False if it has to be retried. No error ends the heartbeat."""
        self._beat_monotonic = time.monotonic()
        try:
            close_old_connections()
            return self._beat()
        except DatabaseProblem as error:
            metrics.count_error(error, part="heartbeat")
            log.warning("heartbeat failed; trying again", error=str(error).strip())
        except Exception:
            log.exception("heartbeat failed; trying again")
        return False

    def _beat(self) -> bool:
        asked = time.monotonic()
        unwritten = self._completer.unwritten(older_than_seconds=conf.HEARTBEAT_INTERVAL_SECONDS)
        try:
            with call_timeout.bounded(conf.WORKER_LEASE_SECONDS):
                heard = workers.beat(self._inflight.worker_id, unwritten=unwritten, memory_bytes=resident_bytes())
        except DatabaseProblem as error:
            if not is_lock_timeout(error):
                raise
            # Another session has locked this worker's row or its table, at least until now. As long as the lock lasts
            # no sweeper can declare this worker gone either, and after it the sweeper waits for a heartbeat.
            self._trusted_until = time.monotonic() + conf.WORKER_LEASE_SECONDS
            log.warning("a lock blocks the renewal of the lease; this worker continues")
            return False
        self._heed(heard, asked)
        if not self.is_gone:
            self._look_after_tasks()
        return True

    def _heed(self, heard: workers.HeartbeatReply, asked: float) -> None:
        if not heard.is_present:
            log.error("this worker was declared gone; its tasks belong to others")
            self.is_gone = True
            return
        self._trusted_until = asked + conf.WORKER_LEASE_SECONDS
        if heard.is_draining and not self._drain.has_begun:
            log.info("asked to drain; ending after the running tasks")
            self._drain.retire()
        elif self._drain.is_due and not heard.is_draining:
            # First in the registry, where operators see it and the dispatcher stops counting this worker's threads.
            with call_timeout.bounded(conf.WORKER_LEASE_SECONDS):
                workers.ask_to_drain([self._inflight.worker_id], by=_WORKER)
            self._drain.retire()

    def _look_after_tasks(self) -> None:
        """Interrupt cancelled tasks, and put back rows of this worker that it does not hold."""
        try:
            with call_timeout.bounded(conf.WORKER_LEASE_SECONDS):
                reconciled = workers.reconcile(self._inflight.worker_id, self._inflight.keys)
                self._put_back_unheld(reconciled.unheld)
        except DatabaseProblem as error:
            if not is_lock_timeout(error):
                raise
            # The table of tasks is locked. The lease has been renewed, so this can wait for the next beat.
            return
        for key in reconciled.cancelled:
            execution = self._inflight.get(key)
            if execution is not None:
                self._interrupter.interrupt(execution, Cancelled)

    def _put_back_unheld(self, unheld: Sequence[tuple[UUID, int]]) -> None:
        """Put back rows whose claim was committed although its reply was lost.

        One beat finds them unconfirmed and the next has to confirm them; what is held by now is left alone. A beat
        that took long may describe the time before the claim of a task that runs by now.
        """
        found = {key for key in unheld if key not in self._inflight}
        lost, self._unconfirmed = found & self._unconfirmed, found
        if lost:
            count = lifecycle.put_back_many(sorted(lost), worker_id=self._inflight.worker_id)
            log.warning("put back tasks that a lost reply had left here", count=count)
