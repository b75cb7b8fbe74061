"""delete: an operator or owner removes one task that does not run; its dead letters and events stay."""

from uuid import UUID

from django.db import transaction

from tasks.db.statements import fetch
from tasks.errors import IllegalTransition, NotFound, VersionMismatch
from tasks.lifecycle.fence import IS_OPEN
from tasks.models import Task
from tasks.states import Status

# Its open dead letter is resolved with it: nobody could re-drive it any more. A hint in the broker finds no row.
_DELETE = f"""
WITH gone AS (
    DELETE FROM callboard_task AS task
    WHERE task.id = %(id)s AND task.status <> 'RUNNING'
    RETURNING task.id, task.status
), attempts AS (
    DELETE FROM callboard_attempt AS attempt USING gone WHERE attempt.task_id = gone.id
), resolved AS (
    UPDATE callboard_deadletter AS letter
    SET resolution = 'DISCARDED', resolved_by = %(by)s, resolved_at = statement_timestamp()
    FROM gone WHERE letter.task_id = gone.id AND {IS_OPEN}
)
INSERT INTO callboard_taskevent (task_id, verb, by, detail)
SELECT id, 'delete', %(by)s, jsonb_build_object('status', status) FROM gone
RETURNING task_id
"""
# First, so that the statement sees the attempts and dead letter of a task that ends while it waits for the lock.
_LOCK = "SELECT version, status FROM callboard_task WHERE id = %(id)s FOR UPDATE"


def delete(task_id: UUID, *, by: str = "", version: int | None = None) -> None:
    """Remove one task that waits or has ended, with its attempts.

    Parameters:
        version: only if it is still this one.

    Raises:
        NotFound: no such task.
        IllegalTransition: it runs.
        VersionMismatch: it was edited meanwhile.
    """
    with transaction.atomic():
        for current, status in fetch(_LOCK, {"id": task_id}):
            if version not in {None, current}:
                raise VersionMismatch(version, current=current, status=status)
        if fetch(_DELETE, {"id": task_id, "by": by}):
            return
    if not Task.objects.filter(pk=task_id).exists():
        raise NotFound(f"there is no task {task_id}")
    detail = "cannot delete a task that is RUNNING; cancel it first"
    raise IllegalTransition("delete", status=Status.RUNNING, detail=detail)
