"""redrive: the tasks of open dead letters begin a second life."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from tasks.db.statements import fetch
from tasks.errors import AlreadyResolved, NotFound
from tasks.lifecycle.fence import IS_OPEN
from tasks.lifecycle.retry import RETRY, check_stored, retry_many
from tasks.lifecycle.rows import locked, open_letter
from tasks.lifecycle.signals import Moved, announce
from tasks.models import Task
from tasks.states import Status


def redrive(letter_id: UUID, *, by: str = "") -> Status:
    """Give the task of an open dead letter a second life.

    Raises:
        NotFound: no such dead letter, or its task was removed.
        InvalidTask: the task's arguments do not fit the actor any more.
        AlreadyResolved: it was re-driven or discarded before.
    """
    letter = open_letter(letter_id)
    if not Task.objects.filter(pk=letter.task_id).exists():
        raise NotFound("the task of this dead letter was removed; submit a new one")
    check_stored(letter.task_id)
    with transaction.atomic():
        rows = locked(RETRY, [letter.task_id], by=by, **{"from": [Status.DEAD]})
        if [row[-1] for row in rows] != [letter.pk]:
            # A discard or another re-drive got there between our look and our lock; roll back.
            raise AlreadyResolved()
        announce("redrive", [Moved(*rows[0][:5])])
    return Status(rows[0][1])


# Tasks before letters, each in the order of their ids, as every other verb locks them.
_LOCK_TASKS = f"""
SELECT task.id FROM callboard_task AS task
WHERE task.status = 'DEAD' AND task.id IN (
    SELECT letter.task_id FROM callboard_deadletter AS letter
    WHERE letter.id = ANY(%(ids)s::uuid[]) AND {IS_OPEN}
)
ORDER BY task.id FOR UPDATE OF task
"""
# A discard locks no task: what it resolved while we waited for the locks above is left out here.
_LOCK_LETTERS = f"""
SELECT letter.task_id FROM callboard_deadletter AS letter
WHERE letter.id = ANY(%(ids)s::uuid[]) AND {IS_OPEN} AND letter.task_id = ANY(%(tasks)s::uuid[])
ORDER BY letter.id FOR UPDATE
"""


@transaction.atomic
def redrive_many(letter_ids: Sequence[UUID], *, by: str = "") -> list[Moved]:
    """Give the tasks of those dead letters that are open a second life, and return them."""
    ids = [str(id) for id in letter_ids]
    dead = [str(id) for (id,) in fetch(_LOCK_TASKS, {"ids": ids})]
    still_open = [id for (id,) in fetch(_LOCK_LETTERS, {"ids": ids, "tasks": dead})]
    return retry_many(still_open, by=by)
