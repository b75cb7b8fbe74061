"""The grace period of a stopping worker: running tasks may finish in it; then they are interrupted.

Its thread starts with the worker and waits in C. Starting one at the stop would take a lock of the standard library
that an interrupted actor may have left locked, and the stop would hang.
"""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from tasks.conf import conf

#: How long interrupted actors may clean up after the grace period.
CLEAN_UP_SECONDS = 5.0
#: How long the rest of an orderly end may take after that: outcomes, leaving the registry, the event loop.
LAST_SECONDS = 4.0


class GracePeriod:
    """Counts from the beginning of a stop.

    Parameters:
        interrupt: called when the grace period is over.
        end: called when the process has not ended by itself; None if no supervisor would replace the process.
    """

    def __init__(self, *, interrupt: Callable[[], None], end: Callable[[], None] | None) -> None:
        self._interrupt, self._end = interrupt, end
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="grace", daemon=True)

    def start(self) -> None:
        """Start the thread, which waits for ``begin``."""
        self._thread.start()

    def begin(self) -> None:
        """Start counting."""
        self._began = time.monotonic()
        self._signals.put(None)

    @property
    def seconds_left(self) -> float:
        """How long the stop may still take before ``end`` is called."""
        whole = conf.SHUTDOWN_GRACE_SECONDS + CLEAN_UP_SECONDS + LAST_SECONDS
        return max(0.0, self._began + whole - time.monotonic())

    def cancel(self) -> None:
        """Call neither function any more; the process ends by itself."""
        self._signals.put(None)
        self._signals.put(None)

    def _run(self) -> None:
        self._signals.get()
        if self._is_cancelled_within(conf.SHUTDOWN_GRACE_SECONDS):
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
