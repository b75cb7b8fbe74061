"""Slots: how many tasks a worker process may hold at a time."""

import threading
import time

#: How far ahead of its threads a process claims, in seconds of its own recent speed.
LOOKAHEAD_SECONDS = 0.1
MOST_LOOKAHEAD = 512


class Slots:
    """One slot per thread, and a lookahead of a few more while the process is fast.

    The lookahead is the number of tasks that the threads finished in the last tenth of a second. So tasks of a
    millisecond never wait for a claim, and no task waits behind one of a minute.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._held = 0
        self._finished = 0
        self._window_started = time.monotonic()
        self._lookahead = 0
        self._freed = threading.Condition()

    def acquire(self, count: int) -> None:
        """Count claimed tasks in."""
        with self._freed:
            self._held += count

    def release(self, count: int = 1, *, finished: bool = True) -> None:
        """Count tasks out, either ``finished`` by their thread or put back unstarted."""
        with self._freed:
            self._held -= count
            self._finished += count if finished else 0
            self._freed.notify()

    @property
    def held(self) -> int:
        """How many tasks are claimed and have not ended."""
        return self._held

    def free(self) -> int:
        """How many more may be claimed now."""
        with self._freed:
            self._measure()
            return max(0, self._threads + self._lookahead - self._held)

    def wait_for_one(self, timeout: float) -> None:
        """Block until one more may be claimed, at most ``timeout`` seconds."""
        with self._freed:
            self._freed.wait_for(lambda: self._held < self._threads + self._lookahead, timeout)

    def wait(self, timeout: float) -> None:
        """Block until a task ends, at most ``timeout`` seconds."""
        with self._freed:
            self._freed.wait(timeout)

    def _measure(self) -> None:
        elapsed = time.monotonic() - self._window_started
        if elapsed >= LOOKAHEAD_SECONDS:
            self._lookahead = min(MOST_LOOKAHEAD, int(self._finished * LOOKAHEAD_SECONDS / elapsed))
            self._finished, self._window_started = 0, time.monotonic()
