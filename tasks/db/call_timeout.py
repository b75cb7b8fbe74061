"""Call time-outs: close the connection to a database that went silent in the middle of a call.

psycopg2 waits for an answer without limit. The kernel's keepalives notice that the other machine is gone, but not that
a pooler or a firewall in between has lost a connection and still acknowledges its packets. A thread of the engine would
then wait for ever, and its process would look alive.

The server is first asked, on another connection, to cancel the call: otherwise a call that waits for a lock would leave
a session behind that goes on waiting for it.
"""

import ctypes
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import psycopg2
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections

from tasks.circuit_breaker import CircuitBreaker
from tasks.log import get_logger

# The library that psycopg2 is linked with, whichever that is.
_libpq, _libpq_locked = ctypes.CDLL(psycopg2._psycopg.__file__), ctypes.PyDLL(psycopg2._psycopg.__file__)
_libpq_locked.PQgetCancel.restype = ctypes.c_void_p

log = get_logger(__name__)

LOOK_SECONDS = 0.5
#: How long a server has to act on the request to cancel a call.
CANCEL_SECONDS = 2.0
#: A guarded block that takes longer lets its circuit breaker look whether the server answers at all.
SUSPECT_SECONDS = 1.0


class TimeOver(OperationalError):
    """A block has used its time up, and the server was not asked."""


class CircuitOpen(OperationalError):
    """The server does not answer anybody, and was not asked."""


@dataclass
class _Call:
    session: Any
    #: By ``time.monotonic()``; moved on when the call was cancelled or the connection closed.
    deadline: float
    #: The deadline as it was set.
    ends_at: float
    breaker: CircuitBreaker | None
    suspect_at: float
    is_cancelled: bool = False


_lock = threading.Lock()
#: By thread.
_calls: dict[int, _Call] = {}
#: When each thread's last bounded block ended; thread ids are used again.
_ended: dict[int | None, float] = {}
_watcher: threading.Thread | None = None
_to_cancel: SimpleQueue[Any] = SimpleQueue()


def stalled_seconds(thread_id: int | None, *, since: float) -> float:
    """Tell for how long a thread that made progress at ``since`` has neither gone on nor waited for the database.

    It is 0 in a bounded block, which has a time-out, and counts from the end of the last one. Takes no lock.

    Parameters:
        thread_id: None if the thread has not started.
        since: by ``time.monotonic()``.
    """
    # In this order: a block notes its end before it is over.
    if thread_id in _calls:
        return 0.0
    return max(0.0, time.monotonic() - max(since, _ended.get(thread_id, since)))


def left_seconds() -> float | None:
    """Tell how much of its time the calling thread's bounded block has left; None outside of such blocks."""
    call = _calls.get(threading.get_ident())
    return None if call is None else call.ends_at - time.monotonic()


def refuse() -> None:
    """Refuse a database call that the calling thread's guarded block has no time for, or the server no answer.

    Raises:
        TimeOver: the block has no time left.
        CircuitOpen: the server answers nobody at the moment.
    """
    call = _calls.get(threading.get_ident())
    if call is None or call.breaker is None:
        return
    if call.breaker.is_open:
        raise CircuitOpen(f"the {call.breaker.name} does not answer; it is not asked until it answers a probe")
    if time.monotonic() > call.ends_at:
        raise TimeOver("the time for this block's database calls is over")


@contextmanager
def bounded(seconds: float, *, breaker: CircuitBreaker | None = None) -> Iterator[None]:
    """Let the calling thread's database calls fail like a lost connection once the block has taken that long.

    When blocks are nested, the innermost deadline applies.

    Parameters:
        breaker: guards the block: its calls fail at once while the server answers nobody, and when its time is over.
    """
    thread = threading.get_ident()
    began_at = time.monotonic()
    ends_at = began_at + seconds
    call = _Call(connections[DEFAULT_DB_ALIAS], ends_at, ends_at, breaker, began_at + SUSPECT_SECONDS)
    with _lock:
        outer = _calls.get(thread)
        _calls[thread] = call
        _start_watching()
    try:
        yield
    finally:
        # Under the lock that _hang_up() takes, so that it never closes a connection during the thread's next call. A
        # cancel that is on its way may hit that call, which then fails as if the connection were lost.
        with _lock:
            if outer is None:
                _ended[thread] = time.monotonic()
                del _calls[thread]
            else:
                _calls[thread] = outer


def _start_watching() -> None:
    global _watcher
    # Lazily, and again in a forked process.
    if _watcher is None or not _watcher.is_alive():
        _watcher = threading.Thread(target=_watch, name="call-timeout", daemon=True)
        _watcher.start()
        threading.Thread(target=_cancel, name="call-timeout-cancel", daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        _suspect()
        for call in _overdue():
            if call.is_cancelled or (call.breaker is not None and call.breaker.is_open):
                _hang_up(call)
            else:
                call.is_cancelled, call.deadline = True, time.monotonic() + CANCEL_SECONDS
                _to_cancel.put(call.session.connection)


def _suspect() -> None:
    now = time.monotonic()
    with _lock:
        breakers = {
            id(call.breaker): call.breaker for call in _calls.values() if call.breaker and now > call.suspect_at
        }
    for breaker in breakers.values():
        breaker.suspect()


def _overdue() -> list[_Call]:
    now = time.monotonic()
    with _lock:
        return [call for call in _calls.values() if now > call.deadline]


def _cancel() -> None:
    """Ask the server to cancel overdue calls; their threads get an error and keep their sessions.

    It has a thread of its own, because asking a silent server takes as long as the call itself.
    """
    while True:
        session = _to_cancel.get()
        if session is not None:
            _cancel_call(session)


def _cancel_call(session: Any) -> None:
    """Do as psycopg2's ``cancel()``, which keeps the interpreter's lock: a frozen server would freeze all threads."""
    # Under the lock, so that no other thread closes the connection meanwhile; the copy outlives it.
    address = session.pgconn_ptr
    copied = _libpq_locked.PQgetCancel(ctypes.c_void_p(address)) if address else None
    if copied:
        message = ctypes.create_string_buffer(256)
        _libpq.PQcancel(ctypes.c_void_p(copied), message, len(message))
        _libpq.PQfreeCancel(ctypes.c_void_p(copied))


def _hang_up(call: _Call) -> None:
    """Close the connection on this side, so that the thread that waits for an answer gets an error."""
    with _lock:
        if call not in _calls.values():
            # The call returned in between, and its thread may already use the session for the next one.
            return
        # If another connection goes silent in the same block, it is closed too.
        call.deadline = time.monotonic() + CANCEL_SECONDS
        session = call.session.connection
        if session is None:
            # It is not connected yet; connecting has a time-out of its own.
            return
        with suppress(OSError, psycopg2.Error), closing(socket.socket(fileno=os.dup(session.fileno()))) as line:
            line.shutdown(socket.SHUT_RDWR)
    log.warning("the database was silent for too long; closing the connection")
