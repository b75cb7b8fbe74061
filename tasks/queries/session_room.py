"""How many database sessions there is room for, and who needs them."""

from typing import NamedTuple

from django.db import connection

from tasks.lifecycle.fence import LIVE_WORKER

_ROOM = """
SELECT pg_backend_pid(), role.rolconnlimit, base.datconnlimit,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
       - coalesce(current_setting('reserved_connections', true), '0')::integer
FROM pg_roles AS role, pg_database AS base
WHERE role.rolname = session_user AND base.datname = current_database()
"""


def room() -> int | None:
    """Return how many sessions the server gives to this user and database; None behind a pooler, which shares them."""
    with connection.cursor() as cursor:
        cursor.execute(_ROOM)
        process, *limits = cursor.fetchone()
        is_pooled = process != cursor.connection.info.backend_pid
    return None if is_pooled else min(limit for limit in limits if limit >= 0)


class LiveWorkers(NamedTuple):
    """How many worker processes are alive, and their threads together."""

    processes: int
    threads: int


_LIVE_WORKERS = f"""
SELECT count(*), coalesce(sum(threads), 0) FROM callboard_worker AS worker
WHERE {LIVE_WORKER} AND host IS DISTINCT FROM %s
"""


def live_workers(*, except_on: str | None) -> LiveWorkers:
    """Count live workers.

    Parameters:
        except_on: a host that is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_WORKERS, [except_on])
        processes, threads = cursor.fetchone()
        return LiveWorkers(int(processes), int(threads))
