"""Signals of lifecycle, sent after a commit: one for a batch of moves. No rule of lifecycle depends on them."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.dispatch import Signal
from dramatiq.middleware import Interrupt

from tasks.log import get_logger

log = get_logger(__name__)


class Moved(NamedTuple):
    """One task's move: its new status."""

    id: UUID
    status: str
    actor: str
    queue: str
    trace_id: str
    #: If an attempt ended: its number.
    attempt: int | None = None
    #: How long that attempt ran; at a claim, for how long the task had been due.
    seconds: float | None = None
    #: Whether an attempt of a task ended that others depend on.
    has_children: bool = False
    #: Whether an attempt of a task of a batch ended.
    is_in_batch: bool = False
    #: If an attempt ended: how long its task had been due when it started.
    waited_seconds: float | None = None


#: Verbs that end an attempt.
ENDINGS = frozenset({"complete", "rescue"})

#: Sent once per batch when its transaction has committed, with ``verb`` (str), ``moves`` (a sequence of Moved) and
#: ``at``, when the statement was done, by ``time.monotonic()``. Logs, metrics and wake-ups depend on it; no rule does,
#: and a receiver that raises does no harm.
transitioned = Signal()

#: Sent with ``verb`` and ``moves`` inside the transaction that writes them, which may still be rolled back; for tests.
written = Signal()

#: Sent when it has committed that a batch was closed or cancelled, with ``batch_id`` (its id).
batch_changed = Signal()

#: Sent when the end of a queue's pause has committed, with ``queue`` (its name).
resumed = Signal()


def announce(verb: str, moves: Sequence[Moved]) -> None:
    """Send ``transitioned`` when the current transaction commits, at once if there is none.

    Errors of receivers are not raised: the rows are written, and a caller that got an error would write them again.
    """
    if not moves:
        return
    at = time.monotonic()
    written.send(sender=None, verb=verb, moves=moves)

    # Not a partial: Django reads the __qualname__ of what it runs after a commit.
    def send() -> None:
        send_safely(transitioned, verb=verb, moves=moves, at=at)

    after_commit(send)


#: Hooks of one connection that may wait for autocommit to be switched on; more would fill the memory of a process that
#: never switches it on.
MOST_KEPT = 1_000


def after_commit(hook: Callable[[], None]) -> None:
    """Call ``hook`` when the current transaction commits, at once if there is none."""
    try:
        transaction.on_commit(hook)
    except TransactionManagementError:
        _after_own_commit(hook)


def _after_own_commit(hook: Callable[[], None]) -> None:
    """Keep a hook while autocommit is off, when Django refuses hooks outside of atomic().

    Inside of atomic() Django keeps them: they run when autocommit is switched on again after a commit, and a rollback
    drops those that have not run. Only then does a wake-up go out. Until then, and in a process that never switches
    autocommit on, the scheduler's poll finds the tasks within a second of their commit.
    """
    if len(transaction.get_connection().run_on_commit) >= MOST_KEPT:
        # This is before the commit: what is counted and logged may still be rolled back.
        hook()
        return
    with transaction.atomic(savepoint=False):
        transaction.on_commit(hook)


def send_safely(signal: Signal, **facts: Any) -> None:
    """Send a signal without raising what its receivers raise, except interrupts that are meant for the caller."""
    try:
        signal.send_robust(sender=None, **facts)
    except BaseException as error:
        # send_robust() catches a receiver's Exceptions. It does not catch a SystemExit, nor an error of its own when it
        # describes a receiver without a name or calls an async one inside an event loop.
        if _is_for_the_caller(error):
            raise
        log.error("a receiver of a signal raised; the committed change stays", error=type(error).__name__, **facts)


def _is_for_the_caller(error: BaseException) -> bool:
    is_ctrl_c = isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
    return is_ctrl_c or isinstance(error, Interrupt)
