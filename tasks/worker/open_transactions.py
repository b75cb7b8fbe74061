"""Transactions that an actor leaves open on its thread's sessions: found, rolled back, and named on its attempt."""

import gc
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, MethodType
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tasks.current import Run
from tasks.db.sessions import in_transaction, this_thread
from tasks.log import get_logger

log = get_logger(__name__)


class LeftOpen(Exception):
    """Raised into a block that its task has not left, to roll it back."""


def open_blocks() -> dict[str, int]:
    """Count the calling thread's nested transactions, by alias of its open connections; to be called before a run.

    Usually none is open. A test may run tasks inside its own transaction.
    """
    found = {}
    for one in in_transaction():
        if one.closed_in_transaction:
            # It was closed inside a block, and would refuse the next task.
            _replace(one)
        else:
            found[one.alias] = len(one.atomic_blocks)
    return found


def take_out() -> dict[str, BaseDatabaseWrapper]:
    """Take open connections out of the calling thread, by alias; its next query opens another session."""
    taken = {one.alias: one for one in in_transaction()}
    for one in taken.values():
        _forget(one)
    return taken


def put_in(taken: Mapping[str, BaseDatabaseWrapper]) -> dict[str, BaseDatabaseWrapper]:
    """Make these the calling thread's connections; return the previous ones, by alias, to be put in again."""
    before = {alias: one for alias, one in this_thread.connections.items() if alias in taken}
    for alias, one in taken.items():
        this_thread.connections[alias] = connections[alias] = one
    return before


def close(aliases: Iterable[str]) -> None:
    """Close the calling thread's sessions with these databases."""
    for one in [this_thread.connections[alias] for alias in aliases if alias in this_thread.connections]:
        one.close()
        _forget(one)


def tidy(run: Run, before: Mapping[str, int], *, error: BaseException | None, was_interrupted: bool) -> None:
    """Roll back every transaction that a run has begun and not ended, and report it; never raises.

    To be called when no interrupt can arrive any more.

    Parameters:
        before: the answer of ``open_blocks`` when the run began.
        error: the exception that ended the run.
    """
    try:
        left = leave(before, error)
        if left:
            report(run, left)
        if was_interrupted:
            _close_others(before)
    except Exception:
        log.exception("a thread's connections cannot be cleaned", task_id=str(run.claimed.id))


def leave(before: Mapping[str, int], error: BaseException | None) -> list[str]:
    """Roll back and replace connections that are open now and were not ``before``; return their aliases.

    Parameters:
        error: the exception that ended the run; its traceback may hold generators that are inside a transaction.
    """
    left = [one.alias for one in _left(before)]
    if not left:
        return left
    # A suspended generator ends its block when it is collected, on the connection that the collecting thread then has.
    # So it is collected now, in this thread.
    _clear_frames(error)
    gc.collect()
    for one in _left(before):
        if one.alias in before:
            _unwind(one, before[one.alias])
        else:
            _replace(one)
    return left


def report(run: Run, aliases: list[str]) -> None:
    """Report a run whose transaction was rolled back, in the log and on its attempt."""
    text = f"left a transaction open in database {', '.join(aliases)}; it was rolled back"
    log.warning(f"an actor {text}", task_id=str(run.claimed.id), actor=run.claimed.actor)
    run.remark(text)


def _left(before: Mapping[str, int]) -> list[BaseDatabaseWrapper]:
    return [one for one in in_transaction() if len(one.atomic_blocks) > before.get(one.alias, -1)]


def _clear_frames(error: BaseException | None) -> None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _unwind(one: BaseDatabaseWrapper, depth: int) -> None:
    while len(one.atomic_blocks) > depth:
        one.atomic_blocks[-1].__exit__(LeftOpen, LeftOpen(), None)


def _replace(one: BaseDatabaseWrapper) -> None:
    for block in one.atomic_blocks:
        _disown(block, one.alias)
    # The server rolls back what is not committed.
    with suppress(Exception):
        one.close()
    _forget(one)


def _forget(one: BaseDatabaseWrapper) -> None:
    del this_thread.connections[one.alias]
    if connections[one.alias] is one:
        del connections[one.alias]


#: Kinds of objects that hold the block of an unfinished ``with`` statement.
_SUSPENDED = (MethodType, GeneratorType, CoroutineType, AsyncGeneratorType, FrameType)


def _disown(block: Any, alias: str) -> None:
    """Keep a generator that is still referenced from ending this block in the transaction of another task.

    When it is collected or goes on, ``Atomic.__exit__`` looks up the connection of its thread by name, and would end a
    transaction that is open there. So the block gets a name that no connection has. A block with other users, such as
    that of a decorator, is left alone: a decorated function cannot be suspended.
    """
    holders = [one for one in gc.get_referrers(block) if not isinstance(one, list)]
    if all(isinstance(one, _SUSPENDED) for one in holders):
        block.using = f"{alias}, whose transaction was rolled back when its task ended"


def _close_others(before: Mapping[str, int]) -> None:
    """Close the other connections: an interrupt may have hit between taking an advisory lock and the ``try``."""
    for alias, one in this_thread.connections.items():
        if alias not in before:
            one.close()
