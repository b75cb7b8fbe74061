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


class Settler(Loop):
    """Settles whenever it is woken; one thread of one process, because its statements must not run side by side."""

    name = "settler"

    def __init__(self, leadership: Leadership, on_release: Callable[[], None]) -> None:
        super().__init__()
        # The way through PostgreSQL, and back, takes milliseconds longer.
        self._on_release = on_release
        self._leadership = leadership
        self._counted_at = 0.0
        self._counts_soon = False

    def wake_to_count(self) -> None:
        """Count what batches have done, unless that is about to be done: they may move all the time."""
        if not self._counts_soon:
            self.wake()

    def step(self) -> float:
        """Settle until nothing changes."""
        term = self._leadership.term
        if term is None:
            return POLL_SECONDS
        lifecycle.settle_all(lease=LEASE, term=term, on_release=self._on_release)
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
