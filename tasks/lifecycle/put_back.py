"""put_back: a worker returns tasks that it claimed and did not start; one that was cancelled meanwhile ends."""

from collections.abc import Sequence
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.predicates import in_batch, is_held
from tasks.lifecycle.tally import tallied
from tasks.states import Status

# Afterwards the task is as it was before its claim, except that the attempt number stays used. If a cancel was
# requested in between, the task is cancelled. A row that another transaction holds is skipped; the heartbeat finds it.
_PUT_BACK = f"""
WITH held AS (
    SELECT * FROM json_to_recordset(%(held)s) AS held (id uuid, attempt integer)
), unstarted AS (
    SELECT task.id FROM held JOIN callboard_task AS task ON {in_batch("held")}
    WHERE {is_held("held", by="%(worker)s")}
    ORDER BY held.id FOR UPDATE OF task SKIP LOCKED
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN task.cancel_requested_at IS NULL THEN 'PENDING' ELSE 'CANCELLED' END,
        finished_at = CASE WHEN task.cancel_requested_at IS NULL THEN NULL ELSE statement_timestamp() END,
        unique_key = CASE WHEN task.cancel_requested_at IS NULL THEN task.unique_key END,
        run_at = GREATEST(task.run_at, statement_timestamp() + %(delay)s * interval '1 second'),
        worker_id = NULL, started_at = NULL, queued_at = NULL, cancel_requested_at = NULL
    FROM unstarted WHERE {in_batch("unstarted")}
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id, task.batch_id
), tallied AS (
    {tallied("moved", before="'RUNNING'")}
)
SELECT id, status, actor, queue, trace_id FROM moved
"""


def put_back_many(held: Sequence[tuple[UUID, int]], *, worker_id: UUID, delay_seconds: float | None = None) -> int:
    """Put back claimed tasks that were not started, without an attempt row or a failure; return how many.

    Those of which a cancel was requested become CANCELLED, and are announced as ``cancel``.

    Parameters:
        held: pairs of task id and attempt number.
        delay_seconds: how long they wait before they can be dispatched; by default they keep their ``run_at``.
    """
    if not held:
        return 0
    rows = [{"id": id, "attempt": attempt} for id, attempt in held]
    parameters = {"held": as_json(rows), "worker": worker_id, "delay": delay_seconds}
    moves = [Moved(*row) for row in fetch(_PUT_BACK, parameters)]
    announce("put_back", [move for move in moves if move.status == Status.PENDING])
    announce("cancel", [move for move in moves if move.status == Status.CANCELLED])
    return len(moves)
