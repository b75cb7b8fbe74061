"""The steps of operations: the leader does a bounded number of rows, with the verb that a single row has.

A step is one transaction, fenced by the leader's term: the verb, the marks on the items and the counts are committed
together or not at all. A leader that is killed between two steps, or in one, leaves a state from which the next leader
goes on; nothing is done twice. The step holds the operation's row, so that a pause or cancel that has returned is
followed by nothing.
"""

from collections import Counter
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from tasks.db.statements import fetch
from tasks.lifecycle.journal import LONGEST_REASON, Author, record
from tasks.lifecycle.operation_verbs import Item, apply
from tasks.lifecycle.operations import end
from tasks.lifecycle.predicates import IS_LEADING, LEAD
from tasks.models import Operation
from tasks.models.operation import STOP_WINDOW
from tasks.states import RUNNING_AGAIN, Door, ItemState, ObjectKind, OperationState

#: Rows that one step changes: its locks are held for so long, and a pause waits for it.
MOST_MOVED = 500
#: Items whose tasks one step looks at.
MOST_LOOKED_AT = 2_000
#: Steps that may fail before the operation stops.
MOST_ERRORS = 10


class Step(NamedTuple):
    """What a step did."""

    moved: int
    #: Whether more can be done at once.
    has_more: bool


# Also operations that rest, while the fates of the tasks that they moved are open.
_OPEN = """
SELECT id FROM callboard_operation
WHERE state <> 'DONE' AND state <> 'PREVIEW'
  AND (state IN ('CANARY', 'RUNNING') OR moved > succeeded + died + ended)
ORDER BY id
"""


def open_operations() -> list[UUID]:
    """List the operations that a step may change, oldest first."""
    return [id for (id,) in fetch(_OPEN, {})]


_FENCE = f"WITH {LEAD} SELECT statement_timestamp() WHERE {IS_LEADING}"


@transaction.atomic
def step_operation(operation_id: UUID, *, lease: str, term: int) -> Step:
    """Do the next rows of one operation, and learn what became of the last ones."""
    nothing = Step(0, has_more=False)
    if not (found := fetch(_FENCE, {"lease": lease, "term": term})):
        return nothing
    operation = Operation.objects.filter(pk=operation_id).select_for_update(no_key=True).first()
    if operation is None or operation.state in {OperationState.DONE, OperationState.PREVIEW}:
        return nothing
    if operation.verb in RUNNING_AGAIN:
        _learn(operation)
    if operation.is_active and not _stop(operation):
        # The transaction may have waited for the operation's row: the pace goes by the time after that.
        ((now,),) = fetch("SELECT clock_timestamp()", {})
        return _go_on(operation, max(now, found[0][0]), lease=lease, term=term)
    return nothing


def note_error(operation_id: UUID, error: str) -> None:
    """Count a step that failed; after some of them the operation stops and says why."""
    with transaction.atomic():
        operation = Operation.objects.filter(pk=operation_id).select_for_update(no_key=True).first()
        if operation is None or not operation.is_active:
            return
        operation.errors += 1
        operation.save(update_fields=["errors"])
        if operation.errors % MOST_ERRORS == 0:
            _halt(operation, f"{MOST_ERRORS} steps failed; the last: {error}")


# One operation at a time: it may have a hundred thousand items. It goes when none of them is left. A preview ends
# before, or somebody could start it when a part of its items is gone.
_PRUNE = f"""
WITH {LEAD}, abandoned AS (
    UPDATE callboard_operation AS operation SET state = 'CANCELLED', ended_at = operation.created_at
    WHERE operation.state = 'PREVIEW'
      AND operation.created_at < statement_timestamp() - %(seconds)s * interval '1 second' AND {IS_LEADING}
), old AS MATERIALIZED (
    SELECT operation.id FROM callboard_operation AS operation
    WHERE operation.ended_at < statement_timestamp() - %(seconds)s * interval '1 second' AND {IS_LEADING}
    ORDER BY operation.id LIMIT 1 FOR UPDATE OF operation SKIP LOCKED
), items AS (
    DELETE FROM callboard_operationitem AS item WHERE item.id IN (
        SELECT next.id FROM callboard_operationitem AS next JOIN old ON old.id = next.operation_id
        ORDER BY next.operation_id, next.state, next.id LIMIT %(batch)s
    ) RETURNING item.id
), gone AS (
    DELETE FROM callboard_operation AS operation USING old
    WHERE operation.id = old.id AND (SELECT count(*) FROM items) < %(batch)s
)
SELECT count(*) FROM old
"""


def prune_operations(*, keep_seconds: float, batch: int, lease: str, term: int) -> bool:
    """Remove at most a batch of the rows of the oldest operation that ended that long ago; tell whether one did.

    Previews that were made that long ago are cancelled, and removed by the next calls.
    """
    ((operations,),) = fetch(_PRUNE, {"seconds": keep_seconds, "batch": batch, "lease": lease, "term": term})
    return bool(operations)


# --- What became of the tasks ---

# A dead letter that is younger than the move says more than the status: by now another may have re-driven it.
_FATES = f"""
WITH looked AS MATERIALIZED (
    SELECT item.id, item.task_id, item.moved_at FROM callboard_operationitem AS item
    WHERE item.operation_id = %(operation)s AND item.state = 'MOVED' AND item.id > %(after)s
    ORDER BY item.id LIMIT {MOST_LOOKED_AT}
), fate AS (
    SELECT looked.id, task.finished_at,
           CASE WHEN EXISTS (
                    SELECT FROM callboard_deadletter AS letter
                    WHERE letter.task_id = looked.task_id AND letter.died_at > looked.moved_at
                ) THEN 'DIED'
                WHEN task.status = 'SUCCEEDED' THEN 'SUCCEEDED'
                WHEN task.id IS NULL OR task.status IN ('CANCELLED', 'DEAD') THEN 'ENDED' END AS state
    FROM looked LEFT JOIN callboard_task AS task ON task.id = looked.task_id
), ended AS (
    UPDATE callboard_operationitem AS item
    SET state = fate.state, ended_at = COALESCE(fate.finished_at, statement_timestamp())
    FROM fate WHERE item.id = fate.id AND fate.state IS NOT NULL
    RETURNING item.state
)
SELECT (SELECT count(*) FROM ended WHERE state = 'SUCCEEDED'), (SELECT count(*) FROM ended WHERE state = 'DIED'),
       (SELECT count(*) FROM ended WHERE state = 'ENDED'), (SELECT count(*) FROM looked), (SELECT max(id) FROM looked)
"""


def _learn(operation: Operation) -> None:
    if not operation.running:
        return
    parameters = {"operation": operation.pk, "after": operation.looked_to}
    ((succeeded, died, ended, looked, last),) = fetch(_FATES, parameters)
    operation.succeeded += succeeded
    operation.died += died
    operation.ended += ended
    operation.looked_to = last if looked == MOST_LOOKED_AT else 0
    operation.save(update_fields=["succeeded", "died", "ended", "looked_to"])


_LATEST_ENDS = f"""
SELECT count(*) FROM (
    SELECT item.state FROM callboard_operationitem AS item
    WHERE item.operation_id = %(operation)s AND item.ended_at IS NOT NULL AND item.moved_at > %(since)s
    ORDER BY item.ended_at DESC LIMIT {STOP_WINDOW}
) AS latest WHERE latest.state = '{ItemState.DIED.value}'
"""


def _stop(operation: Operation) -> bool:
    """Stop the operation if too many of its tasks died again; return whether it did."""
    if operation.stop_percent is None or not operation.died:
        return False
    if operation.state == OperationState.CANARY:
        died, of, them = operation.died, min(operation.canary, operation.total), "of the canary"
    else:
        ((died,),) = fetch(_LATEST_ENDS, {"operation": operation.pk, "since": operation.watched_from})
        of = min(STOP_WINDOW, operation.total)
        them = f"of the last {of}"
    # Against the whole window even while few have ended: the first death of two is no half of fifty.
    if not died or died * 100 < operation.stop_percent * of:
        return False
    _halt(operation, f"{died} {them} died again")
    return True


def _halt(operation: Operation, note: str) -> None:
    operation.state, operation.note = OperationState.STOPPED, note[:300]
    operation.save(update_fields=["state", "note"])
    by = Author(door=Door.SCHEDULER, reason=note[:LONGEST_REASON])
    record(by, "stop", ObjectKind.OPERATION, str(operation.pk), name=str(operation))


# --- The next rows ---


def _go_on(operation: Operation, now: datetime, *, lease: str, term: int) -> Step:
    if operation.state == OperationState.CANARY and _is_canary_over(operation):
        operation.state = OperationState.RUNNING
        operation.paced_at = now
        operation.save(update_fields=["state", "paced_at"])
    allowed = _allowed(operation, now)
    moved = _move(operation, allowed, lease=lease, term=term) if allowed else 0
    if not operation.left and not (operation.verb in RUNNING_AGAIN and operation.running):
        end(operation, OperationState.DONE)
    is_throttled = operation.rate_per_second is not None or operation.state == OperationState.CANARY
    return Step(moved, has_more=bool(allowed and operation.left and not is_throttled))


def _is_canary_over(operation: Operation) -> bool:
    return not operation.running and (operation.moved >= operation.canary or not operation.left)


def _allowed(operation: Operation, now: datetime) -> int:
    """How many rows may be changed now."""
    if operation.state == OperationState.CANARY:
        return max(0, min(operation.canary - operation.moved, MOST_MOVED))
    rate = operation.rate_per_second
    if rate is None:
        return MOST_MOVED
    # Time in which no scheduler led is not made up for.
    # The interval in microseconds is rounded up: rounded down, it would never be long enough for a row.
    longest = timedelta(microseconds=ceil(max(1.0, 1 / rate) * 1_000_000))
    since = max(operation.paced_at or now, now - longest)
    allowed = min(int((now - since).total_seconds() * rate), MOST_MOVED)
    operation.paced_at = since + timedelta(seconds=allowed / rate)
    operation.save(update_fields=["paced_at"])
    return allowed


_NEXT = """
SELECT item.id, item.row_id, item.task_id FROM callboard_operationitem AS item
WHERE item.operation_id = %(operation)s AND item.state = ''
ORDER BY item.id LIMIT %(most)s
"""
_MARK = """
UPDATE callboard_operationitem AS item
SET state = CASE WHEN note.text = '' THEN 'MOVED' ELSE 'SKIPPED' END, note = note.text,
    moved_at = CASE WHEN note.text = '' THEN statement_timestamp() END
FROM unnest(%(ids)s::bigint[], %(notes)s::text[]) AS note (id, text) WHERE item.id = note.id
RETURNING item.id
"""


def _move(operation: Operation, most: int, *, lease: str, term: int) -> int:
    items = [Item(*row) for row in fetch(_NEXT, {"operation": operation.pk, "most": most})]
    if not items:
        return 0
    notes = apply(operation, items, lease=lease, term=term)
    fetch(_MARK, {"ids": [item.id for item in items], "notes": [notes.get(item.row_id, "") for item in items]})
    operation.moved += len(items) - len(notes)
    operation.skipped += len(notes)
    operation.skips = dict(Counter(operation.skips) + Counter(notes.values()))
    operation.save(update_fields=["moved", "skipped", "skips"])
    return len(items)
