"""The hang detector: tells from outside a worker process whether its interpreter still lets threads run.

A call in C that keeps the interpreter to itself (a regular expression that backtracks without end, for example) stops
every thread of its process: actors, heartbeat, interrupts, watchdog. Nothing inside the process can end it. A process
that is busy and gives no sign of life is held. One that is not busy may be paused or starved, and is left alone until
its lease is certainly over.
"""

import os
import time
from pathlib import Path

from tasks.conf import conf
from tasks.worker.flight_recorder import FlightRecorder

#: Grace beyond the lease. After it other workers have the tasks, and a silent process only occupies a place.
AFTER_LEASE_SECONDS = 2.0
#: Time for the last outcomes and the departure, beyond a lease.
LAST_SECONDS = 10.0
#: Share of one core that was used while there was no sign of life. A thread waits 5 ms at most for a free interpreter.
BUSY_SHARE = 0.1


class HangDetector:
    """Watches one process. It needs Linux's /proc; without it every hang stays undetected."""

    def __init__(self, pid: int, recorder: FlightRecorder) -> None:
        self._pid = pid
        self._recorder = recorder
        self._ticks = 0
        self._since = time.monotonic()
        self._busy_before = 0.0
        self._has_begun = False

    @property
    def is_working(self) -> bool:
        """Whether the process has begun and not yet said that it ends."""
        return self._ticks > 0

    @property
    def silent_for(self) -> float:
        """For how many seconds a working process has given no sign of life."""
        return time.monotonic() - self._since if self._ticks else 0.0

    def is_silent(self) -> bool:
        """Tell whether the process has given no sign of life for longer than its lease, or hangs in its end."""
        ticks = self._recorder.ticks
        if ticks != self._ticks:
            self._note(ticks)
        self._has_begun = self._has_begun or ticks > 0
        if not self._has_begun:
            return False
        patience = AFTER_LEASE_SECONDS if ticks else LAST_SECONDS
        return time.monotonic() - self._since > conf.WORKER_LEASE_SECONDS + patience

    def is_held(self) -> bool:
        """Tell whether a call has kept the interpreter for so long that the lease is about to be lost.

        The process has to end before that. Then its end is reported in time and blamed on what runs; otherwise a
        poison task would come back for ever.
        """
        ticks = self._recorder.ticks
        if ticks != self._ticks:
            self._note(ticks)
        if not ticks:
            return False
        silent_for = time.monotonic() - self._since
        limit = 0.8 * (conf.WORKER_LEASE_SECONDS - conf.HEARTBEAT_INTERVAL_SECONDS)
        return silent_for > limit and _busy_seconds(self._pid) - self._busy_before > BUSY_SHARE * silent_for

    def _note(self, ticks: int) -> None:
        self._ticks, self._since, self._busy_before = ticks, time.monotonic(), _busy_seconds(self._pid)


def _busy_seconds(pid: int) -> float:
    """Read how long a process had a processor."""
    try:
        # "pid (name) state ppid … utime stime …"; the name may hold anything, parentheses too.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
