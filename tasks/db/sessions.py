"""Database sessions of the engine's threads, and what actors leave behind in those of theirs."""

import gc
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.db import close_old_connections, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from tasks.current import Run
    from tasks.worker.execution import Execution

log = structlog.get_logger(__name__)

#: For libpq: a server whose machine is gone answers nothing, and without these a session would wait for minutes.
NOTICES_DEAD_SERVER = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def use_direct_session(*, commits_asynchronously: bool = False) -> None:
    """Give the calling thread a connection of its own kind; call it before the thread's first query.

    The options go with the connection request, not with SET: a pooler would leak those to others. A statement that is
    not done after a third of the lease is given up: while it waits for a lock it holds the term, and nobody could take
    over.
    """
    options = {"statement_timeout": f"{int(settings.LEADER_LEASE_SECONDS * 1000 / 3)}ms"}
    if commits_asynchronously:
        options["synchronous_commit"] = "off"
    flags = " ".join(f"-c {name}={value}" for name, value in options.items())
    direct = {**connection.settings_dict, **settings.DIRECT_DATABASE}
    given = direct["OPTIONS"].get("options", "")
    connection.close()
    connection.settings_dict = {
        **direct,
        "OPTIONS": {**direct["OPTIONS"], **NOTICES_DEAD_SERVER, "options": f"{given} {flags}".strip()},
    }


#: A session that was asked a moment ago is taken to be there; if it is not, its next statement fails and says so.
ASK_EVERY_SECONDS = 1.0


class _Thread(threading.local):
    """What is known about the calling thread."""

    def __init__(self) -> None:
        self.asked = 0.0
        #: Its connections that were ever open, by alias. To ask Django costs 5 µs, and every task would pay it twice.
        self.connections: dict[str, BaseDatabaseWrapper] = {}


_thread = _Thread()


def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _thread.connections[connection.alias] = connection


connection_created.connect(_note, dispatch_uid="callboard.sessions")


def refresh() -> None:
    """Give up the calling thread's session if it broke or is old, as Django does between requests.

    Django asks the server then, which costs as much as a small statement does; so not in every round.
    """
    now = time.monotonic()
    if connection.errors_occurred or now - _thread.asked >= ASK_EVERY_SECONDS:
        _thread.asked = now
        close_old_connections()


# --- What a run leaves behind -----------------------------------------------------------------------------------


class LeftOpen(Exception):
    """What a block is rolled back with that its task has not left."""


def open_blocks() -> dict[str, int]:
    """Tell how deep the calling thread is in transactions, by alias of those that are open; ask before a run.

    None is, unless somebody runs tasks in a transaction of their own, as a test may.
    """
    found = {}
    for one in _open():
        if one.closed_in_transaction:
            # Somebody closed it in the middle of a block: it would refuse whoever comes next.
            _replace(one)
        else:
            found[one.alias] = len(one.atomic_blocks)
    return found


def renew() -> None:
    """Give up sessions of the calling thread that broke or are old, as Django does between requests."""
    for one in _thread.connections.values():
        if not _is_open(one):
            one.close_if_unusable_or_obsolete()
    _thread.asked = time.monotonic()


def is_renewal_due() -> bool:
    """Tell whether one of the calling thread's sessions broke, or was not asked for a while."""
    if not _thread.connections:
        return False
    is_old = time.monotonic() - _thread.asked >= ASK_EVERY_SECONDS
    return is_old or any(one.errors_occurred for one in _thread.connections.values())


def take_out() -> dict[str, BaseDatabaseWrapper]:
    """Take what is in a transaction out of the calling thread, by alias; the next query there opens another session."""
    taken = {one.alias: one for one in _open()}
    for one in taken.values():
        _forget(one)
    return taken


def put_in(taken: Mapping[str, BaseDatabaseWrapper]) -> dict[str, BaseDatabaseWrapper]:
    """Make these the calling thread's; return what was there, by alias, to be put in again."""
    before = {alias: one for alias, one in _thread.connections.items() if alias in taken}
    for alias, one in taken.items():
        _thread.connections[alias] = connections[alias] = one
    return before


def close(aliases: Iterable[str]) -> None:
    """Close the calling thread's sessions with these databases."""
    for one in [_thread.connections[alias] for alias in aliases if alias in _thread.connections]:
        one.close()
        _forget(one)


def tidy(execution: "Execution", before: Mapping[str, int]) -> None:
    """Bring the calling thread out of every transaction that a run has begun and not ended, and say whose it was.

    To be called when no interrupt can arrive any more. It never raises.

    Parameters:
        before: what ``open_blocks`` said when the run began.
    """
    try:
        left = leave(before, execution.error)
        if left:
            report(execution, left)
        if execution.interrupts:
            _close_others(before)
    except Exception:
        log.exception("a thread's connections cannot be cleaned", task_id=str(execution.claimed.id))


def leave(before: Mapping[str, int], error: BaseException | None) -> list[str]:
    """Roll back and replace what is open in the calling thread and was not ``before``; return the aliases.

    Parameters:
        error: what the run ended with; its traceback keeps generators that are inside a transaction.
    """
    left = [one.alias for one in _left(before)]
    if not left:
        return left
    # A suspended generator ends its block when it is collected, on the connection that the collecting thread has then.
    # So now, in this thread.
    _clear_frames(error)
    gc.collect()
    for one in _left(before):
        if one.alias in before:
            _unwind(one, before[one.alias])
        else:
            _replace(one)
    return left


def report(run: "Run", aliases: list[str]) -> None:
    """Say whose transaction was rolled back."""
    text = f"left a transaction open in database {', '.join(aliases)}; it was rolled back"
    log.warning(f"an actor {text}", task_id=str(run.claimed.id), actor=run.claimed.actor)
    run.remark(text)


def _left(before: Mapping[str, int]) -> list[BaseDatabaseWrapper]:
    return [one for one in _open() if len(one.atomic_blocks) > before.get(one.alias, -1)]


def _open() -> list[BaseDatabaseWrapper]:
    return [one for one in _thread.connections.values() if _is_open(one)]


#: psycopg's TRANSACTION_STATUS_ACTIVE, _INTRANS and _INERROR; idle is 0, and 4 is a session that is lost.
_IN_TRANSACTION = frozenset({1, 2, 3})


def _is_open(one: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection is in a transaction, in whatever way it was begun: ``atomic()``, autocommit, BEGIN."""
    if one.in_atomic_block or one.connection is None:
        return one.in_atomic_block
    if one.autocommit != one.settings_dict["AUTOCOMMIT"]:
        return True
    return one.vendor == "postgresql" and one.connection.info.transaction_status in _IN_TRANSACTION


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
    del _thread.connections[one.alias]
    if connections[one.alias] is one:
        del connections[one.alias]


#: What holds the block of a ``with`` statement that is under way.
_SUSPENDED = (MethodType, GeneratorType, CoroutineType, AsyncGeneratorType, FrameType)


def _disown(block: Any, alias: str) -> None:
    """Keep a generator that somebody holds from ending this block in the transaction of another task.

    Whenever it is collected, or goes on, ``Atomic.__exit__`` looks up the connection of its thread by name, and would
    end what is open there. So it finds no such name. A block that others use as well, as that of a decorator, is left
    alone: nothing of a decorated function can be suspended.
    """
    holders = [one for one in gc.get_referrers(block) if not isinstance(one, list)]
    if all(isinstance(one, _SUSPENDED) for one in holders):
        block.using = f"{alias}, whose transaction was rolled back when its task ended"


def _close_others(before: Mapping[str, int]) -> None:
    """Close what is not in a transaction: an interrupt may have hit between taking an advisory lock and the ``try``."""
    for alias, one in _thread.connections.items():
        if alias not in before:
            one.close()
