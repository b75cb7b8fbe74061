"""The Dramatiq message of a claimed task: what its actor and the hooks of middleware see."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import structlog
from django.db import Error as DatabaseError
from django.db import close_old_connections
from dramatiq import Message
from dramatiq.broker import MessageProxy

from tasks.models import Attempt
from tasks.states import AttemptOutcome
from tasks.worker.execution import Execution
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Interrupter

log = structlog.get_logger(__name__)

#: Dramatiq's worker would take the first for its own delay and pass the second to isinstance().
_NOT_FOR_DRAMATIQ = frozenset({"eta", "throws"})


class ClaimedMessage(MessageProxy):
    """A claimed task as Dramatiq's worker sees it; its text never shows the payload."""

    def __init__(self, execution: Execution, *, inflight: Inflight, interrupter: Interrupter) -> None:
        super().__init__(message_of(execution))
        self.execution = execution
        self.inflight, self.interrupter = inflight, interrupter
        #: Its place in the work queue. An aged task gets the highest priority of the band it was dispatched to.
        self.priority = execution.claimed.priority

    def __str__(self) -> str:
        return f"{self.actor_name}[{self.message_id}]"


def message_of(execution: Execution) -> Message[Any]:
    """Make the message as it was sent, with the marks of earlier failures in its options."""
    claimed = execution.claimed
    options = {name: value for name, value in claimed.options.items() if name not in _NOT_FOR_DRAMATIQ}
    return Message(
        queue_name=claimed.queue,
        actor_name=claimed.actor,
        args=tuple(claimed.args),
        kwargs=claimed.payload,
        options={**options, **execution.marks},
        message_id=claimed.message_id or str(claimed.id),
        # The id was made with the message; its first 48 bits are milliseconds since 1970.
        message_timestamp=claimed.id.int >> 80,
    )


def mark_failed(executions: Iterable[Execution]) -> None:
    """Give runs that follow a failure what Dramatiq's Retries writes into a message after it."""
    retried = {one.claimed.id: one for one in executions if one.claimed.failures}
    if not retried:
        return
    for one in retried.values():
        one.marks = {"retries": one.claimed.failures}
    try:
        for task_id, traceback, failed_at in _last_failures(retried):
            marks = {"traceback": traceback, "requeue_timestamp": int(failed_at.timestamp() * 1000)}
            retried[task_id].marks.update(marks)
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
