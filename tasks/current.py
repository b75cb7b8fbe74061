"""``tasks.current``: what a running actor may know and ask of its own task."""

from contextvars import ContextVar
from typing import Any
from uuid import UUID

import structlog

from tasks.errors import CallboardError, Snooze

_running: ContextVar[Any] = ContextVar("callboard_running", default=None)


class NotInActor(CallboardError):
    """This only works inside a running actor."""

    code = "error"


def enter(execution: Any) -> None:
    """Make ``execution`` current in this thread and in coroutines that it starts; the engine calls it."""
    claimed = execution.claimed
    _running.set(execution)
    structlog.contextvars.bind_contextvars(
        trace_id=claimed.trace_id, task_id=str(claimed.id), actor=claimed.actor, attempt=claimed.attempt
    )


def leave() -> None:
    """Forget it; the engine calls it."""
    _running.set(None)
    structlog.contextvars.unbind_contextvars("trace_id", "task_id", "actor", "attempt")


def task_id() -> UUID:
    """The running task's id.

    Raises:
        NotInActor: called outside an actor.
    """
    id: UUID = _claimed().id
    return id


def attempt() -> int:
    """The running attempt's number, 1 for the first."""
    number: int = _claimed().attempt
    return number


def estimated_seconds() -> float | None:
    """How long the submitter expected the task to take; None if nobody said."""
    seconds: float | None = _claimed().estimated_seconds
    return seconds


def is_cancelled() -> bool:
    """Whether somebody asked to cancel the running task; a long loop may look and leave in its own way."""
    return _execution().interrupt is not None


def snooze(*, seconds: float) -> None:
    """Leave the actor and run the task again later; no failure is counted.

    Raises:
        Snooze: always; let it pass.
    """
    _claimed()
    raise Snooze(max(0.0, float(seconds)))


def _execution() -> Any:
    execution = _running.get()
    if execution is None:
        raise NotInActor()
    return execution


def _claimed() -> Any:
    return _execution().claimed
