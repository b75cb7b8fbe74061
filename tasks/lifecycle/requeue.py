"""requeue, take_back: tasks return from the broker to the table, because hints were lost or a queue was paused."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.hint import Hint
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.predicates import IS_LEADING, LEAD, in_batch, is_current
from tasks.states import Status


class Queued(NamedTuple):
    """A task that was handed to the broker and not claimed yet."""

    queued_at: datetime
    queue: str
    hint: Hint


# In the order of queued_at, so that hints which rightly wait long (nobody serves their queue) do not hide lost ones,
# and of the id, because all tasks of one dispatch have the same queued_at.
_QUEUED_LONG = """
SELECT task.queued_at, task.queue, task.id, task.dispatch FROM callboard_task AS task
WHERE task.status = 'QUEUED' AND task.queued_at < statement_timestamp() - %(seconds)s * interval '1 second'
  AND task.queued_at >= %(queued_at)s AND (task.queued_at, task.id) > (%(queued_at)s, %(id)s)
ORDER BY task.queued_at, task.id LIMIT %(most)s
"""


def queued_long(seconds: float, *, after: tuple[datetime, UUID], most: int) -> list[Queued]:
    """List the tasks that have been QUEUED for longer than ``seconds``, oldest first: their hints may be lost.

    Parameters:
        after: ``queued_at`` and id of the last task of the batch before.
    """
    queued_at, id = after
    found = fetch(_QUEUED_LONG, {"seconds": seconds, "queued_at": queued_at, "id": id, "most": most})
    return [Queued(at, queue, Hint(task_id, dispatch)) for at, queue, task_id, dispatch in found]


# The dispatch number stays: the next dispatch raises it, and this hint is stale from then on.
_REQUEUE = f"""
WITH {LEAD}, hint AS (
    SELECT * FROM json_to_recordset(%(hints)s) AS hint (id uuid, dispatch integer)
), stranded AS (
    SELECT task.id FROM hint JOIN callboard_task AS task ON {in_batch("hint")}
    WHERE {is_current("hint")} AND {IS_LEADING}
    ORDER BY hint.id FOR UPDATE OF task SKIP LOCKED
)
UPDATE callboard_task AS task
SET status = 'PENDING', queued_at = NULL
FROM stranded WHERE {in_batch("stranded")}
RETURNING task.id, task.actor, task.queue, task.trace_id
"""


def requeue_many(hints: Sequence[Hint], *, lease: str, term: int) -> int:
    """Take back tasks whose hint did not reach the broker or was lost there; return how many."""
    if not hints:
        return 0
    rows = [{"id": hint.task_id, "dispatch": hint.dispatch} for hint in hints]
    moved = fetch(_REQUEUE, {"hints": as_json(rows), "lease": lease, "term": term})
    announce("requeue", [Moved(id, Status.PENDING, actor, queue, trace) for id, actor, queue, trace in moved])
    return len(moved)


# The hints of these tasks are stale from then on.
_TAKE_BACK = """
WITH dispatched AS (
    SELECT task.id FROM callboard_task AS task
    WHERE task.status = 'QUEUED' AND task.queue = %(queue)s
    ORDER BY task.id FOR UPDATE OF task
)
UPDATE callboard_task AS task
SET status = 'PENDING', queued_at = NULL
FROM dispatched WHERE task.id = dispatched.id
RETURNING task.id, task.actor, task.queue, task.trace_id
"""


def take_back(queue: str) -> int:
    """Take back all tasks of a paused queue that were dispatched and not claimed; return how many."""
    moved = fetch(_TAKE_BACK, {"queue": queue})
    announce("requeue", [Moved(id, Status.PENDING, actor, queue, trace) for id, actor, queue, trace in moved])
    return len(moved)
