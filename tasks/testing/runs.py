"""inline, drain and perform: the ways to run tasks in a test, in its own thread and transaction."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models.functions import Now
from dramatiq import Actor, Message, Retry
from dramatiq.middleware import SkipMessage

from tasks import lifecycle
from tasks.broker.send import submission_of
from tasks.errors import Snooze
from tasks.lifecycle import Moved
from tasks.lifecycle.announcements import written
from tasks.models import Task
from tasks.testing import clock
from tasks.testing.worker import InlineWorker, engaged, is_engaged, runnable
from tasks.worker.execution import Execution

#: More runs than a test means to have: an actor that submits itself, most likely.
MOST_RUNS = 1_000


class EndlessDrain(AssertionError):
    """Tasks kept coming; the message names the actor that ran most."""


@contextmanager
def inline(*, raise_errors: bool = False) -> Iterator[None]:
    """Run each task that is submitted within the block, at once and before ``send()`` returns; also a decorator.

    It runs once: a retry and a task with a delay wait, for ``drain(until=…)``. What an actor submits runs right after
    it has ended. ``transaction.atomic()`` around a ``send()`` holds nothing back, although in production the task
    would not exist before its commit; ``send()`` in an ``on_commit()`` hook runs when the hook does. Submissions by
    other threads are left alone.

    Parameters:
        raise_errors: let ``send()`` raise the exception of a failed run, once its outcome is written.
    """
    with InlineWorker() as worker:
        receiver = _Receiver(worker, raise_errors=raise_errors)
        written.connect(receiver.hear)
        try:
            yield
        finally:
            written.disconnect(receiver.hear)


class _Receiver:
    """Hears of submissions, and runs them unless a task runs already, which is then followed by them."""

    def __init__(self, worker: InlineWorker, *, raise_errors: bool) -> None:
        self._worker, self._raise_errors = worker, raise_errors
        self._thread = threading.get_ident()
        self._submitted: list[UUID] = []

    def hear(self, *, verb: str, moves: Sequence[Moved], **_: Any) -> None:
        if verb != "submit" or threading.get_ident() != self._thread:
            return
        self._submitted += [move.id for move in moves]
        if is_engaged():
            return
        while (execution := self._worker.run_first(Task.objects.filter(pk__in=self._submitted))) is not None:
            # Its retry does not run.
            self._submitted.remove(execution.claimed.id)
            if self._raise_errors:
                _raise_failure(execution)


def drain(
    queue: str | None = None,
    until: datetime | timedelta | None = None,
    *,
    raise_errors: bool = False,
    most: int = MOST_RUNS,
) -> list[Task]:
    """Run every due task, and what they submit, until none is due; return the task of each run as the run left it.

    A task that fails is retried or dies as in production; one that is retried is in the answer once for each run.

    Parameters:
        queue: run only tasks of this queue.
        until: travel to this time, and on the way run what becomes due, retries included, in the order of ``run_at``.
            An aware datetime, or how far from now. Afterwards the clock is where it was.
        raise_errors: raise the exception of the first failed run, once its outcome is written.
        most: runs before it counts as endless.

    Raises:
        EndlessDrain: more than ``most`` runs.
        Busy: called by an actor.
    """
    tasks = Task.objects.all() if queue is None else Task.objects.in_queue(queue)
    ran: list[Task] = []
    with InlineWorker() as worker, clock.travelling() as move:
        end = None if until is None else clock.moment(until)
        while True:
            execution = worker.run_first(tasks)
            if execution is not None:
                ran.append(Task.objects.get(pk=execution.claimed.id))
                if raise_errors:
                    _raise_failure(execution)
                _check(ran, most)
            elif end is None or not _travel(tasks, end, move):
                break
        if end is not None and end > clock.now():
            move(end)
            worker.expire()
    return ran


def _travel(tasks: Any, end: datetime, move: clock.Move) -> bool:
    """Travel to the next time at which a task is due; False if none is by the end."""
    next_at = (
        runnable(tasks).waiting_to_run().filter(run_at__gt=Now(), run_at__lte=end).order_by("run_at")
        .values_list("run_at", flat=True).first()
    )  # fmt: skip
    if next_at is not None:
        move(next_at)
    return next_at is not None


def _check(ran: list[Task], most: int) -> None:
    if len(ran) <= most:
        return
    (actor, count), *_ = Counter(task.actor for task in ran).most_common(1)
    raise EndlessDrain(
        f"drain() ran {len(ran)} tasks and more are due; {count} of them were of actor {actor!r}. "
        f"Does it submit itself, or retry for ever? If not, call drain(most=…) with a higher number than {most}."
    )


def perform(actor: Actor[Any, Any] | Message[Any], *args: Any, attempt: int = 1, **payload: Any) -> Any:
    """Run one actor as a worker would, and return what it returns or raise what it raises.

    The task is made for this run and removed after it; what the actor submits and the follow-ups stay.

    Parameters:
        actor: the actor, whose arguments follow; or a message, such as ``greet.message_with_options(args=["Ada"],
            time_limit=500)``, for options and for arguments that are called ``attempt``.
        attempt: the number of the attempt; those before it count as failures.

    Raises:
        InvalidTask: the arguments do not fit the actor.
    """
    if attempt < 1:
        raise ValueError(f"expected an attempt from 1 on, got {attempt}")
    message = actor if isinstance(actor, Message) else actor.message(*args, **payload)
    # Engaged, so that inline() does not take it for a task of the test.
    with InlineWorker() as worker, engaged():
        task = lifecycle.submit(submission_of(message))
        Task.objects.filter(pk=task.pk).update(attempt=attempt - 1, failures=attempt - 1, run_at=Now())
        task.refresh_from_db()
        try:
            execution = worker.run(task)
        finally:
            lifecycle.delete(task.pk)
    if execution.error is not None:
        raise execution.error
    return execution.result


def _raise_failure(execution: Execution) -> None:
    """Raise the exception of a failed run; a snooze, a wanted retry and a skipped or cancelled run are none."""
    if execution.error is not None and not isinstance(execution.error, Snooze | Retry | SkipMessage):
        raise execution.error
