"""Faults done to servers: frozen, without a free connection, with a locked table, with their sessions ended."""

import contextlib
from collections.abc import Iterator, Sequence

import psutil
import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class by the name of a function

from scheduler_site.embedded.server import Server
from tests.acceptance.harness.database import Database
from tests.acceptance.harness.processes import pause, resume
from tests.waiting import wait_until

#: All sessions in this database except the one that asks and those of the tests.
_OTHERS = """
SELECT count(*), bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> ALL(%s::integer[]) AND pid <> pg_backend_pid()
"""


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Freeze a server and all its children; connections to it stay open and get no answer."""
    # The parent first, so that it starts no more children.
    pids = [server.pid]
    pause(server.pid)
    try:
        for child in psutil.Process(server.pid).children(recursive=True):
            pids.append(child.pid)
            pause(child.pid)
        yield
    finally:
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                resume(pid)


def end_sessions(database: Database) -> int:
    """End every session with the database; return how many there were."""
    ((count, _),) = database.query(_OTHERS, [[]])
    return int(count)


@contextlib.contextmanager
def locked(database: Database, table: str) -> Iterator[None]:
    """Hold a lock on a table that blocks even reads."""
    with contextlib.closing(psycopg2.connect(database.url)) as session, session.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@contextlib.contextmanager
def locked_rows(database: Database, tasks: Sequence[str]) -> Iterator[None]:
    """Lock the rows of some tasks, as another transaction may do for a while."""
    with contextlib.closing(psycopg2.connect(database.url)) as session, session.cursor() as cursor:
        cursor.execute("SELECT id FROM callboard_task WHERE id = ANY(%s::uuid[]) FOR UPDATE", [list(tasks)])
        yield


@contextlib.contextmanager
def without_free_connections(database: Database) -> Iterator[None]:
    """Take every connection of the server, including those of Callboard's processes."""
    with contextlib.ExitStack() as stack:
        hoard: list[Connection] = []
        stack.callback(_close_all, hoard)
        chief = stack.enter_context(contextlib.closing(psycopg2.connect(database.url)))
        chief.autocommit = True
        # Repeatedly, because the processes reconnect.
        wait_until(lambda: _is_alone(chief, database, hoard), timeout=60, what="all connections to be taken")
        yield


def _close_all(sessions: list[Connection]) -> None:
    for session in sessions:
        session.close()


def _is_alone(chief: Connection, database: Database, hoard: list[Connection]) -> bool:
    """End the sessions of others and take all free connections; return whether there were none to end."""
    with chief.cursor() as cursor:
        cursor.execute(_OTHERS, [[one.info.backend_pid for one in hoard]])
        ((count, _),) = cursor.fetchall()
    with contextlib.suppress(psycopg2.OperationalError):
        while True:
            hoard.append(psycopg2.connect(database.url))
    return not count
