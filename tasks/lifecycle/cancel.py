"""cancel: a waiting task ends at once, a running one is asked to end."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from tasks.errors import IllegalTransition
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.journal import UNKNOWN, Author, of_tasks
from tasks.lifecycle.predicates import IS_WAITING
from tasks.lifecycle.rows import locked, status_of
from tasks.lifecycle.tally import tallied
from tasks.states import Status

# A running task becomes CANCELLED when its worker confirms; a success that comes first wins.
_CANCEL = f"""
WITH wanted AS MATERIALIZED (
    SELECT task.id, task.status FROM callboard_task AS task
    WHERE task.id = ANY(%(ids)s::uuid[])
      AND ({IS_WAITING} OR (task.status = 'RUNNING' AND task.cancel_requested_at IS NULL))
    ORDER BY task.id FOR UPDATE OF task
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN wanted.status = 'RUNNING' THEN 'RUNNING' ELSE 'CANCELLED' END,
        finished_at = CASE WHEN wanted.status = 'RUNNING' THEN NULL ELSE statement_timestamp() END,
        unique_key = CASE WHEN wanted.status = 'RUNNING' THEN task.unique_key END,
        cancel_requested_at = CASE WHEN wanted.status = 'RUNNING' THEN statement_timestamp() END,
        queued_at = CASE WHEN wanted.status = 'RUNNING' THEN task.queued_at END
    FROM wanted WHERE task.id = wanted.id
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id, task.batch_id
), tallied AS (
    {tallied("moved")}
), noted AS (
    {of_tasks("moved", verb="'cancel'", detail="jsonb_build_object('status', status)")}
)
SELECT id, status, actor, queue, trace_id FROM moved
"""


def cancel(task_id: UUID, *, by: Author = UNKNOWN) -> Status:
    """Cancel one task and return its status: CANCELLED, or RUNNING until its worker confirms.

    Raises:
        NotFound: no such task.
        IllegalTransition: it has ended.
    """
    moves = cancel_many([task_id], by=by)
    if moves:
        return Status(moves[0].status)
    status = status_of(task_id)
    if status is Status.RUNNING:
        return status
    raise IllegalTransition("cancel", status=status)


@transaction.atomic
def cancel_many(task_ids: Sequence[UUID], *, by: Author = UNKNOWN) -> list[Moved]:
    """Cancel those tasks that can be cancelled, and return them."""
    moves = [Moved(*row) for row in locked(_CANCEL, task_ids, **by.parameters)]
    announce("cancel", moves)
    return moves
