"""tally: the verbs on tasks tell batches what they did, by a delta for each statement and batch.

A statement that moves tasks writes the deltas itself, so they are true if and only if its moves are. The leader adds
them up (``tasks.lifecycle.batch_steps``). Tasks without a batch cost nothing.
"""

from collections.abc import Mapping
from uuid import UUID

from tasks.conf import conf
from tasks.db.statements import as_json, fetch
from tasks.errors import BatchClosed, FieldError, InvalidTask, NotFound
from tasks.lifecycle.predicates import any_of
from tasks.models import Batch
from tasks.states import FINAL, Status

#: The count of a batch for each final status.
_COUNTS = {Status.SUCCEEDED: "succeeded", Status.DEAD: "dead", Status.CANCELLED: "cancelled"}


def tallied(rows: str, *, before: str = "''", after: str = "status") -> str:
    """Write the INSERT of a verb's statement: what its moves change in the counts of batches.

    Parameters:
        rows: what moved, as in FROM, with a ``batch_id``.
        before, after: the old and the new status, in SQL; only final ones count.
    """
    sums = [f"sum(({after} = '{status}')::int - ({before} = '{status}')::int)" for status in _COUNTS]
    return f"""INSERT INTO callboard_batchdelta (batch_id, {", ".join(_COUNTS.values())})
    SELECT batch_id, {", ".join(sums)} FROM {rows}
    WHERE batch_id IS NOT NULL AND {after} <> {before} AND ({any_of(after, FINAL)} OR {any_of(before, FINAL)})
    GROUP BY batch_id"""


def dropped(rows: str) -> str:
    """Write the INSERT of a statement that removes tasks: those that had not ended are no longer waited for."""
    return f"""INSERT INTO callboard_batchdelta (batch_id, total)
    SELECT batch_id, -count(*) FROM {rows} WHERE batch_id IS NOT NULL AND NOT {any_of("status", FINAL)}
    GROUP BY batch_id"""


# The weakest lock of a row: the leader adds to the counts meanwhile, and only a close waits for these transactions.
_JOIN = """
SELECT batch.id, batch.total + COALESCE(
    (SELECT sum(delta.total) FROM callboard_batchdelta AS delta WHERE delta.batch_id = batch.id), 0)
FROM callboard_batch AS batch
WHERE batch.id = ANY(%(ids)s::uuid[]) AND batch.status = 'OPEN'
ORDER BY batch.id FOR KEY SHARE OF batch
"""


def join(wanted: Mapping[UUID, int]) -> None:
    """Let batches take so many further tasks, and stay open until the caller's transaction has ended.

    Calls at the same time may each stay below the bound, and exceed it together.

    Raises:
        NotFound: there is no such batch.
        BatchClosed: it takes no further tasks.
        InvalidTask: it would get too many.
    """
    if not wanted:
        return
    totals = dict(fetch(_JOIN, {"ids": [str(id) for id in wanted]}))
    for id, count in wanted.items():
        if id not in totals:
            found = Batch.objects.filter(pk=id).first()
            raise NotFound(f"there is no batch {id}") if found is None else BatchClosed(id, status=found.status)
        if totals[id] + count > conf.MAX_BATCH_TASKS:
            message = f"expected at most {conf.MAX_BATCH_TASKS:,} tasks in a batch; this one has {totals[id]:,}"
            raise InvalidTask(message, errors=[FieldError("batch", "too_large", message)])


_ADD = """
INSERT INTO callboard_batchdelta (batch_id, total)
SELECT id, count FROM json_to_recordset(%(added)s) AS added (id uuid, count integer)
RETURNING batch_id
"""


def add(counts: Mapping[UUID, int]) -> None:
    """Count tasks that were submitted into batches, after ``join`` in the same transaction."""
    if counts:
        fetch(_ADD, {"added": as_json([{"id": id, "count": count} for id, count in counts.items()])})
