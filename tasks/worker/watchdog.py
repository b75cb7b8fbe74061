"""The watchdog: ends a worker process that no longer works; its supervisor starts a fresh one."""

import os
import threading
import time
from math import inf
from typing import NamedTuple

from dramatiq import Worker
from dramatiq.middleware import Shutdown

from tasks import log_writer
from tasks.conf import conf
from tasks.db import call_timeout
from tasks.log import get_logger
from tasks.worker import event_loop
from tasks.worker.completer import Completer
from tasks.worker.drain import Drain
from tasks.worker.flight_recorder import Ending, Recorder
from tasks.worker.heartbeat import Heartbeat
from tasks.worker.interrupter import Interrupter

log = get_logger(__name__)

#: Exit codes, for operators. The supervisor reads the flight recorder instead.
EXIT_UNHEALTHY = 70
EXIT_LEASE_LOST = 75
EXIT_UNFINISHED = 76
#: Not a fault: the process was asked to drain, or had reached WORKER_MAX_TASKS or WORKER_MAX_MEMORY_MB.
EXIT_RETIRED = 77
#: Seconds between two looks.
LOOK_SECONDS = 1.0
#: A look that comes later than this means that the whole process stood still: suspended, or without a processor.
LATE_SECONDS = 0.5 * LOOK_SECONDS
#: Longest round of a consumer that does not wait for the database: several answers of a slow Redis.
STALE_CONSUMER_SECONDS = 30.0
#: Time to write the last log lines.
FLUSH_SECONDS = 0.5


#: How long a process that ends itself waits for outcomes that are being written.
OUTCOMES_SECONDS = 0.5


class Fault(NamedTuple):
    """Why a process must end, and which of its tasks are to blame."""

    #: NONE blames the running tasks.
    ending: Ending
    exit_code: int
    reason: str


class Watchdog:
    """Checks once a second that all threads live, that the consumer makes its rounds, and that the lease lasts."""

    def __init__(
        self,
        worker: Worker,
        *,
        interrupter: Interrupter,
        completer: Completer,
        heartbeat: Heartbeat,
        drain: Drain,
        recorder: Recorder,
    ) -> None:
        self._worker = worker
        self._interrupter, self._completer, self._heartbeat = interrupter, completer, heartbeat
        self._drain, self._recorder = drain, recorder
        self._consumer_round = time.monotonic()
        self._consumer_thread_id: int | None = None
        #: Since when the process runs without a break. Threads are not blamed for time in which it stood still.
        self._awake_since = -inf
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()
        self._recorder.stop_ticking()

    def note_consumer_round(self) -> None:
        """Note that the consumer thread is at the top of its loop."""
        self._consumer_round, self._consumer_thread_id = time.monotonic(), threading.get_ident()

    def _run(self) -> None:
        next_look = time.monotonic() + LOOK_SECONDS
        while not self._stopped.wait(min(LOOK_SECONDS, conf.HEARTBEAT_INTERVAL_SECONDS)):
            self._recorder.tick()
            now = time.monotonic()
            if now > next_look + LATE_SECONDS:
                self._awake_since = now
            if now >= next_look:
                next_look = now + LOOK_SECONDS
                self._look()

    def _look(self) -> None:
        self._drain.ask_if_worn()
        self._drain.end_if_retired()
        fault = self._fault()
        if fault is not None:
            self.end(fault)

    def end(self, fault: Fault) -> None:
        """End the process, whatever hangs in it; nothing here waits for a lock that another thread may hold."""
        self._recorder.end_process(fault.ending)
        log.critical("worker ends itself; a fresh one takes over", reason=fault.reason, exit_code=fault.exit_code)
        if fault.ending is not Ending.LEASE_LOST:
            self._let_outcomes_be_written()
        log_writer.flush(FLUSH_SECONDS)
        os._exit(fault.exit_code)

    def _let_outcomes_be_written(self) -> None:
        """Wait a moment for the outcomes of runs that have just ended; without them these would run again."""
        until = time.monotonic() + OUTCOMES_SECONDS
        while self._completer.is_writing and time.monotonic() < until:
            time.sleep(OUTCOMES_SECONDS / 50)

    def _fault(self) -> Fault | None:
        return self._fault_of_lease() or self._fault_of_drain() or self._fault_of_threads()

    def _fault_of_drain(self) -> Fault | None:
        if not self._drain.is_ignored:
            return None
        ending = Ending.RETIRED if self._drain.is_retiring else Ending.UNFINISHED
        return Fault(ending, EXIT_UNFINISHED, "it was told to end and ignores the signal")

    def _fault_of_lease(self) -> Fault | None:
        heartbeat = self._heartbeat
        if heartbeat.is_gone:
            return _lease_lost("it was declared gone and its tasks given to others")
        if not heartbeat.has_lease:
            # The database may be away for all workers or only for this one. Running tasks could run twice, so they are
            # interrupted. Ended ones keep their outcomes until a sweeper declares this worker gone.
            self._interrupter.interrupt_all(Shutdown)
            if heartbeat.lease_over_for > conf.WORKER_LEASE_SECONDS and self._interrupter.running:
                return _lease_lost("its lease is over and an actor cannot be interrupted")
        return None

    def _fault_of_threads(self) -> Fault | None:
        if not event_loop.is_alive():
            # Only an actor that runs in it can have stopped it.
            return Fault(Ending.NONE, EXIT_UNHEALTHY, "an async actor ended the event loop")
        parts = (self._completer, self._heartbeat, self._interrupter)
        if not all(part.is_alive for part in parts):
            return _unhealthy("a thread of the engine is dead")
        awake_for = time.monotonic() - self._awake_since
        patience = max(conf.WORKER_LEASE_SECONDS, conf.HEARTBEAT_INTERVAL_SECONDS + 1)
        for part in (self._completer, self._heartbeat):
            if min(part.stalled_for, awake_for) > patience:
                return _unhealthy(f"the {type(part).__name__.lower()} is stuck")
        if self._drain.has_begun:
            return None
        threads = [*self._worker.workers, *self._worker.consumers.values()]
        if not all(thread.is_alive() for thread in threads):
            return _unhealthy("a thread of Dramatiq's is dead")
        stalled_for = call_timeout.stalled_seconds(self._consumer_thread_id, since=self._consumer_round)
        if min(stalled_for, awake_for) > STALE_CONSUMER_SECONDS:
            return _unhealthy(f"nothing was taken for {STALE_CONSUMER_SECONDS:g} s")
        return None


def _lease_lost(reason: str) -> Fault:
    return Fault(Ending.LEASE_LOST, EXIT_LEASE_LOST, reason)


def _unhealthy(reason: str) -> Fault:
    return Fault(Ending.UNHEALTHY, EXIT_UNHEALTHY, reason)
