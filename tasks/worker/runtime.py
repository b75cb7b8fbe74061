"""A worker process's own part: what it holds, and the threads around Dramatiq's.

The middleware ``WorkerProcess`` makes one, so that any way of starting a Dramatiq worker (``runworkers``,
``rundramatiq``) brings it along.
"""

import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import close_old_connections, connections
from dramatiq import Broker, Worker
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from tasks import lifecycle
from tasks.broker.brokers import CallboardBroker, RedisBroker
from tasks.broker.notifier import News, notifier
from tasks.db import call_timeout
from tasks.db.statements import keep_plans
from tasks.lifecycle import workers
from tasks.models import new_id
from tasks.priority import BANDS, bands_named, is_broker_queue, shortest_names
from tasks.telemetry import log_writer
from tasks.worker.completer import Completer
from tasks.worker.consumer import ClaimingConsumer, Slots
from tasks.worker.execution import Cancelled, Execution, Interrupter, Resisted
from tasks.worker.flight_recorder import Ending, FlightRecorder
from tasks.worker.grace import Grace
from tasks.worker.heartbeat import Heartbeat
from tasks.worker.watchdog import EXIT_UNFINISHED, Fault, Watchdog

log = structlog.get_logger(__name__)


class PriorityWorkQueue(queue.PriorityQueue[Any]):
    """Dramatiq's work queue in the exact order of priorities 10 to 1, first come first served within one."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self.queue: list[Any] = []
        self._order = count()

    def _put(self, item: Any) -> None:
        heappush(self.queue, (-item.message.priority, next(self._order), item))

    def _get(self) -> Any:
        return heappop(self.queue)[-1]


class WorkerRuntime:
    """This process as a worker: from registration to departure.

    Attributes:
        worker_id: of this boot.
        served: the broker's queues that it takes from, high bands first.
        queues: the same for people: "default" for all of its bands, "default.high" for one.
        is_draining: take nothing more.
        drained: set together with it, to end waits.
        is_finished: after the end, whether every outcome was written.
        has_ended_itself: the end was not its operator's wish.
        is_retiring: it ends after what it holds, however long that takes.
    """

    def __init__(
        self, broker: Broker, worker: Worker, *, worker_id: UUID | None = None, recorder: FlightRecorder | None = None
    ) -> None:
        assert isinstance(broker, CallboardBroker)
        self.broker, self.source, self._worker = broker, broker.source, worker
        self.worker_id = worker_id or new_id()
        self.served = _served(broker, worker.consumer_whitelist)
        self.queues = shortest_names(self.served)
        self.is_draining = self.is_finished = self.has_ended_itself = self.is_retiring = False
        self._is_ending = self._is_asked_to_retire = False
        self._done = 0
        self.drained = threading.Event()
        self.slots = Slots(worker.worker_threads)
        self.interrupter = Interrupter()
        self.completer = Completer(self.worker_id, written=self._written)
        self.heartbeat = Heartbeat(self)
        self.watchdog = Watchdog(self, worker)
        self._grace = Grace(interrupt=self._interrupt_rest, end=self._end_hard if recorder is not None else None)
        self._held: dict[tuple[UUID, int], Execution] = {}
        self._unstarted: dict[tuple[UUID, int], Execution] = {}
        self._last_start = time.monotonic()
        self._recorder = recorder

    def start(self) -> None:
        """Join the board and put our consumer and queue in the places of Dramatiq's."""
        log_writer.start()
        self._worker.work_queue = PriorityWorkQueue()
        # One consumer thread serves all queues; Dramatiq starts one for each queue that this set names.
        self._worker.consumer_whitelist = {self.served[0]}
        if isinstance(self.broker, RedisBroker):
            # So that the sweeper can tell whose unacknowledged hints are in Redis.
            self.broker.broker_id = str(self.worker_id)
        workers.declare_queues()
        workers.register(self.worker_id, queues=self.queues, threads=self._worker.worker_threads)
        self.broker.runtime = self
        for part in (self.interrupter, self.completer, self.heartbeat, self._grace):
            part.start()
        notifier.poke(News.BEHIND)

    def watch(self) -> None:
        """Watch the threads that Dramatiq has started by now."""
        self.watchdog.start()
        log.info(
            "worker is ready",
            worker_id=str(self.worker_id),
            queues=self.queues,
            threads=self._worker.worker_threads,
            actors=len(self.broker.actors),
        )

    def begin_stop(self) -> None:
        """Take nothing more, return what has not started, and give what runs its grace."""
        self.drain()
        self.put_back_waiting(longer_than=0)
        self._grace.begin()

    def stop(self) -> None:
        """Write the last outcomes and leave the board."""
        self.watchdog.stop()
        flushed = self.completer.stop(timeout=settings.WORKER_LEASE_SECONDS)
        self.heartbeat.stop()
        self.interrupter.stop()
        self.put_back(list(self._unstarted.values()))
        self.is_finished = flushed and not self._held
        if self.is_finished:
            self._leave()
        else:
            log.error("worker ends with tasks on hand; the sweeper will rescue them", count=len(self._held))
        self.broker.runtime = None
        connections.close_all()
        self._grace.cancel()

    # --- What the process holds ---------------------------------------------------------------------------------

    @property
    def unstarted(self) -> int:
        """How many claimed tasks wait for a thread."""
        return len(self._unstarted)

    @property
    def held(self) -> list[tuple[UUID, int]]:
        """Task id and attempt of everything claimed here whose outcome is not written."""
        return list(self._held)

    def holds(self, key: tuple[UUID, int]) -> bool:
        """Tell whether an attempt is among these now."""
        return key in self._held

    def consumer(self, broker_queue_name: str) -> ClaimingConsumer:
        """Make the consumer for Dramatiq's one consumer thread, which calls this."""
        keep_plans()
        return ClaimingConsumer(self, broker_queue_name)

    def consumer_is_alive(self) -> None:
        """The consumer thread came by."""
        self.watchdog.consumer_came_by()

    def hold(self, executions: Sequence[Execution]) -> None:
        """Count claimed tasks as ours."""
        for execution in executions:
            self._held[execution.key] = self._unstarted[execution.key] = execution
        self.slots.acquire(len(executions))

    def handing_out(self) -> None:
        """A claimed task is about to go to the threads.

        If none lies there its wait begins now: nothing has started for a while because there was nothing to start, and
        the first task after a rest would else be put back before a thread wakes.
        """
        if self._worker.work_queue.empty():
            self._last_start = time.monotonic()

    def started(self, execution: Execution) -> None:
        """A thread is about to run a task."""
        self._unstarted.pop(execution.key, None)
        self._last_start = time.monotonic()
        if self._recorder is not None:
            self._recorder.start(execution.key, execution.at(None))

    def finished(self, execution: Execution) -> None:
        """A thread is done with a task: hand its outcome to the completer."""
        # A message that could not be built, or that was skipped, never reached started().
        self._unstarted.pop(execution.key, None)
        self._done += 1
        execution.capture_failure(None)
        if isinstance(execution.error, Resisted):
            # Its coroutine still runs, so nothing may be said about the attempt until the process is gone.
            log.error(
                "a coroutine resists its cancellation; this worker ends for it", task_id=str(execution.claimed.id)
            )
            if self._recorder is not None and TimeLimitExceeded in execution.interrupts:
                # Resisting a shutdown or a cancel is no failure: then it counts as interrupted.
                self._recorder.mark_stuck(execution.key)
            self.slots.release()
            self.end_now()
            return
        if self._recorder is not None:
            self._recorder.end(execution.key)
        if execution.is_completed:
            self._already_written(execution)
        else:
            self.completer.add(execution)
        self.slots.release()

    def _already_written(self, execution: Execution) -> None:
        if execution.error is not None:
            log.warning(
                "an actor raised after it had completed its task, which stays SUCCEEDED",
                task_id=str(execution.claimed.id),
                error=repr(execution.error)[:500],
            )
        self._written([execution])

    def _written(self, executions: Sequence[Execution]) -> None:
        for execution in executions:
            self._held.pop(execution.key, None)
            if self._recorder is not None:
                self._recorder.forget(execution.key)

    def put_back(self, executions: Sequence[Execution], *, delay_seconds: float | None = None) -> None:
        """Return tasks that were not started."""
        if not executions:
            return
        keys = [execution.key for execution in executions]
        try:
            with call_timeout.bounded(settings.WORKER_LEASE_SECONDS):
                lifecycle.put_back_many(keys, worker_id=self.worker_id, delay_seconds=delay_seconds)
        except DatabaseProblem as error:
            # Ours by their rows and by nothing else: the next heartbeat finds that we do not hold them.
            log.warning("cannot put tasks back; the heartbeat will", error=str(error).strip(), count=len(keys))
            close_old_connections()
        self._release(executions)

    def _release(self, executions: Iterable[Execution]) -> None:
        released = [self._held.pop(execution.key, None) for execution in executions]
        for execution in executions:
            self._unstarted.pop(execution.key, None)
        self.slots.release(sum(one is not None for one in released), finished=False)

    def put_back_waiting(self, *, longer_than: float) -> None:
        """Return what waits for a thread while no thread has taken anything for ``longer_than`` seconds."""
        if not self._unstarted or time.monotonic() - self._last_start < longer_than:
            return
        waiting = []
        while True:
            try:
                waiting.append(self._worker.work_queue.get_nowait().message.execution)
            except queue.Empty:
                break
            self._worker.work_queue.task_done()
        self.put_back(waiting)

    def tick(self, *, is_last: bool = False) -> None:
        """Show the supervisor that this process lets its threads run, or that it need not look any more."""
        if self._recorder is not None:
            self._recorder.stop_ticking() if is_last else self._recorder.tick()

    def say_ending(self, ending: Ending) -> None:
        """Tell the supervisor why this process ends: what it is not told it takes for a crash."""
        if self._recorder is not None:
            self._recorder.end_process(ending)

    def cancel(self, keys: Sequence[tuple[UUID, int]]) -> None:
        """Interrupt runs whose tasks were cancelled."""
        for key in keys:
            execution = self._held.get(key)
            if execution is not None:
                self.interrupter.interrupt(execution, Cancelled)

    # --- The end ------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take nothing more; what runs goes on."""
        self.is_draining = True
        self.drained.set()

    @property
    def is_worn_out(self) -> bool:
        """Whether a fresh process should take over, and there is a supervisor to start one."""
        if self._recorder is None:
            return False
        if self._is_asked_to_retire:
            return True
        most_tasks, most_bytes = settings.WORKER_MAX_TASKS, settings.WORKER_MAX_MEMORY_MB * 1_000_000
        return bool((most_tasks and self._done >= most_tasks) or (most_bytes and _peak_bytes() >= most_bytes))

    def ask_to_retire(self) -> None:
        """Let the heartbeat retire this process now; safe in a signal handler."""
        self._is_asked_to_retire = True
        self.heartbeat.beat_soon()

    def retire(self) -> None:
        """Take nothing more and end once nothing is held; a supervisor starts another process right away."""
        self.is_retiring = True
        self.drain()
        if self._recorder is not None:
            self._recorder.retire()

    def end_if_retired(self) -> None:
        """End this process as its operator would, if its last task is done.

        What is stuck does not count: the sweeper has taken it, and it may never end.
        """
        if not self.is_retiring or self._is_ending:
            return
        if all(map(self.interrupter.is_stuck, list(self._held.values()))):
            # Once: Dramatiq's own command takes a second signal for impatience.
            self._is_ending = True
            os.kill(os.getpid(), signal.SIGTERM)

    def end_now(self) -> None:
        """End this process as its operator would, with a grace for what runs; a supervisor starts a fresh one."""
        self.has_ended_itself = True
        self.drain()
        os.kill(os.getpid(), signal.SIGTERM)

    def fence(self) -> None:
        """Interrupt what runs: the lease is over, and others may be given the same tasks."""
        self.interrupter.interrupt_all(Shutdown)

    def _end_hard(self) -> None:
        self.watchdog.end(Fault(Ending.UNFINISHED, EXIT_UNFINISHED, "its stop hangs"))

    def _interrupt_rest(self) -> None:
        log.warning("grace is over; running tasks are interrupted and go back", count=len(self._held))
        self.interrupter.interrupt_all(Shutdown)

    def _leave(self) -> None:
        try:
            workers.leave(self.worker_id)
        except DatabaseProblem as error:
            log.warning("cannot leave the board; the lease will run out", error=str(error))


def _peak_bytes() -> int:
    # Linux counts in kB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _served(broker: CallboardBroker, whitelist: set[str] | None) -> list[str]:
    declared = sorted(filter(is_broker_queue, broker.get_declared_queues()))
    asked = {band for name in whitelist or declared for band in bands_named(name)}
    unknown = shortest_names(asked - set(declared))
    if unknown or not asked:
        queues = ", ".join(shortest_names(declared)) or "none"
        raise SystemExit(f"no actor declares {', '.join(unknown) or 'any queue'}; declared are: {queues}")
    return [name for band in BANDS for name in declared if name in asked and name.endswith(f".{band.name}")]
