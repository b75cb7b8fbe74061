"""The settler: tells tasks what became of those that they depend on, while this process leads."""

from collections.abc import Callable

from tasks import lifecycle
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop

#: A lost wake-up costs this long.
POLL_SECONDS = 1.0
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

    def step(self) -> float:
        """Settle until nothing changes, and come back soon for what was locked."""
        term = self._leadership.term
        if term is None:
            return POLL_SECONDS
        found = lifecycle.settle_all(lease=LEASE, term=term, on_release=self._on_release)
        is_stuck = found.is_left and not found.changed
        self._rest_seconds = min(2 * self._rest_seconds, POLL_SECONDS) if is_stuck else LOCKED_SECONDS
        return self._rest_seconds if found.is_left else POLL_SECONDS
