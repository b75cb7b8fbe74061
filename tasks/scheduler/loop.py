"""A loop of the scheduler: one step again and again, in a thread, until it is stopped; errors are waited out."""

import threading
import time
from abc import ABC, abstractmethod

import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import connections

from tasks.db import call_timeout, sessions
from tasks.db.batching import pause_after_batch_seconds
from tasks.db.statements import keep_plans
from tasks.errors import BrokerUnavailable

log = structlog.get_logger(__name__)

PAUSE_AFTER_ERROR_SECONDS = 1.0
#: In leases: each statement has a third of one.
SILENT_LEASES = 3


class Loop(ABC):
    """Calls ``step`` and waits as long as it says, or until ``wake``."""

    #: What logs and the thread call it.
    name: str
    #: Whether a commit may return before it is on disk; only where losing it in a crash of PostgreSQL does no harm.
    commits_asynchronously = False
    #: How many tasks the last round moved; None for a loop that does not pause after a batch.
    moved: int | None = None

    def __init__(self) -> None:
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @abstractmethod
    def step(self) -> float:
        """Do one round; return how many seconds the next one may wait."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Make the next round start at once."""
        self._wake.set()

    def stop(self) -> None:
        """End after the current round, and wait for that."""
        self._stopped.set()
        self._wake.set()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        sessions.use_direct_session(commits_asynchronously=self.commits_asynchronously)
        keep_plans()
        try:
            while not self._stopped.is_set():
                began = time.monotonic()
                seconds = self._guarded_step()
                self._pause_after_batch(time.monotonic() - began)
                self._rest(seconds)
        finally:
            connections.close_all()

    def _pause_after_batch(self, took_seconds: float) -> None:
        if self.moved is not None:
            self._stopped.wait(pause_after_batch_seconds(took_seconds, moved=self.moved))

    def _rest(self, seconds: float | None) -> None:
        if seconds is None:
            # Whatever wakes us: a dispatch that is taken back is news itself, and would make this a busy loop.
            self._stopped.wait(PAUSE_AFTER_ERROR_SECONDS)
            return
        self._wake.wait(seconds)
        self._wake.clear()

    def _guarded_step(self) -> float | None:
        """Do a round; None if it failed."""
        # A connection that broke is never healed by itself in a thread that Django does not know.
        sessions.refresh()
        try:
            with call_timeout.bounded(SILENT_LEASES * settings.LEADER_LEASE_SECONDS):
                return self.step()
        except (DatabaseProblem, BrokerUnavailable) as error:
            log.warning("round failed; trying again", loop=self.name, error=str(error).strip())
        except Exception:
            log.exception("round failed; trying again", loop=self.name)
        return None
