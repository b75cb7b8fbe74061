"""The claiming consumer: takes hints when threads will be free, claims their tasks, acknowledges, hands them out."""

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy

from tasks import lifecycle, registry
from tasks.db import call_timeout, sessions
from tasks.errors import BrokerUnavailable
from tasks.lifecycle import NotEntitled
from tasks.priority import effective_priority
from tasks.testing import failpoints
from tasks.worker.execution import Execution
from tasks.worker.isolation import Isolation, is_quarantined

if TYPE_CHECKING:
    from tasks.broker.sources import Taken
    from tasks.lifecycle import Claimed
    from tasks.worker.runtime import WorkerRuntime

log = structlog.get_logger(__name__)

#: What waits for a thread longer than this goes back: another process may be idle.
PUT_BACK_AFTER_SECONDS = 0.1
#: How far ahead of its threads a process claims, measured in its own recent speed.
LOOKAHEAD_SECONDS = 0.1
MOST_LOOKAHEAD = 512
#: How long to leave a database or broker alone that just failed.
PAUSE_AFTER_ERROR_SECONDS = 0.5
#: A claim may wait for a table's lock; every so many leases it is asked anew whether the database still answers.
SILENT_LEASES = 4
#: How often a draining consumer looks whether it is to end.
DRAINING_PAUSE_SECONDS = 0.05
#: Dramatiq's worker would take the first for a delay of its own, and use the second in an isinstance().
_NOT_FOR_DRAMATIQ = frozenset({"eta", "throws"})
#: A wake-up may be lost, so an idle worker looks by itself this often.
IDLE_WAIT_SECONDS = 1.0


class ClaimedMessage(MessageProxy):
    """A claimed task as Dramatiq's worker sees it; its text never shows the payload."""

    def __init__(self, message: "Message[Any]", execution: Execution, runtime: "WorkerRuntime") -> None:
        super().__init__(message)
        self.execution = execution
        self.runtime = runtime
        #: In Dramatiq's work queue; that of an old task is its band's highest.
        self.priority = execution.claimed.priority

    def __str__(self) -> str:
        return f"{self.actor_name}[{self.message_id}]"


class Slots:
    """How many tasks this process may hold: one per thread, and a little more while it is fast.

    The lookahead is what the threads finished in the last tenth of a second, so that tasks of a millisecond wait for
    nothing and a task of a minute has none queued behind it.
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
        """Count tasks out: ``finished`` by their thread, or put back unstarted."""
        with self._freed:
            self._held -= count
            self._finished += count if finished else 0
            self._freed.notify()

    @property
    def held(self) -> int:
        """How many tasks are claimed and not ended."""
        return self._held

    def free(self) -> int:
        """How many more may be claimed now."""
        with self._freed:
            self._measure()
            return max(0, self._threads + self._lookahead - self._held)

    def wait_for_one(self, timeout: float) -> None:
        """Block until one more may be claimed, ``timeout`` seconds at most."""
        with self._freed:
            self._freed.wait_for(lambda: self._held < self._threads + self._lookahead, timeout)

    def wait(self, timeout: float) -> None:
        """Block until a task ends, ``timeout`` seconds at most."""
        with self._freed:
            self._freed.wait(timeout)

    def _measure(self) -> None:
        elapsed = time.monotonic() - self._window_started
        if elapsed >= LOOKAHEAD_SECONDS:
            self._lookahead = min(MOST_LOOKAHEAD, int(self._finished * LOOKAHEAD_SECONDS / elapsed))
            self._finished, self._window_started = 0, time.monotonic()


class ClaimingConsumer(Consumer):
    """The process's only consumer: serves all of its queues from Dramatiq's one consumer thread.

    ``__next__`` never raises for a database or broker that is away: Dramatiq would strand the batch and sleep.
    Dramatiq's ``ack`` and ``nack``, which come when the actor is done, only hand the outcome to the completer.
    """

    def __init__(self, runtime: "WorkerRuntime", broker_queue_name: str) -> None:
        self._runtime = runtime
        # Dramatiq finds the consumer of a message by this name; any other would kill the worker thread.
        self._anchor = broker_queue_name
        self._ready: deque[ClaimedMessage] = deque()
        self._unclaimed: list[Taken] = []
        #: Claimed or stale, and not yet acknowledged.
        self._done: list[Taken] = []
        #: Whether the broker may hold hints as taken by us that are not in hand: one of its replies was lost.
        self._is_in_doubt = False
        self._isolation = Isolation(runtime)

    def __next__(self) -> ClaimedMessage | None:
        """Return a claimed task, or None after a moment without one."""
        self._runtime.consumer_is_alive()
        if not self._ready:
            self._refill()
        if not self._ready:
            return None
        self._runtime.handing_out()
        return self._ready.popleft()

    def ack(self, message: Any) -> None:
        """The actor is done: hand its outcome over."""
        self._runtime.finished(message.execution)

    def nack(self, message: Any) -> None:
        """The message failed in Dramatiq's eyes: our outcome says what that means."""
        message.execution.capture_failure(message._exception)
        self._runtime.finished(message.execution)

    def _refill(self) -> None:
        runtime = self._runtime
        if runtime.is_draining:
            # First: others could start their tasks by now.
            self._give_back_hints()
            self._acknowledge()
            # What a claim that was under way brought after the drain began.
            self._start_nothing_more()
            # Not drained.wait(): it is set by now, and the consumer would spin beside what still runs.
            time.sleep(DRAINING_PAUSE_SECONDS)
            return
        if not runtime.heartbeat.has_lease:
            # The heartbeat goes on trying.
            self._acknowledge()
            self._start_nothing_more()
            runtime.drained.wait(PAUSE_AFTER_ERROR_SECONDS)
            return
        try:
            if self._isolation.go_on(self._hand_out):
                self._acknowledge()
                return
            runtime.put_back_waiting(longer_than=PUT_BACK_AFTER_SECONDS)
            # While outcomes cannot be written, finished tasks must not pile up in memory.
            if runtime.completer.is_full:
                self._acknowledge()
                runtime.drained.wait(PUT_BACK_AFTER_SECONDS)
                return
            free = runtime.slots.free()
            if free == 0:
                self._acknowledge()
                runtime.slots.wait_for_one(PUT_BACK_AFTER_SECONDS / 2 if runtime.unstarted else IDLE_WAIT_SECONDS)
                return
            taken = self._take(free)
            if taken:
                self._claim(taken)
            else:
                self._wait()
        except (DatabaseError, BrokerUnavailable) as error:
            self._is_in_doubt = self._is_in_doubt or isinstance(error, BrokerUnavailable)
            log.warning("cannot claim; trying again", error=str(error), wait_seconds=PAUSE_AFTER_ERROR_SECONDS)
            close_old_connections()
            runtime.drained.wait(PAUSE_AFTER_ERROR_SECONDS)

    def _start_nothing_more(self) -> None:
        self._runtime.put_back_waiting(longer_than=0)
        self._isolation.put_back()

    def _take(self, limit: int) -> "list[Taken]":
        if self._unclaimed:
            # What could not be claimed for an error is still ours to claim: it left the broker's list.
            taken, self._unclaimed = self._unclaimed, []
            return taken
        # The last claim is acknowledged on the same way: its tasks have gone to the threads.
        done, self._done = self._done, []
        if done:
            failpoints.reach("before_ack")
        taken = self._runtime.source.take(self._runtime.served, limit, done=done)
        if done:
            failpoints.reach("after_ack")
        return taken

    def _claim(self, taken: "list[Taken]") -> None:
        runtime = self._runtime
        self._unclaimed = taken
        hints = list({one.hint for one in taken if one.hint is not None})
        failpoints.reach("before_claim")
        asked = time.monotonic()
        try:
            # Without a limit a connection that is silent would keep this thread; a lock may take longer, and again.
            with call_timeout.bounded(SILENT_LEASES * settings.WORKER_LEASE_SECONDS):
                claimed = lifecycle.claim_many(hints, worker_id=runtime.worker_id)
        except NotEntitled:
            self._pass_on()
            return
        failpoints.reach("after_claim")
        executions = [Execution(one, claimed_monotonic=asked) for one in claimed]
        runtime.hold(executions)
        # The rows protect the tasks now. Stale and foreign hints go the same way.
        self._unclaimed = []
        self._done += taken
        bands = {one.hint.task_id: one.queue for one in taken if one.hint is not None}
        for execution in executions:
            if is_quarantined(execution.claimed):
                self._isolation.add(execution, bands[execution.claimed.id])
            else:
                self._hand_out(execution, bands[execution.claimed.id])

    def _pass_on(self) -> None:
        """Leave hints to other workers: this one was asked to drain, or its lease is over, and learns it now."""
        self._give_back_hints()
        self._runtime.heartbeat.beat_soon()
        self._runtime.drained.wait(PAUSE_AFTER_ERROR_SECONDS)

    def _acknowledge(self) -> None:
        """Acknowledge what was claimed, since nothing is taken for a while."""
        if not self._done:
            return
        done, self._done = self._done, []
        try:
            failpoints.reach("before_ack")
            self._runtime.source.done(done)
            failpoints.reach("after_ack")
        except BrokerUnavailable as error:
            # No hurry: such a hint is stale, whenever it comes back.
            self._is_in_doubt = True
            log.warning("claimed hints are acknowledged later", error=str(error), count=len(done))

    def _hand_out(self, execution: Execution, broker_queue_name: str) -> None:
        actor = self._runtime.broker.actors.get(execution.claimed.actor)
        if actor is None:
            # A rolling deploy: another worker knows it. Not at once, or the two would play ping-pong.
            self._runtime.put_back([execution], delay_seconds=1 + hash(execution.claimed.id) % 30)
            return
        try:
            message = self._message(execution)
        except BaseException as error:  # noqa: BLE001
            # A row that makes no message is that task's failure, not the end of this consumer; a validator of the
            # user's model may raise a SystemExit.
            execution.capture_failure(error)
            self._runtime.finished(execution)
            return
        message.priority = effective_priority(message.priority, broker_queue_name)
        self._ready.append(message)

    def _message(self, execution: Execution) -> ClaimedMessage:
        claimed: Claimed = execution.claimed
        args, kwargs = registry.get(claimed.actor).arguments.convert(claimed.args, claimed.payload)
        message: Message[Any] = Message(
            queue_name=self._anchor,
            actor_name=claimed.actor,
            args=args,
            kwargs=kwargs,
            options={name: value for name, value in claimed.options.items() if name not in _NOT_FOR_DRAMATIQ},
            message_id=str(claimed.id),
            message_timestamp=int(claimed.claimed_at.timestamp() * 1000),
        )
        return ClaimedMessage(message, execution, self._runtime)

    def _wait(self) -> None:
        runtime = self._runtime
        if runtime.unstarted:
            runtime.slots.wait(PUT_BACK_AFTER_SECONDS / 2)
            return
        sessions.refresh()
        if self._is_in_doubt:
            # Else what is not acknowledged would stay in the broker as long as this process lives.
            runtime.source.forget_taken(runtime.served)
            self._is_in_doubt = False
        runtime.source.wait(runtime.served, IDLE_WAIT_SECONDS)

    def _give_back_hints(self) -> None:
        if not self._unclaimed:
            return
        taken, self._unclaimed = self._unclaimed, []
        try:
            self._runtime.source.put_back(taken)
        except BrokerUnavailable as error:
            log.warning("hints are lost; the sweeper will find their tasks", error=str(error), count=len(taken))
