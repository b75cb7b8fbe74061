"""A loop of the scheduler: repeats one step in a thread until it is stopped, and continues after errors."""

import threading
import time
from abc import ABC, abstractmethod
from math import inf

from django.db import Error as DatabaseProblem
from django.db import connections

from tasks.conf import conf
from tasks.db import call_timeout, sessions
from tasks.db.batching import pause_after_batch_seconds
from tasks.db.statements import keep_plans
from tasks.errors import BrokerUnavailable
from tasks.log import get_logger
from tasks.telemetry import metrics

log = get_logger(__name__)

PAUSE_AFTER_ERROR_SECONDS = 1.0
#: A round may take this many leases; each of its statements has a third of one.
STEP_LEASES = 3
#: How much later than that a round may end before its loop counts as hung.
LATE_SECONDS = 15.0


class Loop(ABC):
    """Calls ``step`` and waits for as long as that returns, or until ``wake``."""

    #: In logs, and of the thread.
    name: str
    #: Whether a commit may return before it is on disk: only if losing it in a crash of PostgreSQL does no harm.
    commits_asynchronously = False
    #: How many tasks the last round moved; None if no pause is due after it.
    moved: int | None = None

    def __init__(self) -> None:
        self._wake = threading.Event()
        self._stopped = threading.Event()
        #: When the next round must have begun.
        self._due_by = inf
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @abstractmethod
    def step(self) -> float:
        """Do one round; return after how many seconds the next one is due."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Start the next round at once."""
        self._wake.set()

    def stop(self) -> None:
        """Stop after the current round, and wait for its end."""
        self._stopped.set()
        self._wake.set()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def fault(self) -> str | None:
        """What is wrong with the loop itself, whatever its rounds meet."""
        if not self.is_alive:
            return f"the thread of the {self.name} is dead"
        if time.monotonic() > self._due_by:
            return f"the {self.name} stands still"
        return None

    def _run(self) -> None:
        sessions.use_direct_session(commits_asynchronously=self.commits_asynchronously)
        keep_plans()
        try:
            while not self._stopped.is_set():
                began = time.monotonic()
                self._due_by = began + STEP_LEASES * conf.LEADER_LEASE_SECONDS + LATE_SECONDS
                seconds = self._guarded_step()
                self._pause_after_batch(time.monotonic() - began)
                self._rest(seconds)
        finally:
            connections.close_all()

    def _pause_after_batch(self, took_seconds: float) -> None:
        if self.moved is not None:
            self._stopped.wait(pause_after_batch_seconds(took_seconds, moved=self.moved))

    def _rest(self, seconds: float | None) -> None:
        self._due_by = time.monotonic() + (seconds or 0) + LATE_SECONDS
        if seconds is None:
            # Ignoring wake-ups: taking back a failed dispatch sends one, which would make this a busy loop.
            self._stopped.wait(PAUSE_AFTER_ERROR_SECONDS)
            return
        self._wake.wait(seconds)
        self._wake.clear()

    def _guarded_step(self) -> float | None:
        """Do a round; return None if it failed."""
        # Django renews broken connections only in the threads that serve its requests.
        sessions.refresh()
        try:
            with call_timeout.bounded(STEP_LEASES * conf.LEADER_LEASE_SECONDS):
                return self.step()
        except (DatabaseProblem, BrokerUnavailable) as error:
            metrics.count_error(error, part=self.name)
            log.warning("round failed; trying again", loop=self.name, error=str(error).strip())
        except Exception:
            log.exception("round failed; trying again", loop=self.name)
        return None
