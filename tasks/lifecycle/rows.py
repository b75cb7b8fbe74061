"""How operators' verbs find their rows: they lock them in the order of their ids, and report missing ones."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from dlq.models import DeadLetter
from tasks.db.statements import fetch
from tasks.errors import AlreadyResolved, NotFound
from tasks.models import Task
from tasks.states import Resolution, Status

# In id order, as everywhere, or two batches would deadlock.
_LOCK = "SELECT id FROM callboard_task WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE"


def locked(statement: str, task_ids: Sequence[UUID], **parameters: Any) -> list[tuple[Any, ...]]:
    """Lock the tasks, then run the statement on them; call it in a transaction.

    The statement sees the tasks and their dead letters as they are after the wait for the locks. If it waited for a
    lock itself, it would see that row as it is after the wait, and all others as they were when the statement began.
    """
    ids = [str(id) for id in task_ids]
    fetch(_LOCK, {"ids": ids})
    return fetch(statement, {"ids": ids, **parameters})


# Every verb locks tasks before dead letters.
_LOCK_DEAD = """
SELECT task.id FROM callboard_task AS task
WHERE task.status = 'DEAD' AND task.id IN (
    SELECT letter.task_id FROM callboard_deadletter AS letter
    WHERE letter.id = ANY(%(ids)s::uuid[]) AND letter.resolution = %(resolution)s
)
ORDER BY task.id FOR UPDATE OF task
"""


def lock_dead_tasks(letter_ids: Sequence[UUID], resolution: Resolution) -> list[UUID]:
    """Lock the dead tasks of those dead letters that have a resolution, and return them; call it in a transaction.

    The dead letters are not locked: by now they may have another resolution.
    """
    parameters = {"ids": [str(id) for id in letter_ids], "resolution": str(resolution)}
    return [id for (id,) in fetch(_LOCK_DEAD, parameters)]


def status_of(task_id: UUID) -> Status:
    """Read the status of a task, or raise NotFound."""
    return Status(columns_of(task_id, "status")[0])


def columns_of(task_id: UUID, *names: str) -> tuple[Any, ...]:
    """Read columns of a task, or raise NotFound."""
    found: tuple[Any, ...] | None = Task.objects.filter(pk=task_id).values_list(*names).first()
    if found is None:
        raise NotFound(f"there is no task {task_id}")
    return found


def not_open(letter_id: UUID) -> NotFound | AlreadyResolved:
    """Make the error for a dead letter that is not open: it does not exist, or it was resolved before."""
    letter = DeadLetter.objects.filter(pk=letter_id).first()
    if letter is None:
        return NotFound(f"there is no dead letter {letter_id}")
    return AlreadyResolved(f"the dead letter was {letter.get_resolution_display().lower()} before")


def task_removed() -> NotFound:
    """Make the error for a dead letter whose task does not exist any more."""
    return NotFound("the task of this dead letter was removed; submit a new one")
