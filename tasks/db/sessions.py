"""Database sessions of the product's own threads, and which sessions a thread has."""

import threading
import time
from typing import Any

import structlog
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

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


class ThreadSessions(threading.local):
    """What is known about a thread's sessions."""

    def __init__(self) -> None:
        self.asked = 0.0
        #: Its connections that were ever open, by alias. To ask Django costs 5 µs, and every task would pay it twice.
        self.connections: dict[str, BaseDatabaseWrapper] = {}


this_thread = ThreadSessions()


def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    this_thread.connections[connection.alias] = connection


connection_created.connect(_note, dispatch_uid="callboard.sessions")


def refresh() -> None:
    """Give up the calling thread's session if it broke or is old, as Django does between requests.

    Django asks the server then, which costs as much as a small statement does; so not in every round.
    """
    now = time.monotonic()
    if connection.errors_occurred or now - this_thread.asked >= ASK_EVERY_SECONDS:
        this_thread.asked = now
        close_old_connections()


def renew() -> None:
    """Give up sessions of the calling thread that broke or are old, as Django does between requests."""
    for one in this_thread.connections.values():
        if not _is_open(one):
            one.close_if_unusable_or_obsolete()
    this_thread.asked = time.monotonic()


def is_renewal_due() -> bool:
    """Tell whether one of the calling thread's sessions broke, or was not asked for a while."""
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
    """Tell whether a connection is in a transaction, in whatever way it was begun: ``atomic()``, autocommit, BEGIN."""
    if one.in_atomic_block or one.connection is None:
        return one.in_atomic_block
    if one.autocommit != one.settings_dict["AUTOCOMMIT"]:
        return True
    return one.vendor == "postgresql" and one.connection.info.transaction_status in _IN_TRANSACTION
