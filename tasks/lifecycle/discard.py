"""discard: open dead letters are resolved, and their tasks stay dead."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from tasks.db.statements import fetch
from tasks.lifecycle import failures
from tasks.lifecycle.journal import UNKNOWN, Author, entries
from tasks.lifecycle.predicates import IS_LEADING, IS_OPEN, LEAD, by_key
from tasks.lifecycle.rows import not_open
from tasks.states import Door

_DISCARD = f"""
WITH wanted AS MATERIALIZED (
    SELECT letter.id FROM callboard_deadletter AS letter
    WHERE letter.id = ANY(%(ids)s::uuid[]) AND {IS_OPEN}
    ORDER BY letter.id FOR UPDATE
), resolved AS (
    UPDATE callboard_deadletter AS letter
    SET resolution = 'DISCARDED', resolved_by = %(by)s, resolved_at = statement_timestamp()
    FROM wanted WHERE letter.id = wanted.id
    RETURNING letter.id, letter.task_id, letter.actor, letter.queue, letter.fingerprint
), counted AS (
    {failures.resolved("resolved")}
), noted AS (
    {entries("resolved", verb="'discard'", kind="'dead_letter'", task="task_id", actor="actor", queue="queue")}
)
SELECT id FROM resolved
"""


def discard(letter_id: UUID, *, by: Author = UNKNOWN) -> None:
    """Resolve an open dead letter without running its task again.

    Raises:
        NotFound: no such dead letter.
        AlreadyResolved: it was re-driven or discarded before.
    """
    if not discard_many([letter_id], by=by):
        raise not_open(letter_id)


def discard_many(letter_ids: Sequence[UUID], *, by: Author = UNKNOWN) -> list[UUID]:
    """Resolve open dead letters without running their tasks again, and return their ids; others are skipped."""
    return [id for (id,) in fetch(_DISCARD, {"ids": [str(id) for id in letter_ids], **by.parameters})]


_OLD_OPEN_LETTERS = f"""
WITH {LEAD}
SELECT letter.id FROM callboard_deadletter AS letter
WHERE {IS_OPEN} AND letter.died_at < statement_timestamp() - %(seconds)s * interval '1 second'
  AND {IS_LEADING}
  -- A restore of an old one would last until the next look.
  AND NOT EXISTS (SELECT FROM callboard_journal AS entry
                  WHERE {by_key("entry.object_id", "letter.id::text")} AND entry.verb = 'restore'
                    AND entry.at >= statement_timestamp() - %(seconds)s * interval '1 second')
ORDER BY letter.id LIMIT %(batch)s
"""


def discard_old(*, keep_seconds: float, batch: int, lease: str, term: int) -> int:
    """Discard at most a batch of the dead letters that have been open for that long; return how many.

    One that was restored counts from its last restore. They and their tasks are then kept as long as if an operator had
    discarded them.
    """
    parameters = {"seconds": keep_seconds, "batch": batch, "lease": lease, "term": term}
    with transaction.atomic():
        ids = [id for (id,) in fetch(_OLD_OPEN_LETTERS, parameters)]
        return len(discard_many(ids, by=Author(door=Door.SCHEDULER))) if ids else 0
