"""Hangs up on a database that went silent in the middle of a call.

psycopg2 waits for an answer without limit. The kernel's keepalives find out that the other machine is gone, but not
that a pooler or a firewall in between has lost a connection which it goes on to acknowledge. A thread of the engine
would then wait for ever, and its process look alive.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2
import structlog
from django.db import DEFAULT_DB_ALIAS, connections

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5

_lock = threading.Lock()
#: By thread: its connection, when it has waited for too long, and what that means.
_calls: dict[int, tuple[Any, float, float]] = {}
_watcher: threading.Thread | None = None


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Let what the calling thread asks the database fail like a lost connection once the block has taken that long.

    Of blocks in one another, the innermost counts.
    """
    thread = threading.get_ident()
    call = (connections[DEFAULT_DB_ALIAS], time.monotonic() + seconds, seconds)
    with _lock:
        outer = _calls.get(thread)
        _calls[thread] = call
        _start_watching()
    try:
        yield
    finally:
        # Under the lock that hanging up takes: it never hits what the thread does next.
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


def _watch() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        with _lock:
            for thread, (session, deadline, seconds) in _calls.items():
                if time.monotonic() > deadline:
                    _hang_up(session.connection)
                    # Once more if another connection, in the same block, goes silent too.
                    _calls[thread] = (session, time.monotonic() + seconds, seconds)


def _hang_up(session: Any) -> None:
    """End the conversation from our side, so that the thread which waits for an answer gets an error."""
    if session is None:
        # It is not connected yet; a connect has a limit of its own.
        return
    with suppress(OSError, psycopg2.Error), closing(socket.socket(fileno=os.dup(session.fileno()))) as line:
        line.shutdown(socket.SHUT_RDWR)
        log.warning("the database was silent for too long; hanging up")
