"""The settler: tells tasks what became of those that they depend on, while this process leads."""

from collections.abc import Callable

from tasks import lifecycle
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop

#: A lost wake-up costs this long.
POLL_SECONDS = 1.0


class Settler(Loop):
    """Settles whenever it is woken; one thread of one process, because its statements must not run side by side."""

    name = "settler"

    def __init__(self, leadership: Leadership, on_release: Callable[[], None]) -> None:
        super().__init__()
        # The way through PostgreSQL, and back, takes milliseconds longer.
        self._on_release = on_release
        self._leadership = leadership

    def step(self) -> float:
        """Settle until nothing changes."""
        term = self._leadership.term
        if term is not None:
            lifecycle.settle_all(lease=LEASE, term=term, on_release=self._on_release)
        return POLL_SECONDS
