"""retry: a dead or cancelled task begins a second life, and a task that waits for its retry runs now."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks import registry
from tasks.errors import IllegalTransition, InvalidTask, UnknownActor
from tasks.lifecycle import failures
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.journal import UNKNOWN, Author, entries
from tasks.lifecycle.predicates import IS_OPEN, any_of, by_key
from tasks.lifecycle.rows import locked, status_of
from tasks.lifecycle.submit import Admit
from tasks.lifecycle.tally import tallied
from tasks.models import Task
from tasks.states import RETRYABLE, Status

# A re-drive is done to the open dead letter; a dead task whose dead letter was discarded has none.
_ENTRIES = entries(
    "moved LEFT JOIN answered ON answered.task_id = moved.id",
    verb="moved.verb",
    kind="CASE WHEN answered.id IS NULL THEN 'task' ELSE 'dead_letter' END",
    id="COALESCE(answered.id, moved.id)",
    task="moved.id",
    actor="moved.actor",
    queue="moved.queue",
    detail="jsonb_build_object('status', moved.before)",
)
# A second life begins with no failures, no crashes and a new age limit, while dispatch and attempt go on; the same
# statement resolves the open dead letter. A RETRYING task only runs sooner. Dead letters are locked in the order of
# their ids, as a discard locks them: that is the order of the deaths, not of the tasks.
# A single task runs now, whatever its parents did. As a part of its workflow it waits for those that have not
# succeeded; edges that failed are new again, so that the leader judges them by what their parents are then.
# From DEAD this is a re-drive, whichever verb was called; the journal and the announcement say so.
_RETRY = f"""
WITH wanted AS MATERIALIZED (
    SELECT task.id, task.status, CASE WHEN task.status = 'DEAD' THEN 'redrive' ELSE 'retry' END AS verb
    FROM callboard_task AS task
    WHERE task.id = ANY(%(ids)s::uuid[]) AND {any_of("task.status", RETRYABLE)}
      AND NOT (%(of_workflow)s AND (task.status = 'RETRYING' OR task.cause_id IS NOT NULL))
    ORDER BY task.id FOR UPDATE OF task
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN wanted.status = 'RETRYING' THEN 'RETRYING'
                      WHEN %(of_workflow)s AND task.pending_parents > 0 THEN 'BLOCKED' ELSE 'PENDING' END,
        run_at = LEAST(task.run_at, statement_timestamp()),
        failures = CASE WHEN wanted.status = 'RETRYING' THEN task.failures ELSE 0 END,
        crashes = CASE WHEN wanted.status = 'RETRYING' THEN task.crashes ELSE 0 END,
        retry_until = CASE WHEN wanted.status = 'RETRYING' THEN task.retry_until END,
        expires_at = CASE WHEN wanted.status = 'RETRYING' THEN task.expires_at
                          ELSE statement_timestamp() + task.max_age_seconds * interval '1 second' END,
        cause_id = NULL,
        finished_at = NULL, started_at = NULL, queued_at = NULL, result = NULL,
        version = task.version + 1
    FROM wanted WHERE task.id = wanted.id
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id, wanted.verb, wanted.status AS before,
        task.batch_id
), tallied AS (
    {tallied("moved", before="before")}
), relinked AS (
    UPDATE callboard_dependency AS edge SET state = 'NEW' FROM moved
    WHERE moved.status = 'BLOCKED' AND {by_key("edge.child_id", "moved.id")} AND edge.state = 'FAILED'
), answered AS MATERIALIZED (
    SELECT letter.id, letter.task_id, letter.fingerprint
    FROM callboard_deadletter AS letter JOIN wanted ON wanted.id = letter.task_id
    WHERE {IS_OPEN}
    ORDER BY letter.id FOR UPDATE OF letter
), resolved AS (
    UPDATE callboard_deadletter AS letter
    SET resolution = 'REDRIVEN', resolved_by = %(by)s, resolved_at = statement_timestamp()
    FROM answered WHERE letter.id = answered.id
), counted AS (
    {failures.resolved("answered")}
), noted AS (
    {_ENTRIES}
)
SELECT verb, id, status, actor, queue, trace_id FROM moved
"""


def retry(task_id: UUID, *, by: Author = UNKNOWN, admit: Admit | None = None) -> Status:
    """Run one task again: a DEAD task is re-driven, a RETRYING one runs now, a CANCELLED one begins a second life.

    Parameters:
        admit: what it raises leaves the task as it was.

    Raises:
        NotFound: no such task.
        InvalidTask: its arguments no longer fit the actor, so another run could only fail.
        IllegalTransition: it has another status.
    """
    moves = retry_many([task_id], by=by, admit=admit)
    if moves:
        return Status(moves[0].status)
    for fault in unfit([task_id]).values():
        raise fault
    raise IllegalTransition("retry", status=status_of(task_id), allowed=RETRYABLE)


@transaction.atomic
def retry_many(
    task_ids: Sequence[UUID], *, by: Author = UNKNOWN, admit: Admit | None = None, of_workflow: bool = False
) -> list[Moved]:
    """Run again those tasks that can be retried, and return them; those that no longer fit their actor are skipped.

    Tasks that were dead are announced as ``redrive``, all others as ``retry``.

    Parameters:
        admit: what it raises leaves all tasks as they were.
        of_workflow: see ``retry_workflow``.
    """
    misfits = unfit(task_ids)
    rows = locked(_RETRY, [id for id in task_ids if id not in misfits], of_workflow=of_workflow, **by.parameters)
    if admit is not None and rows:
        admit(len(rows))
    moves = [(verb, Moved(*row)) for verb, *row in rows]
    for verb in ("redrive", "retry"):
        announce(verb, [move for name, move in moves if name == verb])
    return [move for _, move in moves]


#: Payloads in memory at once.
_MOST_PAYLOADS = 100
_CALL = ("actor", "args", "payload")


def unfit(task_ids: Sequence[UUID]) -> dict[UUID, InvalidTask]:
    """Find the retryable tasks whose stored arguments do not fit their actor, and say why."""
    found: dict[UUID, InvalidTask] = {}
    for start in range(0, len(task_ids), _MOST_PAYLOADS):
        tasks = Task.objects.filter(pk__in=task_ids[start : start + _MOST_PAYLOADS]).retryable()
        faults = {id: _fault(*call) for id, *call in tasks.values_list("pk", *_CALL)}
        found.update({id: fault for id, fault in faults.items() if fault is not None})
    return found


def _fault(actor: str, args: Sequence[Any], payload: Mapping[str, Any]) -> InvalidTask | None:
    try:
        registry.check_stored(registry.get(actor), payload, args=args)
    except UnknownActor:
        # This process does not know it; a worker may.
        return None
    except InvalidTask as error:
        return error
    return None
