"""The pulse of a worker process, felt from outside: whether its interpreter lets threads run.

A call in C that keeps the interpreter to itself, a regular expression gone wild for one, stops every thread of its
process: actors, heartbeat, interrupts, watchdog. Nobody inside can end it. If the process is busy and gives no sign of
life, it is held. If it is not busy it may be paused or starved, and is left alone until its lease is over for sure.
"""

import os
import time
from pathlib import Path

from django.conf import settings

from tasks.worker.flight_recorder import FlightRecorder

#: After the end of the lease: then others have its tasks, and a process that is silent only takes a place.
AFTER_LEASE_SECONDS = 2.0
#: What a process takes for its last outcomes and its departure, beyond a lease.
LAST_SECONDS = 10.0
#: Of one core, while there was no sign of life. With the interpreter free, a thread waits for it 5 ms at most.
BUSY_SHARE = 0.1


class Pulse:
    """Watches one process; needs Linux's /proc, without it nothing is ever found."""

    def __init__(self, pid: int, recorder: FlightRecorder) -> None:
        self._pid = pid
        self._recorder = recorder
        self._ticks = 0
        self._since = time.monotonic()
        self._busy_before = 0.0
        self._has_begun = False

    def is_silent(self) -> bool:
        """Tell whether the process has given no sign of life for longer than its lease, or does not come to its end."""
        ticks = self._recorder.ticks
        if ticks != self._ticks:
            self._note(ticks)
        self._has_begun = self._has_begun or ticks > 0
        if not self._has_begun:
            return False
        patience = AFTER_LEASE_SECONDS if ticks else LAST_SECONDS
        return time.monotonic() - self._since > settings.WORKER_LEASE_SECONDS + patience

    def is_held(self) -> bool:
        """Tell whether some call has kept the interpreter for so long that the lease is about to be lost for it.

        Before it is: then the end is reported in time, and blamed on what runs, or a poison would come back for ever.
        """
        ticks = self._recorder.ticks
        if ticks != self._ticks:
            self._note(ticks)
        if not ticks:
            return False
        still = time.monotonic() - self._since
        limit = 0.8 * (settings.WORKER_LEASE_SECONDS - settings.HEARTBEAT_INTERVAL_SECONDS)
        return still > limit and _busy_seconds(self._pid) - self._busy_before > BUSY_SHARE * still

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
