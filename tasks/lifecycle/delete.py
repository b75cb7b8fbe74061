"""delete: an operator or owner removes one task that is not running; its dead letters and history stay."""

from uuid import UUID

from django.db import transaction

from tasks.db.statements import fetch
from tasks.errors import IllegalTransition, NotFound, VersionMismatch
from tasks.lifecycle import failures
from tasks.lifecycle.journal import UNKNOWN, Author, of_tasks
from tasks.lifecycle.predicates import HAS_WAITING_CHILDREN, IS_OPEN
from tasks.lifecycle.tally import dropped
from tasks.models import Task
from tasks.states import Status

# The open dead letter is resolved too, since it could no longer be re-driven. A hint in the broker will find no row.
_DELETE = f"""
WITH gone AS (
    DELETE FROM callboard_task AS task
    WHERE task.id = %(id)s AND task.status <> 'RUNNING' AND NOT {HAS_WAITING_CHILDREN}
    RETURNING task.id, task.status, task.actor, task.queue, task.pending_parents, task.batch_id
), dropped AS (
    {dropped("gone")}
), edges AS MATERIALIZED (
    SELECT edge.child_id, edge.parent_id FROM gone JOIN callboard_dependency AS edge ON edge.child_id = gone.id
    WHERE gone.pending_parents IS NOT NULL
    -- In the order in which the leader links them.
    ORDER BY edge.parent_id FOR UPDATE OF edge
), unlinked AS (
    DELETE FROM callboard_dependency AS edge USING edges
    WHERE edge.child_id = edges.child_id AND edge.parent_id = edges.parent_id
), attempts AS (
    DELETE FROM callboard_attempt AS attempt USING gone WHERE attempt.task_id = gone.id
), steps AS (
    DELETE FROM callboard_step AS step USING gone WHERE step.task_id = gone.id
), resolved AS (
    UPDATE callboard_deadletter AS letter
    SET resolution = 'DISCARDED', resolved_by = %(by)s, resolved_at = statement_timestamp()
    FROM gone WHERE letter.task_id = gone.id AND {IS_OPEN}
    RETURNING letter.fingerprint
), counted AS (
    {failures.resolved("resolved")}
)
{of_tasks("gone", verb="'delete'", detail="jsonb_build_object('status', status)")}
RETURNING task_id
"""
# The lock comes first: of a task that ends during the wait, the statement must see the attempt and the dead letter.
_LOCK = "SELECT version, status FROM callboard_task WHERE id = %(id)s FOR UPDATE"


def delete(task_id: UUID, *, by: Author = UNKNOWN, version: int | None = None) -> None:
    """Remove one task that waits or has ended, and its attempts.

    Parameters:
        version: remove the task only if it still has this version.

    Raises:
        NotFound: no such task.
        IllegalTransition: it is running, or other tasks wait for it.
        VersionMismatch: it was edited in the meantime.
    """
    with transaction.atomic():
        for current, status in fetch(_LOCK, {"id": task_id}):
            if version not in {None, current}:
                raise VersionMismatch(version, current=current, status=status)
        if fetch(_DELETE, {"id": task_id, **by.parameters}):
            return
    task = Task.objects.filter(pk=task_id).only("status").first()
    if task is None:
        raise NotFound(f"there is no task {task_id}")
    detail = "cannot delete a task that is RUNNING; cancel it first"
    if task.status != Status.RUNNING:
        detail = f"cannot delete a task that others wait for; cancel them first, or let it end: it is {task.status}"
    raise IllegalTransition("delete", status=Status(task.status), detail=detail)
