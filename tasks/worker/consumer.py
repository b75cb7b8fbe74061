"""The claiming consumer: takes hints when threads will be free, claims their tasks, acknowledges, hands them out."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import close_old_connections
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.middleware import Shutdown, TimeLimitExceeded
from dramatiq.worker import ConsumerThread

from tasks import lifecycle
from tasks.broker import dramatiq_internals
from tasks.broker.brokers import CallboardBroker
from tasks.broker.sources.base import Taken
from tasks.conf import conf
from tasks.db import call_timeout, sessions
from tasks.errors import BrokerUnavailable
from tasks.lifecycle import NotEntitled
from tasks.log import get_logger
from tasks.models import Attempt
from tasks.priority import effective_priority
from tasks.states import AttemptOutcome
from tasks.telemetry import metrics
from tasks.testing import failpoints
from tasks.worker.completer import Completer
from tasks.worker.drain import Drain
from tasks.worker.execution import Execution, Resisted
from tasks.worker.heartbeat import Heartbeat
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Interrupter
from tasks.worker.isolation import Isolation, is_quarantined

log = get_logger(__name__)

#: A task that waits longer than this for a thread is put back, because another process may be idle.
PUT_BACK_AFTER_SECONDS = 0.1
#: Pause after an error of the database or the broker.
PAUSE_AFTER_ERROR_SECONDS = 0.5
#: A claim may wait for a table's lock. After so many leases it is retried, to see whether the database still answers.
SILENT_LEASES = 4
#: Pause between two rounds of a draining consumer.
DRAINING_PAUSE_SECONDS = 0.05
#: An idle worker looks this often without a wake-up, because one may be lost.
IDLE_WAIT_SECONDS = 1.0


class OneConsumer(dict[str, ConsumerThread]):
    """The consumers of a worker, which Dramatiq looks up by the queue of a message: one has the messages of all."""

    def __missing__(self, queue_name: str) -> ConsumerThread:
        return next(iter(self.values()))


class ClaimedMessage(MessageProxy):
    """A claimed task as Dramatiq's worker sees it; its text never shows the payload."""

    def __init__(self, execution: Execution, *, priority: int, inflight: Inflight, interrupter: Interrupter) -> None:
        super().__init__(execution.message())
        self.execution = execution
        self.inflight, self.interrupter = inflight, interrupter
        #: Its place in the work queue.
        self.priority = priority

    def __str__(self) -> str:
        return f"{self.actor_name}[{self.message_id}]"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class ClaimingConsumer(Consumer):
    """The process's only consumer: serves all of its queues from Dramatiq's one consumer thread.

    ``__next__`` never raises when the database or the broker is away: Dramatiq would strand the batch and sleep.
    Dramatiq calls ``ack`` or ``nack`` when the actor is done; both only hand the outcome to the completer.

    Parameters:
        served: the broker's queues to take from, high bands first.
        on_round: called at the top of each round, from the consumer thread.
    """

    def __init__(
        self,
        broker: CallboardBroker,
        *,
        served: Sequence[str],
        inflight: Inflight,
        interrupter: Interrupter,
        completer: Completer,
        heartbeat: Heartbeat,
        drain: Drain,
        on_round: Callable[[], None],
    ) -> None:
        self._source, self._actors = broker.source, broker.actors
        self._served = served
        self._inflight, self._interrupter, self._completer = inflight, interrupter, completer
        self._heartbeat, self._drain = heartbeat, drain
        self._on_round = on_round
        self._ready: deque[ClaimedMessage] = deque()
        self._unclaimed: list[Taken] = []
        #: Hints that were claimed or are stale.
        self._unacknowledged: list[Taken] = []
        #: Whether a reply of the broker was lost, so that it may count hints as taken that never arrived here.
        self._is_in_doubt = False
        self._isolation = Isolation(inflight)
        inflight.before_start = self._before_start

    def __next__(self) -> ClaimedMessage | None:
        """Return a claimed task, or None after a moment without one."""
        self._on_round()
        if not self._ready:
            self._refill()
        if not self._ready:
            return None
        self._inflight.hand_out()
        return self._ready.popleft()

    def ack(self, message: Any) -> None:
        """Hand over the outcome of an actor that is done."""
        self._end(message.execution)

    def nack(self, message: Any) -> None:
        """Hand over the outcome of a message that a hook has failed, which is its last."""
        message.execution.reject(dramatiq_internals.exception_of(message))
        self._end(message.execution)

    def _before_start(self, execution: Execution) -> None:
        if execution.claimed.crashes:
            # It may crash this process as well, and a run whose outcome is not written by then is repeated. A longer
            # wait would outlive the lease.
            self._completer.flush(conf.WORKER_LEASE_SECONDS / 2)
        if self._drain.is_stopping or not self._heartbeat.has_lease:
            # Running tasks have had their interrupts, which did not reach this one; or another worker may have it.
            self._interrupter.interrupt(execution, Shutdown)

    def _end(self, execution: Execution) -> None:
        execution.capture_failure(None)
        if isinstance(execution.error, Resisted):
            # Its coroutine still runs, so the attempt gets no outcome until the process is gone.
            log.error(
                "a coroutine resists its cancellation; this worker ends for it", task_id=str(execution.claimed.id)
            )
            self._inflight.end_resisting(execution, is_stuck=TimeLimitExceeded in execution.interrupts)
            self._drain.end_process()
            return
        self._inflight.end(execution)
        if execution.is_completed:
            self._forget_completed(execution)
        else:
            self._completer.add(execution)
        # Its traceback refers to frames that refer to this run, which only the garbage collector would free.
        execution.error = None
        # Not before add(), which runs the user's predicates and validators in this thread. Until they return the thread
        # takes no other task, and no quarantined task may start beside code that can crash the process.
        self._inflight.slots.release()

    def _forget_completed(self, execution: Execution) -> None:
        if execution.error is not None:
            log.warning(
                "an actor raised after it had completed its task, which stays SUCCEEDED",
                task_id=str(execution.claimed.id),
                error=repr(execution.error)[:500],
            )
        self._inflight.forget([execution])

    def _refill(self) -> None:
        if self._drain.has_begun:
            self._give_everything_back()
            return
        if not self._heartbeat.has_lease:
            # The heartbeat keeps trying to renew it.
            self._acknowledge()
            self._put_back_unstarted()
            self._drain.began.wait(PAUSE_AFTER_ERROR_SECONDS)
            return
        try:
            self._take_and_claim()
        except (DatabaseError, BrokerUnavailable) as error:
            metrics.count_error(error, part="consumer")
            self._is_in_doubt = self._is_in_doubt or isinstance(error, BrokerUnavailable)
            log.warning("cannot claim; trying again", error=str(error), wait_seconds=PAUSE_AFTER_ERROR_SECONDS)
            close_old_connections()
            self._drain.began.wait(PAUSE_AFTER_ERROR_SECONDS)

    def _give_everything_back(self) -> None:
        # First, so that other workers can start these tasks at once.
        self._give_back_hints()
        self._acknowledge()
        # Tasks of a claim that was under way when the drain began.
        self._put_back_unstarted()
        # Not began.wait(), which returns at once by now: the consumer would spin beside running tasks.
        time.sleep(DRAINING_PAUSE_SECONDS)

    def _put_back_unstarted(self) -> None:
        self._inflight.put_back_waiting(longer_than=0)
        self._isolation.put_back()

    def _take_and_claim(self) -> None:
        inflight = self._inflight
        if self._isolation.start_next(self._hand_out):
            self._acknowledge()
            return
        inflight.put_back_waiting(longer_than=PUT_BACK_AFTER_SECONDS)
        # Finished tasks must not pile up in memory while outcomes cannot be written.
        if self._completer.is_full:
            self._acknowledge()
            self._drain.began.wait(PUT_BACK_AFTER_SECONDS)
            return
        free = inflight.slots.free()
        if free == 0:
            self._acknowledge()
            inflight.slots.wait_for_one(PUT_BACK_AFTER_SECONDS / 2 if inflight.unstarted else IDLE_WAIT_SECONDS)
            return
        taken = self._take(free)
        if taken:
            self._claim(taken)
        else:
            self._wait()

    def _take(self, limit: int) -> list[Taken]:
        if self._unclaimed:
            # A claim of these hints failed. They have left the broker's list, so only this process can claim them.
            taken, self._unclaimed = self._unclaimed, []
            return taken
        # The same call acknowledges the last claim, whose tasks have gone to the threads.
        done, self._unacknowledged = self._unacknowledged, []
        if done:
            failpoints.reach("before_ack")
        taken = self._source.take(self._served, limit, done=done)
        if done:
            failpoints.reach("after_ack")
        return taken

    def _claim(self, taken: list[Taken]) -> None:
        self._unclaimed = taken
        hints = list({one.hint for one in taken if one.hint is not None})
        failpoints.reach("before_claim")
        asked = time.monotonic()
        try:
            # Without a limit a silent connection would block this thread. A wait for a lock may exceed it: then retry.
            with call_timeout.bounded(SILENT_LEASES * conf.WORKER_LEASE_SECONDS):
                claimed = lifecycle.claim_many(hints, worker_id=self._inflight.worker_id)
        except NotEntitled:
            self._leave_hints_to_others()
            return
        failpoints.reach("after_claim")
        executions = [Execution(one, claimed_monotonic=asked) for one in claimed]
        self._inflight.hold(executions)
        # From here on the rows protect the tasks. Stale and foreign hints are acknowledged as well.
        self._unclaimed = []
        self._unacknowledged += taken
        mark_failed([one for one in executions if one.claimed.failures])
        bands = {one.hint.task_id: one.queue for one in taken if one.hint is not None}
        for execution in executions:
            if is_quarantined(execution.claimed):
                self._isolation.add(execution, bands[execution.claimed.id])
            else:
                self._hand_out(execution, bands[execution.claimed.id])

    def _leave_hints_to_others(self) -> None:
        """Give hints back and ask the registry why: this worker drains, or its lease is over."""
        self._give_back_hints()
        self._heartbeat.beat_soon()
        self._drain.began.wait(PAUSE_AFTER_ERROR_SECONDS)

    def _acknowledge(self) -> None:
        """Acknowledge claimed hints now, because no call of take() follows for a while."""
        if not self._unacknowledged:
            return
        done, self._unacknowledged = self._unacknowledged, []
        try:
            failpoints.reach("before_ack")
            self._source.done(done)
            failpoints.reach("after_ack")
        except BrokerUnavailable as error:
            # This can wait: a hint that comes back is stale.
            self._is_in_doubt = True
            log.warning("claimed hints are acknowledged later", error=str(error), count=len(done))

    def _hand_out(self, execution: Execution, broker_queue_name: str) -> None:
        actor = self._actors.get(execution.claimed.actor)
        if actor is None:
            # In a rolling deploy another worker knows the actor. Without a delay this one would claim the task again.
            self._inflight.put_back([execution], delay_seconds=1 + hash(execution.claimed.id) % 30)
            return
        # An aged task gets the highest priority of the band it was dispatched to.
        priority = effective_priority(execution.claimed.priority, broker_queue_name)
        self._ready.append(
            ClaimedMessage(execution, priority=priority, inflight=self._inflight, interrupter=self._interrupter)
        )

    def _wait(self) -> None:
        if self._inflight.unstarted:
            self._inflight.slots.wait(PUT_BACK_AFTER_SECONDS / 2)
            return
        sessions.refresh()
        if self._is_in_doubt:
            # Otherwise unacknowledged hints would stay in the broker as long as this process lives.
            self._source.forget_taken(self._served)
            self._is_in_doubt = False
        self._source.wait(self._served, IDLE_WAIT_SECONDS)

    def _give_back_hints(self) -> None:
        if not self._unclaimed:
            return
        taken, self._unclaimed = self._unclaimed, []
        try:
            self._source.put_back(taken)
        except BrokerUnavailable as error:
            log.warning("hints are lost; the sweeper will find their tasks", error=str(error), count=len(taken))


def mark_failed(executions: Iterable[Execution]) -> None:
    """Give runs that follow a failure what Dramatiq's Retries writes into a message after it."""
    retried = {one.claimed.id: one for one in executions}
    if not retried:
        return
    for one in retried.values():
        one.marks = {"retries": one.claimed.failures}
    try:
        for task_id, traceback, failed_at in _last_failures(retried):
            marks = {"traceback": traceback, "requeue_timestamp": int(failed_at.timestamp() * 1000)}
            retried[task_id].marks = {**retried[task_id].marks, **marks}
    except DatabaseError as error:
        # The tasks are claimed and have to run; only these marks are missing.
        log.warning("messages do not tell of their last failure", error=str(error).strip(), count=len(retried))
        close_old_connections()


def _last_failures(task_ids: Iterable[UUID]) -> Iterable[tuple[UUID, str, Any]]:
    failed = Attempt.objects.filter(
        task_id__in=list(task_ids), outcome__in=[AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT]
    )
    newest = failed.order_by("task_id", "-number").distinct("task_id")
    return newest.values_list("task_id", "traceback", "finished_at")
