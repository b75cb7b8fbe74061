"""The steps of batches: the leader adds up their counts, ends them, and submits what they call back.

The end, and the tasks that it submits, are one transaction under the leader's term: a leader that dies at any point
leaves either none of it or all of it. If a task of an ended batch begins a second life, the batch runs again; what it
has submitted once it does not submit again.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DataError, IntegrityError, transaction

from tasks.db.statements import as_json, fetch, loads
from tasks.errors import CallboardError
from tasks.lifecycle.batches import MOST_CANCELLED, cancel_next
from tasks.lifecycle.predicates import IS_LEADING, LEAD, any_of, by_key
from tasks.lifecycle.release import settle_children_of_batches
from tasks.lifecycle.submit import write
from tasks.log import get_logger
from tasks.models import new_id
from tasks.models.batch import CALLBACKS, COUNTS
from tasks.states import ENDED, BatchStatus
from tasks.testing import failpoints

log = get_logger(__name__)

#: Deltas, and batches, of one statement.
MOST_DELTAS, MOST_BATCHES = 10_000, 100

_SUMS = ", ".join(f"sum(folded.{name})::integer AS {name}" for name in COUNTS)
_ADDED = ", ".join(f"{name} = batch.{name} + sums.{name}" for name in COUNTS)
# Deltas of a batch that is held wait with it. Whatever its counts say, an ended batch has to be looked at again.
_FOLD = f"""
WITH {LEAD}, waiting AS MATERIALIZED (
    SELECT delta.id, delta.batch_id FROM callboard_batchdelta AS delta
    WHERE {IS_LEADING} ORDER BY delta.id LIMIT {MOST_DELTAS}
), held AS MATERIALIZED (
    SELECT batch.id FROM (SELECT DISTINCT batch_id AS id FROM waiting ORDER BY batch_id) AS wanted
    JOIN callboard_batch AS batch ON {by_key("batch.id", "wanted.id")}
    FOR NO KEY UPDATE OF batch SKIP LOCKED
), folded AS (
    DELETE FROM callboard_batchdelta AS delta USING waiting
    WHERE {by_key("delta.id", "waiting.id")} AND (waiting.batch_id IN (SELECT id FROM held)) IS TRUE
    RETURNING delta.*
), sums AS MATERIALIZED (
    SELECT folded.batch_id AS id, {_SUMS} FROM folded GROUP BY folded.batch_id
), counted AS (
    UPDATE callboard_batch AS batch
    SET {_ADDED},
        status = CASE WHEN {any_of("batch.status", ENDED)} THEN 'RUNNING' ELSE batch.status END,
        ended_at = NULL
    FROM sums WHERE {by_key("batch.id", "sums.id")}
)
SELECT count(*) FROM folded
"""


def fold_many(*, lease: str, term: int) -> int:
    """Add at most ``MOST_DELTAS`` deltas to the counts of their batches; return how many."""
    ((folded,),) = fetch(_FOLD, {"lease": lease, "term": term}, prepared="callboard_fold")
    return folded  # type: ignore[no-any-return]


# A batch with deltas that are not added yet may have tasks that began a second life.
_DUE = f"""
WITH {LEAD}
SELECT batch.id, batch.status, batch.succeeded = batch.total, batch.cancelled_at IS NOT NULL, batch.dead > 0,
       batch.status = 'RUNNING' AND batch.total = batch.succeeded + batch.dead + batch.cancelled, batch.callbacks,
       batch.called
FROM callboard_batch AS batch
WHERE ((batch.status = 'RUNNING' AND batch.total = batch.succeeded + batch.dead + batch.cancelled)
       OR (batch.awaits_death AND batch.dead > 0))
  AND {IS_LEADING}
  AND NOT EXISTS (SELECT FROM callboard_batchdelta AS delta WHERE {by_key("delta.batch_id", "batch.id")})
ORDER BY batch.id LIMIT {MOST_BATCHES}
FOR NO KEY UPDATE OF batch SKIP LOCKED
"""
_END = f"""
UPDATE callboard_batch AS batch
SET status = decided.status, called = decided.called,
    awaits_death = batch.awaits_death AND NOT decided.called ? 'on_death',
    ended_at = CASE WHEN {any_of("decided.status", ENDED)} THEN statement_timestamp() END
FROM json_to_recordset(%(decided)s) AS decided (id uuid, status text, called jsonb)
WHERE {by_key("batch.id", "decided.id")}
RETURNING batch.id
"""


@dataclass
class _Due:
    """A batch that the leader holds because something is due, as it was read."""

    id: UUID
    status: str
    all_succeeded: bool
    is_cancelled: bool
    has_deaths: bool
    has_ended: bool
    callbacks: Any
    called: Any

    @property
    def next_status(self) -> str:
        """What it becomes."""
        if not self.has_ended:
            return self.status
        if self.all_succeeded:
            return BatchStatus.SUCCEEDED
        return BatchStatus.CANCELLED if self.is_cancelled else BatchStatus.FAILED

    def has_come(self, callback: str) -> bool:
        """Whether it is time for a callback."""
        if callback == "on_death":
            return self.has_deaths
        return self.has_ended and (callback == "on_complete" or self.all_succeeded)


@transaction.atomic
def end_many(*, lease: str, term: int) -> int:
    """End batches whose tasks have all ended, and submit what batches call back; return how many changed."""
    due = [_Due(*row) for row in fetch(_DUE, {"lease": lease, "term": term})]
    if not due:
        return 0
    decided = []
    for one in due:
        callbacks, called = loads(one.callbacks), loads(one.called)
        for name in CALLBACKS:
            if name in callbacks and name not in called and one.has_come(name):
                called[name] = _call_back(one.id, name, callbacks[name])
        decided.append({"id": one.id, "status": one.next_status, "called": called})
    failpoints.reach("before_batch_end")
    fetch(_END, {"decided": as_json(decided)})
    failpoints.reach("after_batch_end")
    return len(due)


def _call_back(batch_id: UUID, name: str, row: dict[str, Any]) -> str | None:
    """Submit a callback, and return its task; one that the database refuses is dropped, or no batch could end."""
    row |= {"id": new_id()}
    if "unique_key" in row:
        row["unique_key"] = UUID(row["unique_key"])
    try:
        with transaction.atomic():
            (task,) = write([{"message_id": None, "depends_on": None, **row}])
    except (CallboardError, DataError, IntegrityError) as error:
        why = f"{type(error).__name__}: {error}"
        log.error("a callback is dropped; its batch goes on", batch_id=str(batch_id), callback=name, error=why)
        return None
    return str(task.pk)


_CANCELLING = f"""
SELECT batch.id FROM callboard_batch AS batch WHERE batch.cancel_before IS NOT NULL
ORDER BY batch.id LIMIT {MOST_BATCHES}
"""


class Round(NamedTuple):
    """How many rows one round changed, and whether there is more to do at once."""

    changed: int
    has_more: bool


def settle_batches(*, lease: str, term: int) -> Round:
    """Add up counts, end batches, tell their children, and go on with cancelled batches: a bounded part of each."""
    folded = fold_many(lease=lease, term=term)
    if folded:
        failpoints.reach("after_fold")
    ended = end_many(lease=lease, term=term)
    told = settle_children_of_batches(lease=lease, term=term)
    # Last: it waits for tasks that others have locked, and fails if that takes long.
    cancelled = [cancel_next(id) for (id,) in fetch(_CANCELLING, {})]
    has_more = MOST_CANCELLED in cancelled or folded == MOST_DELTAS or ended == MOST_BATCHES or told.changed > 0
    return Round(sum(cancelled) + folded + ended + told.changed, has_more)
