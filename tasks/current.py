"""``tasks.current``: what a running actor can read and do about its own task."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import UUID

import structlog

from tasks import masking, registry
from tasks.errors import CallboardError, Snooze
from tasks.payload import plain_copy

if TYPE_CHECKING:
    from tasks.lifecycle import Claimed
    from tasks.queries.parents import Parents


class Completion:
    """The success that an actor is about to commit; set ``result`` to keep a result."""

    result: Any = None


class Run(Protocol):
    """The part of a worker's ``Execution`` that this module needs."""

    @property
    def claimed(self) -> "Claimed":
        """The task as it was claimed."""

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether an interrupt was requested or sent."""

    @property
    def parents(self) -> "Parents":
        """The tasks that the task depended on."""

    def remark(self, note: str) -> None:
        """Add a sentence to the attempt's record."""


class Running(NamedTuple):
    """The run of a thread, and how its actor completes it in a transaction of its own."""

    run: Run
    complete: Callable[[], AbstractContextManager[Completion]]


_running: ContextVar[Running | None] = ContextVar("callboard_running", default=None)


class NotInActor(CallboardError):
    """This only works inside a running actor."""

    code = "error"


def enter(run: Run, complete: Callable[[], AbstractContextManager[Completion]]) -> None:
    """Make ``run`` current in this thread and in coroutines that it starts. For the worker."""
    claimed = run.claimed
    _running.set(Running(run, complete))
    # Copies, because the actor may change what it was given.
    args, payload = plain_copy(claimed.args), plain_copy(claimed.payload)
    masking.expect(partial(registry.arguments_by_name, claimed.actor, args=args, payload=payload))
    structlog.contextvars.bind_contextvars(
        trace_id=claimed.trace_id, task_id=str(claimed.id), actor=claimed.actor, attempt=claimed.attempt
    )


def leave() -> None:
    """Forget the current run. For the worker."""
    _running.set(None)
    masking.expect(None)
    structlog.contextvars.unbind_contextvars("trace_id", "task_id", "actor", "attempt")


def run() -> Run | None:
    """Return the current run of this thread or coroutine, if any. For the worker."""
    running = _running.get()
    return running and running.run


def task_id() -> UUID:
    """Return the running task's id.

    Raises:
        NotInActor: called outside an actor.
    """
    return _claimed().id


def idempotency_key() -> str:
    """Return a key for the task's calls to other services: the same for all of its attempts, unique to the task.

    Pass it to services that accept one (``Idempotency-Key``), so that a second attempt does not charge twice.
    """
    return f"callboard-{_claimed().id}"


def attempt() -> int:
    """Return the running attempt's number, 1 for the first."""
    return _claimed().attempt


def estimated_seconds() -> float | None:
    """Return how long the submitter expects the task to take; None if it did not say."""
    return _claimed().estimated_seconds


def parents() -> "Parents":
    """Return the tasks that the running one depended on, with their results, in the order of their submission.

    ``for one in current.parents(): one.result``, in an ``async def`` actor ``async for``. They are read 100 at a time;
    ``len()`` counts them.
    """
    return _current().run.parents


def is_cancelled() -> bool:
    """Tell whether the running task was asked to stop; a long loop may check this and end cleanly."""
    return _current().run.is_asked_to_stop


def snooze(*, seconds: float) -> None:
    """Leave the actor and run the task again later; no failure is counted.

    Raises:
        Snooze: always; do not catch it.
    """
    _claimed()
    raise Snooze(max(0.0, float(seconds)))


def complete_in_transaction() -> AbstractContextManager[Completion]:
    """Open a transaction in which the actor's own writes and the task's success commit together, or neither does.

    Writes through Django's default database happen exactly once, however many attempts the task takes: a worker that
    lost the task rolls back. The task has SUCCEEDED when the block ends. Its result is the ``result`` of the object
    that the block yields, not the actor's return value. A result that cannot be kept is dropped: the success commits
    without it, and a note on the attempt says why::

        with current.complete_in_transaction() as completion:
            account.withdraw(amount)
            completion.result = account.balance

    Raises:
        AttemptLost: at the end of the block; the task was given to another worker.
        FollowupNotSubmitted: at the end of the block; ``on_success`` or the next task of the pipeline cannot be
            submitted, so the block's writes are rolled back. The task dies without a retry.
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
