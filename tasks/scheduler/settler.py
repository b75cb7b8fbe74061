"""The settler: tells tasks and batches what became of the tasks that they wait for, while this process leads."""

import time
from collections.abc import Callable

from tasks import lifecycle
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop

#: A lost wake-up costs this long.
POLL_SECONDS = 1.0
#: Between two times that the counts of batches are added up: each writes the rows of all batches that have moved.
COUNT_SECONDS = 0.25
#: The first rest if others had locked something; each further one is twice as long. Nothing wakes it at the unlock.
LOCKED_SECONDS = 0.01


class Settler(Loop):
    """Settles whenever it is woken; one thread of one process, because its statements must not run side by side."""

    name = "settler"

    def __init__(self, leadership: Leadership, on_release: Callable[[], None]) -> None:
        super().__init__()
        # The way through PostgreSQL, and back, takes milliseconds longer.
        self._on_release = on_release
        self._leadership = leadership
        self._rest_seconds = LOCKED_SECONDS
        self._counted_at = 0.0
        self._counts_soon = False

    def wake_to_count(self) -> None:
        """Count what batches have done, unless that is about to be done: they may move all the time."""
        if not self._counts_soon:
            self.wake()

    def step(self) -> float:
        """Settle until nothing changes, and come back soon for what was locked."""
        term = self._leadership.term
        if term is None:
            return POLL_SECONDS
        return min(self._settle_dependencies(term), self._settle_batches(term))

    def _settle_dependencies(self, term: int) -> float:
        found = lifecycle.settle_all(lease=LEASE, term=term, on_release=self._on_release)
        is_stuck = found.is_left and not found.changed
        self._rest_seconds = min(2 * self._rest_seconds, POLL_SECONDS) if is_stuck else LOCKED_SECONDS
        return self._rest_seconds if found.is_left else POLL_SECONDS

    def _settle_batches(self, term: int) -> float:
        rest = COUNT_SECONDS - (time.monotonic() - self._counted_at)
        if rest > 0:
            self._counts_soon = True
            return rest
        settled = lifecycle.settle_batches(lease=LEASE, term=term)
        self._counts_soon = settled.changed > 0
        if settled.has_more:
            return 0
        self._counted_at = time.monotonic()
        return COUNT_SECONDS if self._counts_soon else POLL_SECONDS
