"""redrive: the tasks of open dead letters begin a second life."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from dlq.models import DeadLetter
from tasks.db.statements import fetch
from tasks.errors import AlreadyResolved, CallboardError
from tasks.lifecycle.announcements import Moved
from tasks.lifecycle.edit import correct
from tasks.lifecycle.journal import UNKNOWN, Author
from tasks.lifecycle.predicates import IS_OPEN
from tasks.lifecycle.retry import retry_many, unfit
from tasks.lifecycle.rows import lock_dead_tasks, not_open, task_removed
from tasks.lifecycle.submit import Admit
from tasks.models import Task
from tasks.states import Resolution, Status

# A discard locks no task, so it may have resolved a dead letter while this transaction waited for the locks of tasks.
_LOCK_LETTERS = f"""
SELECT letter.task_id FROM callboard_deadletter AS letter
WHERE letter.id = ANY(%(ids)s::uuid[]) AND {IS_OPEN} AND letter.task_id = ANY(%(tasks)s::uuid[])
ORDER BY letter.id FOR UPDATE
"""


@transaction.atomic
def redrive(
    letter_id: UUID,
    *,
    by: Author = UNKNOWN,
    admit: Admit | None = None,
    payload: Mapping[str, Any] | None = None,
) -> Status:
    """Give the task of an open dead letter a second life.

    Parameters:
        admit: what it raises leaves the dead letter open.
        payload: the task gets this one first; None keeps its own.

    Raises:
        NotFound: no such dead letter, or its task was removed.
        InvalidTask: the payload does not fit the actor, or no longer does.
        AlreadyResolved: it was re-driven or discarded before.
    """
    if payload is not None:
        _correct(letter_id, payload, by=by)
    moves = redrive_many([letter_id], by=by, admit=admit)
    if not moves:
        raise _refusal(letter_id)
    return Status(moves[0].status)


@transaction.atomic
def redrive_many(letter_ids: Sequence[UUID], *, by: Author = UNKNOWN, admit: Admit | None = None) -> list[Moved]:
    """Give the tasks of open dead letters a second life, and return them; resolved dead letters are skipped."""
    dead = lock_dead_tasks(letter_ids, Resolution.OPEN)
    parameters = {"ids": [str(id) for id in letter_ids], "tasks": [str(id) for id in dead]}
    still_open = [id for (id,) in fetch(_LOCK_LETTERS, parameters)]
    return retry_many(still_open, by=by, admit=admit)


def _correct(letter_id: UUID, payload: Mapping[str, Any], *, by: Author) -> None:
    # A refusal of the re-drive takes the correction back, so it need not look at the dead letter under a lock.
    letter = DeadLetter.objects.open().filter(pk=letter_id).first()
    if letter is None:
        raise not_open(letter_id)
    if not Task.objects.filter(pk=letter.task_id).exists():
        raise task_removed()
    correct(letter.task_id, payload, by=by)


def _refusal(letter_id: UUID) -> CallboardError:
    letter = DeadLetter.objects.open().filter(pk=letter_id).first()
    if letter is None:
        return not_open(letter_id)
    if not Task.objects.filter(pk=letter.task_id).exists():
        return task_removed()
    return unfit([letter.task_id]).get(letter.task_id) or AlreadyResolved()
