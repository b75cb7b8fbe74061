"""The grace: what runs when a worker stops has so long to end; then it is interrupted, and at last the process ends.

Its thread is there from the beginning, and waits in C: to start one takes a lock of the standard library that an
interrupted actor may have left locked, and a stop that hangs is a stop all the same.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from django.conf import settings

#: After the grace, interrupted actors have this long to clean up.
CLEAN_UP_SECONDS = 5.0
#: After that the rest of an orderly end: outcomes, a farewell, the event loop.
LAST_SECONDS = 4.0


class GracePeriod:
    """Counts from the beginning of a stop.

    Parameters:
        interrupt: called when the grace is over.
        end: called when the process has not come to its end by itself; None where that is somebody else's business.
    """

    def __init__(self, *, interrupt: Callable[[], None], end: Callable[[], None] | None) -> None:
        self._interrupt, self._end = interrupt, end
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="grace", daemon=True)

    def start(self) -> None:
        """Be ready."""
        self._thread.start()

    def begin(self) -> None:
        """Count from now on."""
        self._signals.put(None)

    def cancel(self) -> None:
        """Do nothing any more: the end was reached, or there is none to come."""
        self._signals.put(None)
        self._signals.put(None)

    def _run(self) -> None:
        self._signals.get()
        if self._is_cancelled_within(settings.SHUTDOWN_GRACE_SECONDS):
            return
        self._interrupt()
        if self._end is not None and not self._is_cancelled_within(CLEAN_UP_SECONDS + LAST_SECONDS):
            self._end()

    def _is_cancelled_within(self, seconds: float) -> bool:
        try:
            self._signals.get(timeout=seconds)
        except Empty:
            return False
        return True
