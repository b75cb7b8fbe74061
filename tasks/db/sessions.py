"""Database sessions: those of Callboard's own threads, and the ones that any thread has open."""

import threading
import time
from typing import Any

import psycopg2
import psycopg2.extensions
from django.db import close_old_connections, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from tasks.conf import conf
from tasks.log import get_logger

log = get_logger(__name__)

#: Options for libpq. A server whose machine is gone does not answer, and without these a session waits for minutes.
NOTICES_DEAD_SERVER = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def connect_directly() -> psycopg2.extensions.connection:
    """Open a session that bypasses the pooler and is the caller's own to close, outside of Django's."""
    own = connection.copy()
    own.settings_dict = _direct_settings()
    session: psycopg2.extensions.connection = psycopg2.connect(**own.get_connection_params())
    return session


def use_direct_session(*, commits_asynchronously: bool = False) -> None:
    """Give the calling thread a direct session for a leader's work; call it before the thread's first query.

    The options are part of the connection request and not set by SET, which a pooler would leak to other clients. A
    statement is cancelled after a third of the lease: while it waits for a lock it holds the term, and no other
    scheduler could take over.
    """
    options = {"statement_timeout": f"{int(conf.LEADER_LEASE_SECONDS * 1000 / 3)}ms"}
    if commits_asynchronously:
        options["synchronous_commit"] = "off"
    flags = " ".join(f"-c {name}={value}" for name, value in options.items())
    direct = _direct_settings()
    given = direct["OPTIONS"].get("options", "")
    connection.close()
    connection.settings_dict = {**direct, "OPTIONS": {**direct["OPTIONS"], "options": f"{given} {flags}".strip()}}


def _direct_settings() -> dict[str, Any]:
    direct = {**connection.settings_dict, **conf.DIRECT_DATABASE}
    return {**direct, "OPTIONS": {"connect_timeout": 5, **direct["OPTIONS"], **NOTICES_DEAD_SERVER}}


#: A session that was checked this recently is trusted. If it is lost after all, its next statement fails.
ASK_EVERY_SECONDS = 1.0


class ThreadSessions(threading.local):
    """A thread's sessions, and when they were checked."""

    def __init__(self) -> None:
        self.asked = 0.0
        #: Its connections that were ever open, by alias. Asking Django costs 5 µs, which every task would pay twice.
        self.connections: dict[str, BaseDatabaseWrapper] = {}


this_thread = ThreadSessions()


def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    this_thread.connections[connection.alias] = connection


connection_created.connect(_note, dispatch_uid="callboard.sessions")


def refresh() -> None:
    """Close the calling thread's session if it is broken or old, as Django does between requests.

    Django then asks the server, which costs as much as a small statement, so this does it once a second at most.
    """
    now = time.monotonic()
    if connection.errors_occurred or now - this_thread.asked >= ASK_EVERY_SECONDS:
        this_thread.asked = now
        close_old_connections()


def renew() -> None:
    """Close all sessions of the calling thread that are broken or old, as Django does between requests."""
    for one in this_thread.connections.values():
        if not _is_open(one):
            one.close_if_unusable_or_obsolete()
    this_thread.asked = time.monotonic()


def is_renewal_due() -> bool:
    """Tell whether one of the calling thread's sessions is broken, or was not checked for a while."""
    if not this_thread.connections:
        return False
    is_old = time.monotonic() - this_thread.asked >= ASK_EVERY_SECONDS
    return is_old or any(one.errors_occurred for one in this_thread.connections.values())


def in_transaction() -> list[BaseDatabaseWrapper]:
    """List the calling thread's sessions that are in a transaction."""
    return [one for one in this_thread.connections.values() if _is_open(one)]


#: psycopg's TRANSACTION_STATUS_ACTIVE, _INTRANS and _INERROR; idle is 0, and 4 is a session that is lost.
_IN_TRANSACTION = frozenset({1, 2, 3})


def _is_open(one: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection is in a transaction, begun by ``atomic()``, without autocommit, or by BEGIN."""
    if one.in_atomic_block or one.connection is None:
        return one.in_atomic_block
    if one.autocommit != one.settings_dict["AUTOCOMMIT"]:
        return True
    return one.vendor == "postgresql" and one.connection.info.transaction_status in _IN_TRANSACTION
