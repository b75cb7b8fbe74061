"""``tasks.current``: what a running actor can read and do about its own task."""

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.utils import timezone

from tasks import masking, registry
from tasks.current.block import Block
from tasks.current.checkpoints import acheckpoint, alast_checkpoint, checkpoint, each, last_checkpoint
from tasks.current.running import Completion, NotInActor, Run, Running
from tasks.current.running import of_thread as _current
from tasks.current.running import running as _running
from tasks.current.steps import asleep, astep, await_for, sleep, step, wait_for
from tasks.errors import GiveUp, Snooze, WaitTimedOut
from tasks.field_faults import shown
from tasks.payload import plain_copy

if TYPE_CHECKING:
    from tasks.lifecycle import Claimed
    from tasks.queries.parents import Parents

__all__ = [
    "Completion",
    "NotInActor",
    "Run",
    "Running",
    "WaitTimedOut",
    "acheckpoint",
    "alast_checkpoint",
    "asleep",
    "astep",
    "attempt",
    "await_for",
    "callback_of",
    "checkpoint",
    "complete_in_transaction",
    "each",
    "enter",
    "estimated_seconds",
    "give_up",
    "idempotency_key",
    "is_cancelled",
    "last_checkpoint",
    "leave",
    "log",
    "parents",
    "progress",
    "run",
    "sleep",
    "snooze",
    "step",
    "task_id",
    "time_left",
    "wait_for",
]  # fmt: skip

#: In characters.
LONGEST_NOTE = 200
LONGEST_LINE = 1_000


def enter(
    run: Run,
    complete: Callable[[], AbstractContextManager[Completion]],
    *,
    worker_id: UUID,
    reported: Callable[[Any], None],
) -> None:
    """Make ``run`` current in this thread and in coroutines that it starts. For the worker."""
    claimed = run.claimed
    _running.set(Running(run, complete, worker_id, reported, set()))
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


def scheduled_at() -> datetime | None:
    """Return the fire of the schedule that made the task, as its zone's clocks show it; None if no schedule did.

    Take the period that a run is about from this and not from the clock: a missed fire, and a retry, run later.
    """
    text = _claimed().options.get("scheduled_at")
    return datetime.fromisoformat(text) if text else None


def estimated_seconds() -> float | None:
    """Return how long the submitter expects the task to take; None if it did not say."""
    return _claimed().estimated_seconds


def parents() -> "Parents":
    """Return the tasks that the running one depended on, with their results, in the order of their submission.

    ``for one in current.parents(): one.result``, in an ``async def`` actor ``async for``. They are read 100 at a time;
    ``len()`` counts them.
    """
    return _current().run.parents


def callback_of() -> UUID | None:
    """Return the id of the batch that submitted the running task as its callback; None if none did."""
    batch_id = _claimed().options.get("callback_of")
    return UUID(batch_id) if batch_id else None


def is_cancelled() -> bool:
    """Tell whether the running task was asked to stop; a long loop may check this and end cleanly."""
    return _current().run.is_asked_to_stop


def time_left() -> float | None:
    """Return how many seconds the attempt may still take; None if it has no time limit."""
    deadline = _current().run.deadline
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Show how far the task has come; the last call counts. It waits for no database, also in an ``async def`` actor.

    A worker writes it about once a second, beside the actor's own transactions, and the last value when the attempt
    ends.

    Parameters:
        done, total: in any unit.
        note: a sentence, of which 200 characters are kept.

    Raises:
        ValueError: a number is negative, not finite, or none.
    """
    running = _current()
    for name, value in (("done", done), ("total", total)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that NaN, which compares false with everything, is refused too.
        if value is not None and not (is_number and 0 <= value <= sys.float_info.max):
            raise ValueError(f"expected a finite number of at least 0 as {name}, got {shown(value)}")
    if running.run.report.note_progress({"done": done, "total": total, "note": _text(note, LONGEST_NOTE)}):
        running.reported(running.run)


def log(line: str) -> None:
    """Keep a line in the attempt's log; it waits for no database, also in an ``async def`` actor.

    1,000 characters of a line are kept, and the newest lines of an attempt: ``MAX_LOG_LINES``. A worker that is killed
    loses the lines of its last second.
    """
    running = _current()
    running.run.report.add_line(_text(line, LONGEST_LINE), at=timezone.now().isoformat())
    running.reported(running.run)


def give_up(reason: str) -> None:
    """Leave the actor and let the task die as ``gave_up``: no retry would help.

    Raises:
        GiveUp: always; do not catch it.
    """
    _claimed()
    raise GiveUp(reason)


def snooze(*, seconds: float) -> None:
    """Leave the actor and run the task again later; no failure is counted.

    Raises:
        Snooze: always; do not catch it.
        ValueError: the time is NaN.
    """
    _claimed()
    if math.isnan(seconds):
        raise ValueError("expected a number of seconds, got nan")
    raise Snooze(max(0.0, float(seconds)))


def complete_in_transaction() -> Block[Completion]:
    """Open a transaction in which the actor's own writes and the task's success commit together, or neither does.

    Writes through Django's default database happen exactly once, however many attempts the task takes: a worker that
    lost the task rolls back. The task has SUCCEEDED when the block ends. Its result is the ``result`` of the object
    that the block yields, not the actor's return value. A result that cannot be kept is dropped: the success commits
    without it, and a note on the attempt says why::

        with current.complete_in_transaction() as completion:
            account.withdraw(amount)
            completion.result = account.balance

    In an ``async def`` actor it is ``async with``.

    Raises:
        AttemptLost: at the end of the block; the task was given to another worker.
        FollowupNotSubmitted: at the end of the block; ``on_success`` or the next task of the pipeline cannot be
            submitted, so the block's writes are rolled back. The task dies without a retry.
        RuntimeError: the block is inside another transaction, which could still be rolled back.
    """
    return Block(_current().complete())


def _claimed() -> "Claimed":
    return _current().run.claimed


def _text(value: object, longest: int) -> str:
    """Cut a text and leave out what PostgreSQL does not store."""
    return str(value)[:longest].replace("\0", "").encode("utf-8", "replace").decode()
