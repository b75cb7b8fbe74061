"""The rows of a verb for people: locked in the order of their ids, or one looked up, or not found."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from dlq.models import DeadLetter
from tasks.db.statements import fetch
from tasks.errors import AlreadyResolved, NotFound
from tasks.models import Task
from tasks.states import Status

# In id order, as everywhere, or two batches would deadlock.
_LOCK = "SELECT id FROM callboard_task WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE"


def locked(statement: str, task_ids: Sequence[UUID], **parameters: Any) -> list[tuple[Any, ...]]:
    """Lock the tasks, then run the statement: it sees them, and their dead letters, as they are once we have the locks.

    A statement that waits for a lock itself goes on with the rows as they are then and everything else as it was when
    the statement began. Call it in a transaction.
    """
    ids = [str(id) for id in task_ids]
    fetch(_LOCK, {"ids": ids})
    return fetch(statement, {"ids": ids, **parameters})


def status_of(task_id: UUID) -> Status:
    """Tell where a task stands, or raise NotFound."""
    return Status(columns_of(task_id, "status")[0])


def columns_of(task_id: UUID, *names: str) -> tuple[Any, ...]:
    """Read columns of a task, or raise NotFound."""
    found: tuple[Any, ...] | None = Task.objects.filter(pk=task_id).values_list(*names).first()
    if found is None:
        raise NotFound(f"there is no task {task_id}")
    return found


def not_open(letter_id: UUID) -> NotFound | AlreadyResolved:
    """Say why a verb did not find a dead letter open: there is none, or it was resolved before."""
    letter = DeadLetter.objects.filter(pk=letter_id).first()
    if letter is None:
        return NotFound(f"there is no dead letter {letter_id}")
    return AlreadyResolved(f"the dead letter was {letter.get_resolution_display().lower()} before")
