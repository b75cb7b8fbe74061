"""restore: discarded dead letters are open again, while their dead tasks are there to be re-driven."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from dlq.models import DeadLetter
from tasks.conf import conf
from tasks.db.statements import fetch
from tasks.errors import CallboardError, IllegalTransition, NotFound
from tasks.lifecycle import failures
from tasks.lifecycle.journal import UNKNOWN, Author, entries
from tasks.lifecycle.rows import lock_dead_tasks, task_removed
from tasks.models import Task
from tasks.states import Resolution, Status

#: Longer than a statement of the pruner takes: what it may be about to remove is not restored.
MARGIN_SECONDS = 10.0

# The tasks are locked, so none of them dies again or is re-driven. The pruner keeps a dead task for so long after the
# discard. An older death of a task that died again stays resolved.
_RESTORE = f"""
WITH wanted AS MATERIALIZED (
    SELECT letter.id FROM callboard_deadletter AS letter
    WHERE letter.id = ANY(%(ids)s::uuid[]) AND letter.resolution = 'DISCARDED'
      AND letter.task_id = ANY(%(tasks)s::uuid[])
      AND (%(keep)s = 0 OR letter.resolved_at > statement_timestamp() - (%(keep)s - %(margin)s) * interval '1 second')
      AND NOT EXISTS (
          SELECT FROM callboard_deadletter AS other
          WHERE other.task_id = letter.task_id AND (other.id > letter.id OR other.resolution = %(open)s))
    ORDER BY letter.id FOR UPDATE OF letter
), restored AS (
    UPDATE callboard_deadletter AS letter SET resolution = %(open)s, resolved_by = '', resolved_at = NULL
    FROM wanted WHERE letter.id = wanted.id
    RETURNING letter.id, letter.task_id, letter.actor, letter.queue, letter.fingerprint, letter.error_type,
        letter.error_message
), counted AS (
    {failures.reopened("restored")}
), noted AS (
    {entries("restored", verb="'restore'", kind="'dead_letter'", task="task_id", actor="actor", queue="queue")}
)
SELECT id FROM restored
"""


def restore(letter_id: UUID, *, by: Author = UNKNOWN) -> None:
    """Open a discarded dead letter again.

    Raises:
        NotFound: no such dead letter, or its task was removed.
        IllegalTransition: it was not discarded, its task is not dead or died again, or its retention time is over.
    """
    if not restore_many([letter_id], by=by):
        raise _refusal(letter_id)


@transaction.atomic
def restore_many(letter_ids: Sequence[UUID], *, by: Author = UNKNOWN) -> list[UUID]:
    """Open discarded dead letters again, and return their ids; those that cannot be restored are skipped."""
    dead = lock_dead_tasks(letter_ids, Resolution.DISCARDED)
    if not dead:
        return []
    parameters = {
        "ids": [str(id) for id in letter_ids],
        "tasks": [str(id) for id in dead],
        "open": str(Resolution.OPEN),
        "keep": conf.KEEP_DEAD_SECONDS,
        "margin": MARGIN_SECONDS,
        **by.parameters,
    }
    return [id for (id,) in fetch(_RESTORE, parameters)]


def _refusal(letter_id: UUID) -> CallboardError:
    letter = DeadLetter.objects.filter(pk=letter_id).first()
    if letter is None:
        return NotFound(f"there is no dead letter {letter_id}")
    task = Task.objects.filter(pk=letter.task_id).only("status").first()
    if letter.resolution == Resolution.DISCARDED and task is None:
        return task_removed()
    status = None if task is None else task.status
    detail = f"cannot restore it: {why_not(letter.resolution, status)}"
    return IllegalTransition("restore", status=status or "", detail=detail)


def why_not(resolution: str | None, status: str | None) -> str:
    """Say why a dead letter was not restored.

    Parameters:
        resolution: of the dead letter; None if that was removed.
        status: of its task; None if that was removed.
    """
    if resolution is None:
        return "the dead letter was removed"
    if resolution != Resolution.DISCARDED:
        return f"the dead letter is {Resolution(resolution).label.lower()}, not discarded"
    if status is None:
        return "the task was removed"
    if status != Status.DEAD:
        return f"the task is {status}"
    return "the task died again since, or was discarded too long ago"
