"""``tasks.current``: what a running actor may know and ask of its own task."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import UUID

import structlog

from tasks.errors import CallboardError, Snooze

if TYPE_CHECKING:
    from tasks.lifecycle import Claimed


class Completion:
    """What an actor says about its success before it is committed; set ``result`` to keep one."""

    result: Any = None


class Run(Protocol):
    """The part of a worker's ``Execution`` that the running actor may see."""

    @property
    def claimed(self) -> "Claimed":
        """The task as it was claimed."""

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether an interrupt is on its way or was sent."""

    def remark(self, note: str) -> None:
        """Add a sentence to the attempt's record."""


class Running(NamedTuple):
    """What a thread runs, and how the actor completes it in a transaction of its own."""

    run: Run
    complete: Callable[[], AbstractContextManager[Completion]]


_running: ContextVar[Running | None] = ContextVar("callboard_running", default=None)


class NotInActor(CallboardError):
    """This only works inside a running actor."""

    code = "error"


def enter(run: Run, complete: Callable[[], AbstractContextManager[Completion]]) -> None:
    """Make ``run`` current in this thread and in coroutines that it starts; the worker calls it."""
    claimed = run.claimed
    _running.set(Running(run, complete))
    structlog.contextvars.bind_contextvars(
        trace_id=claimed.trace_id, task_id=str(claimed.id), actor=claimed.actor, attempt=claimed.attempt
    )


def leave() -> None:
    """Forget it; the worker calls it."""
    _running.set(None)
    structlog.contextvars.unbind_contextvars("trace_id", "task_id", "actor", "attempt")


def run() -> Run | None:
    """Tell what this thread or coroutine runs, if anything; for the worker."""
    running = _running.get()
    return running and running.run


def task_id() -> UUID:
    """The running task's id.

    Raises:
        NotInActor: called outside an actor.
    """
    return _claimed().id


def idempotency_key() -> str:
    """A key for what the task does elsewhere: the same for all of its attempts, another for every other task.

    Give it to services that take one (``Idempotency-Key``), and a second attempt charges nobody twice.
    """
    return f"callboard-{_claimed().id}"


def attempt() -> int:
    """The running attempt's number, 1 for the first."""
    return _claimed().attempt


def estimated_seconds() -> float | None:
    """How long the submitter expected the task to take; None if nobody said."""
    return _claimed().estimated_seconds


def is_cancelled() -> bool:
    """Whether somebody asked to cancel the running task; a long loop may look and leave in its own way."""
    return _current().run.is_asked_to_stop


def snooze(*, seconds: float) -> None:
    """Leave the actor and run the task again later; no failure is counted.

    Raises:
        Snooze: always; let it pass.
    """
    _claimed()
    raise Snooze(max(0.0, float(seconds)))


def complete_in_transaction() -> AbstractContextManager[Completion]:
    """Open a transaction in which the actor's own writes and the task's success commit together, or neither does.

    What is written in it through Django's default database happens exactly once, however many attempts it takes: a
    worker that lost the task rolls back. The task has SUCCEEDED when the block ends; its result is what was put into
    ``result`` of the object that the block gets, not what the actor returns. A result that cannot be kept is dropped:
    the success commits without it, and the attempt has a note that says why::

        with current.complete_in_transaction() as completion:
            account.withdraw(amount)
            completion.result = account.balance

    Raises:
        AttemptLost: at the end of the block; the task was given to another worker.
        FollowupNotSubmitted: at the end of the block; ``on_success`` or the next task of the pipeline cannot be
            submitted, so what the block wrote is rolled back. The task dies without a retry.
        RuntimeError: the block is inside another transaction, which could still be rolled back.
    """
    return _current().complete()


def _current() -> Running:
    running = _running.get()
    if running is None:
        raise NotInActor()
    return running


def _claimed() -> "Claimed":
    return _current().run.claimed
