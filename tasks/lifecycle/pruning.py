"""prune: final tasks that were kept long enough go, with their attempts; dead letters and events stay.

Expired idempotency keys go as well.
"""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from tasks.lifecycle.sql import as_json, fetch

#: Ids start with their time of birth in milliseconds (RFC 9562, UUIDv7): a walk by id is a walk by age, on the primary
#: key alone. An index for it would cost every task an insertion.
FIRST_ID = UUID(int=0)


class Pruned(NamedTuple):
    """What one batch did: rows removed, rows looked at, and where to go on."""

    removed: int
    seen: int
    position: UUID


# A task that died is kept while its dead letter is open, or a re-drive would find nothing to run.
_PRUNE = """
WITH lead AS MATERIALIZED (
    SELECT FROM callboard_term WHERE name = %(lease)s AND term = %(term)s FOR SHARE
), keep AS (
    SELECT * FROM json_to_recordset(%(keep)s) AS keep (status text, seconds double precision)
), youngest AS (
    SELECT (lpad(to_hex(((EXTRACT(EPOCH FROM statement_timestamp()) - min(seconds)) * 1000)::bigint), 12, '0')
            || repeat('0', 20))::uuid AS id
    FROM keep
), old AS MATERIALIZED (
    SELECT task.id FROM callboard_task AS task
    WHERE task.id > %(position)s AND task.id < (SELECT id FROM youngest)
    ORDER BY task.id LIMIT %(batch)s
), due AS MATERIALIZED (
    SELECT task.id
    FROM callboard_task AS task JOIN old ON old.id = task.id JOIN keep ON keep.status = task.status
    WHERE task.finished_at < statement_timestamp() - keep.seconds * interval '1 second'
      AND NOT EXISTS (
          SELECT FROM callboard_deadletter AS letter WHERE letter.task_id = task.id AND letter.resolution = '')
      AND EXISTS (SELECT FROM lead)
    ORDER BY task.id FOR UPDATE OF task SKIP LOCKED
), attempts AS (
    DELETE FROM callboard_attempt AS attempt USING due WHERE attempt.task_id = due.id
), tasks AS (
    DELETE FROM callboard_task AS task USING due WHERE task.id = due.id RETURNING task.id
)
SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM old), (SELECT id FROM old ORDER BY id DESC LIMIT 1)
"""


def prune_many(position: UUID, *, keep_seconds: Mapping[str, float], batch: int, lease: str, term: int) -> Pruned:
    """Look at the next ``batch`` old tasks by id and remove those whose time is over.

    Parameters:
        position: the last id looked at; ``FIRST_ID`` to begin.
        keep_seconds: final status → how long after ``finished_at`` it is kept.
    """
    rows = [{"status": status, "seconds": seconds} for status, seconds in keep_seconds.items()]
    parameters = {"position": position, "keep": as_json(rows), "batch": batch, "lease": lease, "term": term}
    ((removed, seen, last),) = fetch(_PRUNE, parameters)
    return Pruned(removed, seen, last or position)


_PRUNE_KEYS = """
WITH lead AS MATERIALIZED (
    SELECT FROM callboard_term WHERE name = %(lease)s AND term = %(term)s FOR SHARE
), expired AS MATERIALIZED (
    SELECT owner_id, key FROM callboard_idempotencykey
    WHERE expires_at <= statement_timestamp() AND EXISTS (SELECT FROM lead)
    ORDER BY expires_at LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM callboard_idempotencykey AS held USING expired
WHERE held.owner_id = expired.owner_id AND held.key = expired.key
RETURNING held.key
"""


def prune_keys(*, batch: int, lease: str, term: int) -> int:
    """Remove idempotency keys whose time is over, a batch at most; return how many."""
    return len(fetch(_PRUNE_KEYS, {"batch": batch, "lease": lease, "term": term}))
