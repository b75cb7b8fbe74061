"""The drain: the process stops claiming, and ends once it holds nothing.

The heartbeat begins it when somebody asked for it, and the consumer heeds it. A process that has reached the limits of
``WORKER_MAX_TASKS`` or ``WORKER_MAX_MEMORY_MB`` asks here for a successor.
"""

import os
import signal
import threading
import time

from tasks.conf import conf
from tasks.worker.flight_recorder import Recorder
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Interrupter
from tasks.worker.memory import peak_bytes

#: How long a process may take to heed the signal that it has sent to itself.
SIGNAL_SECONDS = 5.0


class Drain:
    """Whether this process drains, for which reason, and how it ends after that.

    Attributes:
        began: set when the process stops claiming; ends the consumer's waits.
        is_retiring: the process ends after the tasks it holds, however long they take.
        has_ended_itself: the process ends because of a fault, not because its operator asked.
    """

    def __init__(self, inflight: Inflight, interrupter: Interrupter, recorder: Recorder) -> None:
        self.began = threading.Event()
        self.is_retiring = self.has_ended_itself = False
        self._inflight, self._interrupter, self._recorder = inflight, interrupter, recorder
        self._is_requested = False
        self._signalled_monotonic: float | None = None
        #: Whether the process has begun to stop; its running tasks have been told.
        self.is_stopping = False

    @property
    def has_begun(self) -> bool:
        """Whether the process has stopped claiming."""
        return self.began.is_set()

    def begin(self) -> None:
        """Stop claiming; running tasks continue."""
        self.began.set()

    def request(self) -> None:
        """Ask for a fresh process in this one's place; the next heartbeat acts on it. Safe in a signal handler."""
        self._is_requested = True

    @property
    def is_due(self) -> bool:
        """Whether a fresh process should take over, and there is a supervisor to start one."""
        return self._recorder.is_read and self._is_requested

    def ask_if_worn(self) -> None:
        """Ask the supervisor for a successor once a limit is reached.

        It has one started and requests the drain when that one works, of one process after another: all of them reach
        ``WORKER_MAX_TASKS`` at about the same time, and nobody would take tasks while their successors start.
        """
        ended, most_bytes = self._inflight.ended, conf.WORKER_MAX_MEMORY_MB * 1_000_000
        # Not before its first task: if the limit is too low, one process would follow another, and none would run one.
        if ended and ((0 < conf.WORKER_MAX_TASKS <= ended) or (0 < most_bytes <= peak_bytes())):
            self._recorder.ask_to_retire()

    def retire(self) -> None:
        """Stop claiming, and end once nothing is held; the supervisor sees to it that another process works."""
        self.is_retiring = True
        self.begin()
        self._recorder.retire()

    def end_if_retired(self) -> None:
        """End the process as its operator would, if it retires and its last task is done.

        A stuck task does not count: the sweeper has taken it, and it may never end.
        """
        if not self.is_retiring or self._signalled_monotonic is not None:
            return
        if all(map(self._interrupter.is_stuck, self._inflight.executions)):
            # Only once: at a second signal Dramatiq's own command ends the process at once.
            self._signal()

    def end_process(self) -> None:
        """End the process as its operator would, with a grace period for running tasks; a fresh one is started."""
        self.has_ended_itself = True
        self.begin()
        self._signal()

    def heard(self) -> None:
        """Note that the process has begun to stop."""
        self.is_stopping = True

    @property
    def is_ignored(self) -> bool:
        """Whether the process was told to end and goes on: an actor has made it ignore the signal."""
        if self._signalled_monotonic is None or self.is_stopping:
            return False
        return time.monotonic() - self._signalled_monotonic > SIGNAL_SECONDS

    def _signal(self) -> None:
        self._signalled_monotonic = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
