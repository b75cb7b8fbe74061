"""Signals: how an operator gives a task the one that it waits for."""

from uuid import UUID

from tasks import lifecycle
from tasks.errors import IllegalTransition
from tasks.lifecycle import Author
from tasks.lifecycle.rows import status_of
from tasks.lifecycle.signal import open_wait


def send_awaited(task_id: UUID, by: Author) -> None:
    """Give a task the signal that it waits for, with the author and their reason as its payload.

    Raises:
        IllegalTransition: it waits for none.
    """
    found = open_wait(task_id)
    if found is None:
        raise IllegalTransition("signal", status=status_of(task_id), detail="the task waits for no signal")
    lifecycle.signal(task_id, found[0], {"by": by.name, "reason": by.reason}, by=by)
