"""The watchdog: ends a worker process that only looks alive; its supervisor starts a fresh one."""

import os
import threading
import time
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from tasks.engine import event_loop

if TYPE_CHECKING:
    from dramatiq import Worker

    from tasks.engine.runtime import WorkerRuntime

log = structlog.get_logger(__name__)

#: Exit codes that tell the supervisor that no task is to blame.
EXIT_UNHEALTHY = 70
EXIT_LEASE_LOST = 75
EXIT_UNFINISHED = 76
#: No fault at all: it was asked to drain, or had done its share.
EXIT_RETIRED = 77
#: How often it looks.
LOOK_SECONDS = 1.0
#: What a consumer that claims may take: a lock on the task table, a slow Redis.
STALE_CONSUMER_SECONDS = 60.0


class Watchdog:
    """Looks once a second: are all threads there, does the consumer come by, do we still have our lease?"""

    def __init__(self, runtime: "WorkerRuntime", worker: "Worker") -> None:
        self._runtime = runtime
        self._worker = worker
        self._seen = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()
        self._runtime.tick(is_last=True)

    def consumer_came_by(self) -> None:
        """The consumer thread is at the top of its loop."""
        self._seen = time.monotonic()

    def _run(self) -> None:
        next_look = time.monotonic() + LOOK_SECONDS
        while not self._stopped.wait(min(LOOK_SECONDS, settings.HEARTBEAT_INTERVAL_SECONDS)):
            self._runtime.tick()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK_SECONDS
                self._look()

    def _look(self) -> None:
        self._runtime.end_if_retired()
        fault = self._fault()
        if fault is not None:
            code, reason = fault
            log.critical("worker ends itself; a fresh one takes over", reason=reason, exit_code=code)
            os._exit(code)

    def _fault(self) -> tuple[int, str] | None:
        runtime = self._runtime
        if runtime.heartbeat.is_gone:
            return EXIT_LEASE_LOST, "it was declared gone and its tasks given to others"
        if not runtime.heartbeat.has_lease:
            # The database may be away for all, or only for us. What runs could run twice, so it is interrupted; what
            # has ended keeps its outcome until somebody declares us gone.
            runtime.fence()
            if runtime.heartbeat.lease_over_for > settings.WORKER_LEASE_SECONDS and runtime.interrupter.running:
                return EXIT_LEASE_LOST, "its lease is over and an actor cannot be interrupted"
        if not event_loop.is_alive():
            return EXIT_UNHEALTHY, "the event loop's thread is dead"
        if not runtime.completer.is_alive or not runtime.heartbeat.is_alive:
            return EXIT_UNHEALTHY, "a thread of the engine is dead"
        if runtime.is_draining:
            return None
        threads = [*self._worker.workers, *self._worker.consumers.values()]
        if not all(thread.is_alive() for thread in threads):
            return EXIT_UNHEALTHY, "a thread of Dramatiq's is dead"
        if time.monotonic() - self._seen > STALE_CONSUMER_SECONDS:
            return EXIT_UNHEALTHY, f"nothing was taken for {STALE_CONSUMER_SECONDS:g} s"
        return None
