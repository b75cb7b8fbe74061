"""In-flight tasks of a worker process: every claimed task whose outcome is not written yet."""

import queue
import time
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db import close_old_connections

from tasks import lifecycle
from tasks.conf import conf
from tasks.db import call_timeout
from tasks.log import get_logger
from tasks.worker.execution import Execution
from tasks.worker.flight_recorder import Recorder
from tasks.worker.slots import Slots

log = get_logger(__name__)

#: Task id and attempt number, by which every write to the row is fenced.
Key = tuple[UUID, int]


class PriorityWorkQueue(queue.PriorityQueue[Any]):
    """Dramatiq's work queue in the exact order of priorities 10 to 1, first come first served within one."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self.queue: list[Any] = []
        self._order = count()

    def _put(self, item: Any) -> None:
        heappush(self.queue, (-item.message.priority, next(self._order), item))

    def _get(self) -> Any:
        return heappop(self.queue)[-1]


class Inflight:
    """Claimed tasks from the commit of their claim to the commit of their outcome.

    Attributes:
        slots: how many more may be claimed.
        work_queue: messages that wait for a thread.
        ended: number of runs that have ended since the process began.
    """

    def __init__(self, worker_id: UUID, *, threads: int, recorder: Recorder) -> None:
        self.worker_id = worker_id
        self.slots = Slots(threads)
        self.work_queue = PriorityWorkQueue()
        self.ended = 0
        self._recorder = recorder
        self._held: dict[Key, Execution] = {}
        self._unstarted: dict[Key, Execution] = {}
        self._last_start = time.monotonic()
        #: Called after an actor has told something; a worker process writes it.
        self.reported: Callable[[Execution], None] = lambda _: None
        #: Called in the thread that is about to run a task; the consumer sets it.
        self.before_start: Callable[[Execution], None] = lambda _: None

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    @property
    def keys(self) -> list[Key]:
        """Task id and attempt number of everything held."""
        return list(self._held)

    @property
    def executions(self) -> list[Execution]:
        """Everything held."""
        return list(self._held.values())

    @property
    def unstarted(self) -> int:
        """How many claimed tasks wait for a thread."""
        return len(self._unstarted)

    def get(self, key: Key) -> Execution | None:
        """Find a held task by its key."""
        return self._held.get(key)

    # --- From claim to outcome ---

    def hold(self, executions: Sequence[Execution]) -> None:
        """Count claimed tasks as held."""
        for execution in executions:
            self._held[execution.key] = self._unstarted[execution.key] = execution
        self.slots.acquire(len(executions))

    def hand_out(self) -> None:
        """Note that a claimed task goes to the work queue now.

        If the queue is empty, the wait for a thread begins now. Otherwise the first task after an idle time would be
        put back before a thread wakes, because no thread had taken anything for so long.
        """
        if self.work_queue.empty():
            self._last_start = time.monotonic()

    def start(self, execution: Execution) -> None:
        """Note that a thread is about to run a task."""
        self._unstarted.pop(execution.key, None)
        self._last_start = time.monotonic()
        self.before_start(execution)
        self._recorder.start(execution.key, execution.at(None))

    def end(self, execution: Execution) -> None:
        """Note that an actor has ended; its task stays held until the outcome is written, and keeps its slot."""
        # A message that could not be built, or that was skipped, never started.
        self._unstarted.pop(execution.key, None)
        self.ended += 1
        self._recorder.end(execution.key)

    def end_resisting(self, execution: Execution, *, is_stuck: bool) -> None:
        """Note that a task's thread is free although its coroutine still runs; the task stays held.

        Parameters:
            is_stuck: it resisted its time limit, which is a failure; resisting a shutdown or a cancel is not.
        """
        self._unstarted.pop(execution.key, None)
        self.ended += 1
        if is_stuck:
            self._recorder.mark_stuck(execution.key)
        self.slots.release()

    def forget(self, executions: Iterable[Execution]) -> None:
        """Forget tasks whose attempt is closed in the database."""
        for execution in executions:
            self._held.pop(execution.key, None)
            self._recorder.forget(execution.key)

    # --- Back without a start ---

    def put_back(self, executions: Sequence[Execution], *, delay_seconds: float | None = None) -> None:
        """Return tasks that were not started to the table.

        Parameters:
            delay_seconds: time until they are due; by default at once, in their old position.
        """
        if not executions:
            return
        keys = [execution.key for execution in executions]
        try:
            with call_timeout.bounded(conf.WORKER_LEASE_SECONDS):
                lifecycle.put_back_many(keys, worker_id=self.worker_id, delay_seconds=delay_seconds)
        except DatabaseProblem as error:
            # Their rows still name this worker. The heartbeat will find that it does not hold them.
            log.warning("cannot put tasks back; the heartbeat will", error=str(error).strip(), count=len(keys))
            close_old_connections()
        self._release(executions)

    def put_back_waiting(self, *, longer_than: float) -> None:
        """Return tasks that wait for a thread, if no thread has taken a task for ``longer_than`` seconds."""
        if not self._unstarted or time.monotonic() - self._last_start < longer_than:
            return
        waiting = []
        while True:
            try:
                waiting.append(self.work_queue.get_nowait().message.execution)
            except queue.Empty:
                break
            self.work_queue.task_done()
        self.put_back(waiting)

    def put_back_unstarted(self) -> None:
        """Return all tasks that have not started."""
        self.put_back(list(self._unstarted.values()))

    def _release(self, executions: Iterable[Execution]) -> None:
        released = [self._held.pop(execution.key, None) for execution in executions]
        for execution in executions:
            self._unstarted.pop(execution.key, None)
        self.slots.release(sum(one is not None for one in released), finished=False)
