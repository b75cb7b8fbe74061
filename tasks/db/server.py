"""What the database server says about itself: that it answers, and how many sessions it has room for."""

from django.db import connection

from tasks.circuit_breaker import CircuitBreaker
from tasks.db import call_timeout

#: How long a probe may connect and ask.
PROBE_SECONDS = 3.0


def ping() -> None:
    """Ask the server for a sign of life.

    Raises:
        django.db.DatabaseError: it is away, or refuses this process.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _probe() -> None:
    """Ask on a session of its own, which ends with the probe: threads come and go."""
    try:
        with call_timeout.bounded(PROBE_SECONDS):
            ping()
    finally:
        connection.close()


#: Whether the server answers this process; guards the api's requests.
breaker = CircuitBreaker("database", _probe)


_ROOM = """
SELECT pg_backend_pid(), role.rolconnlimit, base.datconnlimit,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
       - coalesce(current_setting('reserved_connections', true), '0')::integer
FROM pg_roles AS role, pg_database AS base
WHERE role.rolname = session_user AND base.datname = current_database()
"""


def session_room() -> int | None:
    """Tell how many sessions this user may have in this database; None behind a pooler, which shares them out."""
    with connection.cursor() as cursor:
        cursor.execute(_ROOM)
        process, *limits = cursor.fetchone()
        is_pooled = process != cursor.connection.info.backend_pid
    return None if is_pooled else min(limit for limit in limits if limit >= 0)
