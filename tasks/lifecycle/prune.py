"""prune: rows are removed after their retention time: final tasks with their attempts, and rows that outlive them.

Dead letters keep the facts of a death when the task is gone. They, idempotency keys and histories have retention times
of their own.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.lifecycle.predicates import IS_LEADING, IS_OPEN, IS_UNSETTLED, IS_UNSETTLED_BATCH, LEAD, any_of, by_key
from tasks.states import FINAL, BatchStatus, Status

#: Ids start with the time when they were made, in milliseconds (RFC 9562, UUIDv7), so a walk by id is a walk by age, on
#: the primary key alone. Another index would cost every task an insertion.
FIRST_ID = UUID(int=0)


class Pruned(NamedTuple):
    """The result of one batch: rows removed, rows read, and the position to continue from."""

    removed: int
    seen: int
    position: UUID


def _is_needed(parent: str, is_unsettled: str) -> str:
    """Say that a child has not ended, and may read its parent's results; or does not know of its parent's end."""
    return f"""({parent}.settled_as IS NOT NULL AND ({is_unsettled} OR EXISTS (
    SELECT FROM callboard_dependency AS edge JOIN callboard_task AS child ON child.id = edge.child_id
    WHERE edge.parent_id = {parent}.id AND NOT {any_of("child.status", FINAL)})))"""


IS_NEEDED = _is_needed("task", IS_UNSETTLED)


def _ended_long_ago(batch: str) -> str:
    return f"COALESCE({batch}.ended_at < statement_timestamp() - keep.seconds * interval '1 second', false)"


# Tasks of a batch are kept as long after its end as after theirs: its callbacks may read their results.
# A dead task is kept while its dead letter is open, or a re-drive would find nothing to run; and as long after a
# discard as after its end, or a restore would.
_PRUNE = f"""
WITH {LEAD}, keep AS (
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
    SELECT task.id, task.pending_parents
    FROM callboard_task AS task JOIN old ON old.id = task.id JOIN keep ON keep.status = task.status
    WHERE task.finished_at < statement_timestamp() - keep.seconds * interval '1 second'
      AND NOT EXISTS (
          SELECT FROM callboard_deadletter AS letter
          WHERE letter.task_id = task.id AND ({IS_OPEN} OR (task.status = 'DEAD'
            AND letter.resolved_at >= statement_timestamp() - keep.seconds * interval '1 second')))
      AND NOT {IS_NEEDED}
      AND NOT (task.batch_id IS NOT NULL AND EXISTS (
          SELECT FROM callboard_batch AS batch WHERE batch.id = task.batch_id AND NOT {_ended_long_ago("batch")}))
      AND {IS_LEADING}
    ORDER BY task.id FOR UPDATE OF task SKIP LOCKED
), edges AS (
    DELETE FROM callboard_dependency AS edge USING due
    WHERE edge.child_id = due.id AND due.pending_parents IS NOT NULL
), attempts AS (
    DELETE FROM callboard_attempt AS attempt USING due WHERE attempt.task_id = due.id
), steps AS (
    DELETE FROM callboard_step AS step USING due WHERE step.task_id = due.id
), tasks AS (
    DELETE FROM callboard_task AS task USING due WHERE task.id = due.id RETURNING task.id
)
SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM old), (SELECT id FROM old ORDER BY id DESC LIMIT 1)
"""


def prune_many(position: UUID, *, keep_seconds: Mapping[str, float], batch: int, lease: str, term: int) -> Pruned:
    """Read the next ``batch`` old tasks by id and remove those that were kept long enough.

    Parameters:
        position: the last id of the batch before; ``FIRST_ID`` to begin.
        keep_seconds: final status → how long after ``finished_at`` a task is kept.
    """
    rows = [{"status": status, "seconds": seconds} for status, seconds in keep_seconds.items()]
    parameters = {"position": position, "keep": as_json(rows), "batch": batch, "lease": lease, "term": term}
    # Prepared, because planning takes longer than removing a batch.
    ((removed, seen, last),) = fetch(_PRUNE, parameters, prepared="callboard_prune")
    return Pruned(removed, seen, last or position)


# By id, as tasks are. A batch goes after its last task.
_PRUNE_BATCHES = f"""
WITH {LEAD}, keep AS (
    SELECT * FROM json_to_recordset(%(keep)s) AS keep (status text, seconds double precision)
), old AS MATERIALIZED (
    SELECT batch.id FROM callboard_batch AS batch WHERE batch.id > %(position)s ORDER BY batch.id LIMIT %(batch)s
), due AS MATERIALIZED (
    SELECT batch.id FROM callboard_batch AS batch JOIN old ON old.id = batch.id JOIN keep ON keep.status = batch.status
    WHERE {_ended_long_ago("batch")} AND {IS_LEADING} AND NOT {_is_needed("batch", IS_UNSETTLED_BATCH)}
      AND NOT EXISTS (SELECT FROM callboard_task AS task WHERE {by_key("task.batch_id", "batch.id")})
      AND NOT EXISTS (SELECT FROM callboard_batchdelta AS delta WHERE {by_key("delta.batch_id", "batch.id")})
    ORDER BY batch.id FOR UPDATE OF batch SKIP LOCKED
), batches AS (
    DELETE FROM callboard_batch AS batch USING due WHERE batch.id = due.id RETURNING batch.id
)
SELECT (SELECT count(*) FROM batches), (SELECT count(*) FROM old), (SELECT id FROM old ORDER BY id DESC LIMIT 1)
"""


def prune_batches(position: UUID, *, keep_seconds: Mapping[str, float], batch: int, lease: str, term: int) -> Pruned:
    """Read the next ``batch`` batches by id and remove those that ended that long ago and have no tasks any more.

    Parameters:
        position: the last id of the part before; ``FIRST_ID`` to begin.
        keep_seconds: final status of tasks → how long they are kept; FAILED batches are kept as DEAD tasks are.
    """
    names = {Status.DEAD: BatchStatus.FAILED}
    rows = [{"status": names.get(Status(status), status), "seconds": kept} for status, kept in keep_seconds.items()]
    parameters = {"position": position, "keep": as_json(rows), "batch": batch, "lease": lease, "term": term}
    ((removed, seen, last),) = fetch(_PRUNE_BATCHES, parameters)
    return Pruned(removed, seen, last or position)


_PRUNE_KEYS = f"""
WITH {LEAD}, expired AS MATERIALIZED (
    SELECT owner_id, key FROM callboard_idempotencykey
    WHERE expires_at <= statement_timestamp() AND {IS_LEADING}
    ORDER BY expires_at LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM callboard_idempotencykey AS held USING expired
WHERE held.owner_id = expired.owner_id AND held.key = expired.key
RETURNING held.key
"""


def prune_keys(*, batch: int, lease: str, term: int) -> int:
    """Remove at most a batch of expired idempotency keys; return how many."""
    parameters = {"batch": batch, "lease": lease, "term": term}
    return len(fetch(_PRUNE_KEYS, parameters, prepared="callboard_prune_keys"))


# By id, as tasks are: the id of a dead letter is made when its task dies. It stays while its task is DEAD, or that task
# would not say why it died.
_PRUNE_LETTERS = f"""
WITH {LEAD}, old AS MATERIALIZED (
    SELECT letter.id FROM callboard_deadletter AS letter
    WHERE letter.id > %(position)s ORDER BY letter.id LIMIT %(batch)s
), due AS MATERIALIZED (
    SELECT letter.id FROM callboard_deadletter AS letter JOIN old ON old.id = letter.id
    WHERE letter.resolved_at < statement_timestamp() - %(seconds)s * interval '1 second'
      AND NOT EXISTS (SELECT FROM callboard_task AS task WHERE task.id = letter.task_id AND task.status = 'DEAD')
      AND {IS_LEADING}
    ORDER BY letter.id FOR UPDATE OF letter SKIP LOCKED
), letters AS (
    DELETE FROM callboard_deadletter AS letter USING due WHERE letter.id = due.id RETURNING letter.id
)
SELECT (SELECT count(*) FROM letters), (SELECT count(*) FROM old), (SELECT id FROM old ORDER BY id DESC LIMIT 1)
"""


def prune_dead_letters(position: UUID, *, keep_seconds: float, batch: int, lease: str, term: int) -> Pruned:
    """Read the next ``batch`` dead letters by id and remove those that were resolved that long ago.

    Parameters:
        position: the last id of the batch before; ``FIRST_ID`` to begin.
    """
    parameters = {"position": position, "seconds": keep_seconds, "batch": batch, "lease": lease, "term": term}
    ((removed, seen, last),) = fetch(_PRUNE_LETTERS, parameters)
    return Pruned(removed, seen, last or position)


class History(NamedTuple):
    """A table whose oldest rows are found by its key, in whose order they are written, or by an index on their time."""

    table: str
    key: str
    at: str
    #: The column that leads to the oldest rows.
    order: str


JOURNAL = History("callboard_journal", "id", "at", "id")
ADMIN_LOG = History("django_admin_log", "id", "action_time", "id")
SESSIONS = History("django_session", "session_key", "expire_date", "expire_date")


@cache
def _prune_history(history: History) -> str:
    # Reads a batch of the oldest rows, not the table.
    table, key, at, order = history
    return f"""
    WITH {LEAD}, oldest AS MATERIALIZED (
        SELECT {key} AS key FROM {table} ORDER BY {order} LIMIT %(batch)s
    ), due AS MATERIALIZED (
        SELECT history.{key} AS key FROM {table} AS history JOIN oldest ON oldest.key = history.{key}
        WHERE history.{at} < statement_timestamp() - %(seconds)s * interval '1 second' AND {IS_LEADING}
        ORDER BY history.{key} FOR UPDATE OF history SKIP LOCKED
    )
    DELETE FROM {table} AS history USING due WHERE history.{key} = due.key
    RETURNING history.{key}
    """


def prune_history(history: History, *, keep_seconds: float, batch: int, lease: str, term: int) -> int:
    """Remove at most a batch of rows of a history that are older than that; return how many."""
    return len(fetch(_prune_history(history), {"seconds": keep_seconds, "batch": batch, "lease": lease, "term": term}))
