"""The heartbeat: a worker's own thread and connection that keep its lease, and bring it news."""

import threading
import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import close_old_connections, connection

from tasks import lifecycle
from tasks.db import call_timeout
from tasks.db.statements import is_lock_timeout
from tasks.lifecycle import workers
from tasks.worker.completer import Completer
from tasks.worker.drain import Drain
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Cancelled, Interrupter

log = structlog.get_logger(__name__)

#: After a beat that failed.
RETRY_SECONDS = 0.5


class Heartbeat:
    """Renews the lease every few seconds; learns of cancels, drains and of rows that nobody here holds."""

    def __init__(self, inflight: Inflight, interrupter: Interrupter, completer: Completer, drain: Drain) -> None:
        self._inflight, self._interrupter, self._completer, self._drain = inflight, interrupter, completer, drain
        self._stopped = threading.Event()
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._beat_monotonic = time.monotonic()
        self._trusted_until = time.monotonic() + settings.WORKER_LEASE_SECONDS
        self._unconfirmed: set[tuple[UUID, int]] = set()
        self.is_gone = False

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no longer."""
        self._stopped.set()
        self._soon.set()
        self._thread.join(settings.HEARTBEAT_INTERVAL_SECONDS)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def beat_soon(self) -> None:
        """Beat at once; returns at once."""
        self._soon.set()

    @property
    def stalled_for(self) -> float:
        """Seconds since the last beat began, unless it waits for the database."""
        return 0 if call_timeout.is_calling(self._thread.ident) else time.monotonic() - self._beat_monotonic

    @property
    def has_lease(self) -> bool:
        """Whether nobody can have given our tasks away; counted from before the statement that renewed it."""
        return not self.is_gone and self.lease_over_for < 0

    @property
    def lease_over_for(self) -> float:
        """Seconds since nobody has to believe in us any more; negative while somebody has."""
        return time.monotonic() - self._trusted_until

    def _run(self) -> None:
        while not self._stopped.is_set():
            is_heard = self._guarded_beat()
            pause = settings.HEARTBEAT_INTERVAL_SECONDS
            self._soon.wait(pause if is_heard else min(RETRY_SECONDS, pause))
            self._soon.clear()
        connection.close()

    def _guarded_beat(self) -> bool:
        """Beat; False if it has to be tried again. Whatever goes wrong, the next one comes."""
        self._beat_monotonic = time.monotonic()
        try:
            close_old_connections()
            return self._beat()
        except DatabaseProblem as error:
            log.warning("heartbeat failed; trying again", error=str(error).strip())
        except Exception:
            log.exception("heartbeat failed; trying again")
        return False

    def _beat(self) -> bool:
        asked = time.monotonic()
        unwritten = self._completer.unwritten(older_than_seconds=settings.HEARTBEAT_INTERVAL_SECONDS)
        try:
            with call_timeout.bounded(settings.WORKER_LEASE_SECONDS):
                heard = workers.beat(self._inflight.worker_id, unwritten=unwritten)
        except DatabaseProblem as error:
            if not is_lock_timeout(error):
                raise
            # Somebody has locked our row or its table, until now at least. As long as that lasts nobody can declare us
            # gone either, and the sweeper then waits for a heartbeat before it does.
            self._trusted_until = time.monotonic() + settings.WORKER_LEASE_SECONDS
            log.warning("the lease cannot be renewed for a lock; this worker goes on")
            return False
        self._heed(heard, asked)
        if not self.is_gone:
            self._look_after_tasks()
        return True

    def _heed(self, heard: workers.Heard, asked: float) -> None:
        if not heard.is_present:
            log.error("this worker was declared gone; its tasks belong to others")
            self.is_gone = True
            return
        self._trusted_until = asked + settings.WORKER_LEASE_SECONDS
        if heard.is_draining and not self._drain.has_begun:
            log.info("asked to drain; ending after what runs")
            self._drain.retire()
        elif self._drain.is_due and not heard.is_draining:
            # Into the registry first: there it shows, and the dispatcher counts on us no longer.
            with call_timeout.bounded(settings.WORKER_LEASE_SECONDS):
                workers.ask_to_drain([self._inflight.worker_id])
            self._drain.retire()

    def _look_after_tasks(self) -> None:
        """Interrupt what was cancelled, and return rows of ours that nobody here holds."""
        try:
            with call_timeout.bounded(settings.WORKER_LEASE_SECONDS):
                concerns = workers.concerns(self._inflight.worker_id, self._inflight.keys)
                self._put_back_unheld(concerns.unheld)
        except DatabaseProblem as error:
            if not is_lock_timeout(error):
                raise
            # The table of tasks is locked; the lease is renewed all the same.
            return
        for key in concerns.cancelled:
            execution = self._inflight.get(key)
            if execution is not None:
                self._interrupter.interrupt(execution, Cancelled)

    def _put_back_unheld(self, unheld: Sequence[tuple[UUID, int]]) -> None:
        """Return rows of which a claim was committed and its reply lost.

        Only what two beats in a row found, and what is not held now: a beat that was on its way for long tells of a
        time before the claim of what runs by now.
        """
        found = {key for key in unheld if key not in self._inflight}
        lost, self._unconfirmed = found & self._unconfirmed, found
        if lost:
            count = lifecycle.put_back_many(sorted(lost), worker_id=self._inflight.worker_id)
            log.warning("put back tasks that a lost reply had left here", count=count)
