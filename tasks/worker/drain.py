"""The drain: the process stops claiming, and ends once it holds nothing."""

import os
import resource
import signal
import sys
import threading

from django.conf import settings

from tasks.worker.flight_recorder import Recorder
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Interrupter


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
        self._is_requested = self._is_ending = False

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
        if not self._recorder.is_read:
            return False
        if self._is_requested:
            return True
        most_tasks, most_bytes = settings.WORKER_MAX_TASKS, settings.WORKER_MAX_MEMORY_MB * 1_000_000
        return bool((most_tasks and self._inflight.ended >= most_tasks) or (most_bytes and _peak_bytes() >= most_bytes))

    def retire(self) -> None:
        """Stop claiming, and end once nothing is held; the supervisor starts another process right away."""
        self.is_retiring = True
        self.begin()
        self._recorder.retire()

    def end_if_retired(self) -> None:
        """End the process as its operator would, if it retires and its last task is done.

        A stuck task does not count: the sweeper has taken it, and it may never end.
        """
        if not self.is_retiring or self._is_ending:
            return
        if all(map(self._interrupter.is_stuck, self._inflight.executions)):
            # Only once: at a second signal Dramatiq's own command ends the process at once.
            self._is_ending = True
            os.kill(os.getpid(), signal.SIGTERM)

    def end_process(self) -> None:
        """End the process as its operator would, with a grace period for running tasks; a fresh one is started."""
        self.has_ended_itself = True
        self.begin()
        os.kill(os.getpid(), signal.SIGTERM)


def _peak_bytes() -> int:
    # Linux counts in kB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
