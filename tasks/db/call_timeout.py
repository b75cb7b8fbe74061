"""Hangs up on a database that went silent in the middle of a call.

psycopg2 waits for an answer without limit. The kernel's keepalives find out that the other machine is gone, but not
that a pooler or a firewall in between has lost a connection which it goes on to acknowledge. A thread of the engine
would then wait for ever, and its process look alive.

A server that answers on another connection is asked to cancel the call first: whoever waits for a lock would else leave
a session behind that goes on waiting for it.
"""

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
import structlog
from django.db import DEFAULT_DB_ALIAS, connections

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
#: How long a server has to heed the request to cancel a call.
CANCEL_SECONDS = 2.0


@dataclass
class _Call:
    session: Any
    #: By ``time.monotonic()``; pushed on when something was done about it.
    deadline: float
    is_cancelled: bool = False


_lock = threading.Lock()
#: By thread.
_calls: dict[int, _Call] = {}
_watcher: threading.Thread | None = None
_to_cancel: SimpleQueue[Any] = SimpleQueue()


def is_calling(thread_id: int | None) -> bool:
    """Tell whether a thread is in a bounded block: it waits for the database, however long that takes."""
    return thread_id in _calls


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Let what the calling thread asks the database fail like a lost connection once the block has taken that long.

    Of blocks in one another, the innermost counts.
    """
    thread = threading.get_ident()
    call = _Call(connections[DEFAULT_DB_ALIAS], time.monotonic() + seconds)
    with _lock:
        outer = _calls.get(thread)
        _calls[thread] = call
        _start_watching()
    try:
        yield
    finally:
        # Under the lock that hanging up takes: it never hits what the thread does next. A cancel that is on its way
        # may, which is an error like that of a lost connection.
        with _lock:
            if outer is None:
                del _calls[thread]
            else:
                _calls[thread] = outer


def _start_watching() -> None:
    global _watcher
    # Lazily, and again in a process that was forked.
    if _watcher is None or not _watcher.is_alive():
        _watcher = threading.Thread(target=_watch, name="silence", daemon=True)
        _watcher.start()
        threading.Thread(target=_cancel, name="silence-cancel", daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        for call in _overdue():
            if call.is_cancelled:
                _hang_up(call)
            else:
                call.is_cancelled, call.deadline = True, time.monotonic() + CANCEL_SECONDS
                _to_cancel.put(call.session.connection)


def _overdue() -> list[_Call]:
    now = time.monotonic()
    with _lock:
        return [call for call in _calls.values() if now > call.deadline]


def _cancel() -> None:
    """Ask the server to end what sessions wait for; their threads get an error and keep them.

    A thread of its own: to a server that is silent it takes as long as the call itself.
    """
    while True:
        session = _to_cancel.get()
        if session is not None:
            with suppress(psycopg2.Error):
                session.cancel()


def _hang_up(call: _Call) -> None:
    """End the conversation from our side, so that the thread which waits for an answer gets an error."""
    with _lock:
        if call not in _calls.values():
            # It came back in between, and the session serves what its thread does next.
            return
        # Again if another connection, in the same block, goes silent too.
        call.deadline = time.monotonic() + CANCEL_SECONDS
        session = call.session.connection
        if session is None:
            # It is not connected yet; a connect has a limit of its own.
            return
        with suppress(OSError, psycopg2.Error), closing(socket.socket(fileno=os.dup(session.fileno()))) as line:
            line.shutdown(socket.SHUT_RDWR)
    log.warning("the database was silent for too long; hanging up")
