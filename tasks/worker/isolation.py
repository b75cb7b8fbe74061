"""Isolation: tasks that may be crashing workers run alone in some of the processes, while the others continue.

Every task that runs when a process crashes counts a crash. Most of them are innocent and run again like any other
task, because one more crash does not kill them. A task that one more crash would kill is quarantined. It runs only
where nothing else runs, so that the next crash has one task to blame and hits no other.
"""

import random
import time
from collections import deque
from collections.abc import Callable

from tasks.conf import conf
from tasks.db import call_timeout
from tasks.lifecycle import Claimed, workers
from tasks.retry import after_crash
from tasks.worker.execution import Execution
from tasks.worker.inflight import Inflight

#: How long one process starts quarantined tasks before it takes others again.
TURN_SECONDS = 5.0
#: How long it waits at first for running tasks to end; doubled each time that was too short.
WAIT_FOR_OTHERS_SECONDS = 5.0
#: Seconds between two looks meanwhile.
LOOK_SECONDS = 0.1

HandOut = Callable[[Execution, str], None]


def is_quarantined(claimed: Claimed) -> bool:
    """Tell whether one more crash would kill a task."""
    return claimed.crashes > 0 and after_crash(claimed.crashes + 1, limit=conf.CRASH_LIMIT) is not None


class Isolation:
    """The quarantined tasks of a process, from their claim to their start."""

    def __init__(self, inflight: Inflight) -> None:
        self._inflight = inflight
        #: Each with the broker's queue that it came from.
        self._waiting: deque[tuple[Execution, str]] = deque()
        self._is_permitted = self._has_started_one = False
        self._turn_monotonic = 0.0
        self._most_wait_seconds = WAIT_FOR_OTHERS_SECONDS

    def add(self, execution: Execution, broker_queue_name: str) -> None:
        """Take a claimed task that is quarantined."""
        self._waiting.append((execution, broker_queue_name))

    def start_next(self, hand_out: HandOut) -> bool:
        """Start the next one if nothing else runs; return True while the process must claim nothing else."""
        if not self._waiting and not self._is_permitted:
            return False
        if not self._is_permitted and not self._begin_turn():
            # Enough other processes run quarantined tasks; this one goes on with the rest.
            self.put_back(delay_seconds=random.uniform(1, 2))
            return False
        slots = self._inflight.slots
        if slots.held > len(self._waiting):
            return self._wait_for_others()
        if self._waiting and (time.monotonic() - self._turn_monotonic < TURN_SECONDS or not self._has_started_one):
            self._has_started_one, self._most_wait_seconds = True, WAIT_FOR_OTHERS_SECONDS
            hand_out(*self._waiting.popleft())
            return True
        self._end_turn(delay_seconds=TURN_SECONDS)
        return False

    def put_back(self, *, delay_seconds: float | None = None) -> None:
        """Put back the tasks that have not started."""
        self._inflight.put_back([execution for execution, _ in self._waiting], delay_seconds=delay_seconds)
        self._waiting.clear()

    def _begin_turn(self) -> bool:
        with call_timeout.bounded(conf.WORKER_LEASE_SECONDS):
            self._is_permitted = workers.begin_isolation(self._inflight.worker_id)
        self._turn_monotonic, self._has_started_one = time.monotonic(), False
        return self._is_permitted

    def _wait_for_others(self) -> bool:
        """Wait for the other tasks to end, or give up for now, because claims must not grow too old."""
        if not self._has_started_one and time.monotonic() - self._turn_monotonic > self._most_wait_seconds:
            self._most_wait_seconds = min(2 * self._most_wait_seconds, conf.STUCK_AFTER_SECONDS / 2)
            self._end_turn(delay_seconds=random.uniform(1, TURN_SECONDS))
            return False
        if self._has_started_one and self._waiting and time.monotonic() - self._turn_monotonic > TURN_SECONDS:
            # The one that was started takes long; another process may run the rest sooner.
            self.put_back(delay_seconds=TURN_SECONDS)
        self._inflight.slots.wait(LOOK_SECONDS)
        return True

    def _end_turn(self, *, delay_seconds: float) -> None:
        self.put_back(delay_seconds=delay_seconds)
        with call_timeout.bounded(conf.WORKER_LEASE_SECONDS):
            workers.end_isolation(self._inflight.worker_id)
        self._is_permitted = False
