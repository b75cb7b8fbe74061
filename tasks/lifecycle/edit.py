"""edit: an operator or owner changes a task that waits, or corrects the payload of one that died."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks import registry
from tasks.db.statements import as_json
from tasks.errors import FieldError, IllegalTransition, InvalidTask, VersionMismatch
from tasks.field_faults import faults
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.journal import UNKNOWN, Author, of_tasks
from tasks.lifecycle.predicates import IS_WAITING
from tasks.lifecycle.rows import columns_of, locked
from tasks.lifecycle.submit import Admit, queue_exists
from tasks.states import WAITING, Status

# An edit takes a QUEUED task back from the broker: its hint would start it with the old priority and queue.
_EDIT = f"""
WITH change AS (
    SELECT * FROM json_to_record(%(change)s) AS change (
        priority smallint, queue text, run_at timestamptz, payload jsonb, max_retries integer, tags text[]
    )
), wanted AS MATERIALIZED (
    SELECT task.id, task.status, task.payload, task.run_at, task.max_retries FROM callboard_task AS task
    WHERE task.id = %(id)s AND {IS_WAITING}
      AND task.version = COALESCE(%(version)s, task.version)
    FOR UPDATE OF task
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN wanted.status = 'QUEUED' THEN 'PENDING' ELSE wanted.status END,
        queued_at = NULL,
        priority = COALESCE(change.priority, task.priority), queue = COALESCE(change.queue, task.queue),
        run_at = CASE WHEN change.run_at IS NULL THEN task.run_at
                      ELSE GREATEST(change.run_at, statement_timestamp()) END,
        payload = COALESCE(change.payload, task.payload),
        -- -1 is FOR_EVER
        max_retries = CASE WHEN change.max_retries = -1 THEN NULL
                           ELSE COALESCE(change.max_retries, task.max_retries) END,
        tags = COALESCE(change.tags, task.tags),
        version = task.version + 1
    FROM wanted, change WHERE task.id = wanted.id
    -- More work than was admitted: another payload, an earlier start, more retries.
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id,
        task.payload IS DISTINCT FROM wanted.payload OR task.run_at < wanted.run_at
        OR COALESCE(task.max_retries, 2147483647) > COALESCE(wanted.max_retries, 2147483647) AS is_more
), noted AS (
    {of_tasks("moved", verb="'edit'", detail="jsonb_build_object('fields', %(fields)s::jsonb)")}
)
SELECT is_more, id, status, actor, queue, trace_id FROM moved
"""


def edit(
    task_id: UUID,
    change: Mapping[str, Any],
    *,
    by: Author = UNKNOWN,
    version: int | None = None,
    admit: Admit | None = None,
) -> Status:
    """Change a waiting task: any of priority, queue, run_at, payload, max_retries, tags.

    Parameters:
        version: change the task only if it still has this version.
        admit: asked about an edit that makes more work than was admitted: another payload, an earlier start or more
            retries. What it raises leaves the task as it was.

    Raises:
        NotFound: no such task.
        InvalidTask: the payload does not fit the actor.
        IllegalTransition: it no longer waits.
        VersionMismatch: it has another version by now.
    """
    _check_change(task_id, change)
    parameters = {
        "id": task_id,
        "change": as_json([change])[1:-1],
        "version": version,
        **by.parameters,
        "fields": as_json(sorted(change)),  # type: ignore[arg-type]
    }
    with transaction.atomic():
        rows = locked(_EDIT, [task_id], **parameters)
        if admit is not None and any(is_more for is_more, *_ in rows):
            admit(len(rows))
        moves = [Moved(*row) for _, *row in rows]
        announce("edit", moves)
    if not moves:
        raise _refused_edit(task_id, version)
    return Status(moves[0].status)


# The status stays, so nothing is announced: the re-drive that follows in the same transaction says more.
_CORRECT = f"""
WITH corrected AS (
    UPDATE callboard_task AS task SET payload = %(payload)s::jsonb, version = task.version + 1
    WHERE task.id = ANY(%(ids)s::uuid[]) AND task.status = 'DEAD'
    RETURNING task.id, task.actor, task.queue
), noted AS (
    {of_tasks("corrected", verb="'edit'", detail="jsonb_build_object('fields', jsonb_build_array('payload'))")}
)
SELECT id FROM corrected
"""


def correct(task_id: UUID, payload: Mapping[str, Any], *, by: Author = UNKNOWN) -> None:
    """Give a dead task another payload; any other is left as it is. Call it in the transaction of a re-drive.

    Raises:
        NotFound: no such task.
        InvalidTask: the payload does not fit the actor.
    """
    _check_change(task_id, {"payload": payload})
    parameters = {"payload": as_json([payload])[1:-1], **by.parameters}
    locked(_CORRECT, [task_id], **parameters)


def _check_change(task_id: UUID, change: Mapping[str, Any]) -> None:
    errors = faults(change)
    if not errors and "queue" in change and not queue_exists(change["queue"]):
        errors.append(FieldError("queue", "unknown_queue", f"no queue is called {change['queue']!r:.100}"))
    if errors:
        raise InvalidTask(errors=errors)
    if "payload" in change:
        # With the positional arguments that send() was given: they stay with the task and cannot be edited.
        actor, args = columns_of(task_id, "actor", "args")
        registry.check_payload(registry.get(actor), change["payload"], args=args)


def _refused_edit(task_id: UUID, version: int | None) -> IllegalTransition:
    status, current = columns_of(task_id, "status", "version")
    if version is None or current == version:
        return IllegalTransition("edit", status=status, allowed=sorted(WAITING))
    return VersionMismatch(version, current=current, status=status)
