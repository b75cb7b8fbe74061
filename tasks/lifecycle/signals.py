"""What lifecycle says after a commit: one signal for a batch of moves. Nothing in here or below hears it."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.dispatch import Signal
from dramatiq.middleware import Interrupt

log = structlog.get_logger(__name__)


class Moved(NamedTuple):
    """One task's move: where it stands now."""

    id: UUID
    status: str
    actor: str
    queue: str
    trace_id: str
    #: Number of the attempt that ended, and how long it ran, if one did.
    attempt: int | None = None
    seconds: float | None = None


#: Sent once per batch when its transaction has committed, with ``verb`` (str), ``moves`` (a sequence of Moved) and
#: ``at``, when the statement was done, by ``time.monotonic()``. Logs, metrics and wake-ups hang on it; no rule does,
#: and a receiver that raises disturbs nobody.
transitioned = Signal()


#: Sent when a pause of a queue has ended and that has committed, with ``queue`` (its name).
resumed = Signal()


def announce(verb: str, moves: Sequence[Moved]) -> None:
    """Send ``transitioned`` when the current transaction commits, at once if there is none.

    Never raises for what a receiver does: the rows are written, and a caller that hears of an error writes them again.
    """
    if not moves:
        return
    at = time.monotonic()

    # A function of its own: Django asks what it runs after a commit for its __qualname__, which a partial has not.
    def send() -> None:
        send_safely(transitioned, verb=verb, moves=moves, at=at)

    after_commit(send)


#: Hooks of one connection that wait for autocommit to be switched on; more would fill the memory of a process that
#: never does it.
MOST_KEPT = 1_000


def after_commit(hook: Callable[[], None]) -> None:
    """Call ``hook`` when the current transaction commits, at once if there is none."""
    try:
        transaction.on_commit(hook)
    except TransactionManagementError:
        _after_own_commit(hook)


def _after_own_commit(hook: Callable[[], None]) -> None:
    """Keep a hook where autocommit is off, and Django refuses hooks outside of atomic().

    Inside it Django keeps them: they run when autocommit is switched on again after a commit, and a rollback drops all
    that have not run. So a wake-up goes out then. Before, and in a process that never switches it on, the scheduler's
    poll finds the tasks within a second of their commit.
    """
    if len(transaction.get_connection().run_on_commit) >= MOST_KEPT:
        # Before the commit, then: what is counted and logged may still be rolled back.
        hook()
        return
    with transaction.atomic(savepoint=False):
        transaction.on_commit(hook)


def send_safely(signal: Signal, **facts: Any) -> None:
    """Send a signal whose receivers must not disturb the sender; only what is meant for the caller is raised."""
    try:
        signal.send_robust(sender=None, **facts)
    except BaseException as error:
        # send_robust() holds Exceptions of receivers, not a SystemExit, nor what it meets when it describes a receiver
        # without a name or calls an async one inside an event loop. An interrupt is meant for the caller.
        if _is_for_the_caller(error):
            raise
        log.error("a receiver of a signal raised; what was committed stays", error=type(error).__name__, **facts)


def _is_for_the_caller(error: BaseException) -> bool:
    is_ctrl_c = isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
    return is_ctrl_c or isinstance(error, Interrupt)
