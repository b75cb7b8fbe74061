"""System checks: mistakes across settings, found by ``manage.py check`` and at every start.

Those that ask the database are made by ``check --database default``, ``migrate`` and ``runworkers``.
"""

import socket
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection

#: Database sessions of a process at most; a worker has one more for each of its threads, and the api one for each
#: thread that serves a request (``tests/acceptance/test_session_counts.py`` counts them).
SCHEDULER_SESSIONS = 7
SUPERVISOR_SESSIONS = 2
WORKER_SESSIONS = 6
API_SESSIONS = 2


@register()
def check_lease(**_: Any) -> list[CheckMessage]:
    """A worker needs more than one heartbeat within its lease, or one lost packet costs it its tasks."""
    if settings.WORKER_LEASE_SECONDS >= 2 * settings.HEARTBEAT_INTERVAL_SECONDS:
        return []
    return [
        Error(
            f"WORKER_LEASE_SECONDS is {settings.WORKER_LEASE_SECONDS:g}, less than two heartbeats of "
            f"{settings.HEARTBEAT_INTERVAL_SECONDS:g} s.",
            hint="Make the lease at least twice HEARTBEAT_INTERVAL_SECONDS; three times is the default.",
            id="tasks.E001",
        )
    ]


@register()
def check_submission_limit(**_: Any) -> list[CheckMessage]:
    """Buckets in memory are one process's own: with several, the limit would be a multiple of what it says."""
    if settings.REDIS_URL or settings.SUBMIT_RATE_LIMIT is None or settings.WEB_CONCURRENCY == 1:
        return []
    return [
        Error(
            f"SUBMIT_RATE_LIMIT needs Redis, because WEB_CONCURRENCY is {settings.WEB_CONCURRENCY}.",
            hint="Set REDIS_URL, or WEB_CONCURRENCY=1, or SUBMIT_RATE_LIMIT=0.",
            id="tasks.E002",
        )
    ]


@register(Tags.database)
def check_sessions(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The server has room for the sessions of the workers that are alive, of a scheduler and of the api."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    return sessions_that_do_not_fit(processes=0, threads=0)


def sessions_that_do_not_fit(*, processes: int, threads: int) -> list[CheckMessage]:
    """Warn if what is about to be started here cannot have the sessions that it needs, beside what runs elsewhere.

    Parameters:
        processes: worker processes that are started on this machine; 0 = count those that run on it.
        threads: of each of them.
    """
    try:
        room = _room()
        workers, working = _alive(but_on=socket.gethostname() if processes else None)
    except DatabaseError:
        # Not migrated, or away: others say so.
        return []
    workers, working = workers + processes, working + processes * threads
    need = working + workers * WORKER_SESSIONS + (SUPERVISOR_SESSIONS if workers else 0) + SCHEDULER_SESSIONS
    need += settings.WEB_CONCURRENCY * API_SESSIONS
    if room is None or need <= room:
        return []
    return [
        Caution(
            f"{workers} worker processes with {working} threads in all, a scheduler and the api may need {need} "
            f"sessions of PostgreSQL, which has {room} for them.",
            hint="Raise max_connections, start fewer processes or threads, or put a pooler in between "
            "(docs/deploy.md, Database sessions).",
            id="tasks.W001",
        )
    ]


_ROOM = """
SELECT pg_backend_pid(), role.rolconnlimit, base.datconnlimit,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
       - coalesce(current_setting('reserved_connections', true), '0')::integer
FROM pg_roles AS role, pg_database AS base
WHERE role.rolname = session_user AND base.datname = current_database()
"""


def _room() -> int | None:
    """How many sessions the server gives to this user and database; None behind a pooler, which shares them out."""
    with connection.cursor() as cursor:
        cursor.execute(_ROOM)
        process, *limits = cursor.fetchone()
        is_pooled = process != cursor.connection.info.backend_pid
    return None if is_pooled else min(limit for limit in limits if limit >= 0)


_ALIVE = """
SELECT count(*), coalesce(sum(threads), 0) FROM callboard_worker
WHERE status = 'ALIVE' AND lease_expires_at > statement_timestamp() AND host IS DISTINCT FROM %s
"""


def _alive(*, but_on: str | None) -> tuple[int, int]:
    """Count the worker processes that are alive, and their threads."""
    with connection.cursor() as cursor:
        cursor.execute(_ALIVE, [but_on])
        workers, threads = cursor.fetchone()
        return int(workers), int(threads)
