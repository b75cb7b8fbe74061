"""retry: a task runs again: a dead or cancelled one begins a second life, one that waits for a retry runs now."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from tasks import registry
from tasks.errors import IllegalTransition, InvalidTask, UnknownActor
from tasks.lifecycle.fence import IS_OPEN
from tasks.lifecycle.rows import run, status_of
from tasks.lifecycle.signals import Moved
from tasks.models import Task
from tasks.states import Status

# A second life: failures and crashes from zero, the age limit anew, while dispatch and attempt go on. Its open dead
# letter is resolved in the same statement. RETRYING only runs sooner. Letters are locked in id order, as a discard of
# many does it: their order is that of the deaths, not of the tasks.
RETRY = f"""
WITH wanted AS MATERIALIZED (
    SELECT task.id, task.status FROM callboard_task AS task
    WHERE task.id = ANY(%(ids)s::uuid[]) AND task.status = ANY(%(from)s)
    ORDER BY task.id FOR UPDATE OF task
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN wanted.status = 'RETRYING' THEN 'RETRYING' ELSE 'PENDING' END,
        run_at = LEAST(task.run_at, statement_timestamp()),
        failures = CASE WHEN wanted.status = 'RETRYING' THEN task.failures ELSE 0 END,
        crashes = CASE WHEN wanted.status = 'RETRYING' THEN task.crashes ELSE 0 END,
        retry_until = CASE WHEN wanted.status = 'RETRYING' THEN task.retry_until END,
        expires_at = CASE WHEN wanted.status = 'RETRYING' THEN task.expires_at
                          ELSE statement_timestamp() + task.max_age_seconds * interval '1 second' END,
        finished_at = NULL, started_at = NULL, queued_at = NULL, result = NULL,
        version = task.version + 1
    FROM wanted WHERE task.id = wanted.id
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id
), answered AS MATERIALIZED (
    SELECT letter.id FROM callboard_deadletter AS letter JOIN wanted ON wanted.id = letter.task_id
    WHERE {IS_OPEN}
    ORDER BY letter.id FOR UPDATE OF letter
), resolved AS (
    UPDATE callboard_deadletter AS letter
    SET resolution = 'REDRIVEN', resolved_by = %(by)s, resolved_at = statement_timestamp()
    FROM answered WHERE letter.id = answered.id
    RETURNING letter.id, letter.task_id
), noted AS (
    INSERT INTO callboard_taskevent (task_id, verb, by, detail)
    SELECT moved.id, CASE WHEN wanted.status = 'DEAD' THEN 'redrive' ELSE 'retry' END, %(by)s,
           jsonb_build_object('status', wanted.status)
    FROM moved JOIN wanted ON wanted.id = moved.id
)
SELECT moved.id, moved.status, moved.actor, moved.queue, moved.trace_id, resolved.id
FROM moved LEFT JOIN resolved ON resolved.task_id = moved.id
"""


RETRYABLE = (Status.DEAD, Status.RETRYING, Status.CANCELLED)


def retry(task_id: UUID, *, by: str = "") -> Status:
    """Run one task again: DEAD is re-driven, RETRYING runs now, CANCELLED starts anew.

    Raises:
        NotFound: no such task.
        InvalidTask: its arguments do not fit the actor any more; another run could only die of it.
        IllegalTransition: it is none of these.
    """
    check_stored(task_id)
    moves = run("retry", RETRY, [task_id], by=by, **{"from": list(RETRYABLE)})
    if not moves:
        raise IllegalTransition("retry", status=status_of(task_id), allowed=RETRYABLE)
    return Status(moves[0].status)


def retry_many(task_ids: Sequence[UUID], *, by: str = "") -> list[Moved]:
    """Run again what can be, and return it; what does not fit its actor any more is left as it is."""
    unfit = _unfit(task_ids)
    ids = [id for id in task_ids if id not in unfit]
    return run("retry", RETRY, ids, by=by, **{"from": list(RETRYABLE)})


#: How many payloads are in memory at once.
_MOST_PAYLOADS = 100


def _unfit(task_ids: Sequence[UUID]) -> set[UUID]:
    """Find the tasks whose stored call does not fit their actor; what they were called with does not change."""
    found: set[UUID] = set()
    for start in range(0, len(task_ids), _MOST_PAYLOADS):
        tasks = Task.objects.filter(pk__in=task_ids[start : start + _MOST_PAYLOADS]).retryable()
        found.update(id for id, *call in tasks.values_list("pk", *_CALL) if _fault(*call) is not None)
    return found


_CALL = ("actor", "args", "payload")


def check_stored(task_id: UUID) -> None:
    """Raise what keeps a stored call from fitting its actor."""
    for call in Task.objects.filter(pk=task_id).retryable().values_list(*_CALL):
        fault = _fault(*call)
        if fault is not None:
            raise fault


def _fault(actor: str, args: Sequence[Any], payload: Mapping[str, Any]) -> InvalidTask | None:
    try:
        registry.check_stored(registry.get(actor), payload, args=args)
    except UnknownActor:
        # Not to this process; a worker may know it.
        return None
    except InvalidTask as error:
        return error
    return None
