"""The heartbeat: a worker's own thread and connection that keep its lease, and bring it news."""

import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import close_old_connections, connection

from tasks import lifecycle
from tasks.engine import presence, silence

if TYPE_CHECKING:
    from tasks.engine.runtime import WorkerRuntime

log = structlog.get_logger(__name__)


class Heartbeat:
    """Renews the lease every few seconds; learns of cancels, drains and of rows that nobody here holds."""

    def __init__(self, runtime: "WorkerRuntime") -> None:
        self._runtime = runtime
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._trusted_until = time.monotonic() + settings.WORKER_LEASE_SECONDS
        self._suspects: set[tuple[UUID, int]] = set()
        self.is_gone = False

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no longer."""
        self._stopped.set()
        self._thread.join(settings.HEARTBEAT_INTERVAL_SECONDS)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def has_lease(self) -> bool:
        """Whether nobody can have given our tasks away; counted from before the statement that renewed it."""
        return not self.is_gone and self.lease_over_for < 0

    @property
    def lease_over_for(self) -> float:
        """Seconds since nobody has to believe in us any more; negative while somebody has."""
        return time.monotonic() - self._trusted_until

    def _run(self) -> None:
        delay = settings.HEARTBEAT_INTERVAL_SECONDS
        while not self._stopped.wait(delay):
            close_old_connections()
            delay = (
                settings.HEARTBEAT_INTERVAL_SECONDS if self._beat() else min(0.5, settings.HEARTBEAT_INTERVAL_SECONDS)
            )
        connection.close()

    def _beat(self) -> bool:
        asked = time.monotonic()
        try:
            with silence.bounded(settings.WORKER_LEASE_SECONDS):
                heard = presence.beat(self._runtime.worker_id, self._runtime.held)
                self._put_back_unheld(heard)
        except DatabaseProblem as error:
            log.warning("heartbeat failed; trying again", error=str(error).strip())
            return False
        self._heed(heard, asked)
        return True

    def _put_back_unheld(self, heard: presence.Heard) -> None:
        """Return rows of ours that nobody here holds: a claim was committed and its reply lost.

        Only what two beats in a row found, and what is not held now: a beat that was on its way for long tells of a
        time before the claim of what runs by now.
        """
        unheld = {key for key in heard.unheld if not self._runtime.holds(key)}
        lost, self._suspects = unheld & self._suspects, unheld
        if lost:
            count = lifecycle.put_back_many(sorted(lost), worker_id=self._runtime.worker_id)
            log.warning("put back tasks that a lost reply had left here", count=count)

    def _heed(self, heard: presence.Heard, asked: float) -> None:
        if not heard.is_present:
            log.error("this worker was declared gone; its tasks belong to others")
            self.is_gone = True
            return
        self._trusted_until = asked + settings.WORKER_LEASE_SECONDS
        self._runtime.cancel(heard.cancelled)
        if heard.is_draining and not self._runtime.is_draining:
            log.info("asked to drain; ending after what runs")
            self._runtime.retire()
        elif self._runtime.is_worn_out and not heard.is_draining:
            # By way of the board, where it shows and the dispatcher counts on us no longer.
            presence.ask_to_drain([self._runtime.worker_id])
