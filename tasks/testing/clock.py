"""Time travel: moves the database's clock as the calling thread's session sees it.

Everything that Callboard decides by time is decided in SQL, by ``statement_timestamp()``. A session that travels gets a
schema in its ``search_path`` whose functions of that name take the place of PostgreSQL's own. So each statement is that
of production and finds another time. Other sessions, Python's clock and the defaults of columns stay in the present.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg2.extensions
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from tasks.db.statements import fetch

# clock_timestamp() moves within a statement, the others do not.
_FUNCTIONS = {
    "statement_timestamp": "STABLE",
    "transaction_timestamp": "STABLE",
    "now": "STABLE",
    "clock_timestamp": "VOLATILE",
}
_INSTALL = "CREATE SCHEMA IF NOT EXISTS callboard_clock;" + "".join(
    f"""
CREATE OR REPLACE FUNCTION callboard_clock.{name}() RETURNS timestamptz LANGUAGE sql {volatility} AS
$$ SELECT pg_catalog.{name}() + pg_catalog.current_setting('callboard.travelled')::interval $$;"""
    for name, volatility in _FUNCTIONS.items()
)
# Behind the path's own schemas, or new tables would be made there. PostgreSQL's own comes first unless it is named.
_DEPART = """
SELECT set_config('callboard.travelled', %(travelled)s, false),
       CASE WHEN current_setting('search_path') NOT LIKE '%%callboard_clock%%'
            THEN set_config('search_path', current_setting('search_path') || ', callboard_clock, pg_catalog', false) END
"""
_RETURN = """
SELECT set_config('search_path', replace(current_setting('search_path'), ', callboard_clock, pg_catalog', ''), false)
"""

Move = Callable[[datetime], None]

#: How far the session is from the present.
_travelled = timedelta()


def now() -> datetime:
    """Read the clock that the session's statements see."""
    ((moment,),) = fetch("SELECT statement_timestamp()", {})
    return moment  # type: ignore[no-any-return]


@contextmanager
def travel(*, to: datetime | None = None, by: timedelta | None = None) -> Iterator[None]:
    """Let the database's clock show another time within the block; it goes on from there.

    Journeys may be nested; ``by`` counts from the time of the journey around it. Python's own clock does not move.

    Parameters:
        to: an aware datetime.
        by: how far from now.

    Raises:
        ValueError: none of the two is given, or both, or a datetime without a time zone.
    """
    if (to is None) == (by is None):
        raise ValueError("expected one of to=… and by=…, as in travel(by=timedelta(hours=1))")
    with travelling() as move:
        move(moment(by if to is None else to))
        yield


@contextmanager
def travelling() -> Iterator[Move]:
    """Give a function that moves the clock; the end of the block moves it back to where it was."""
    before = _travelled
    try:
        yield _move
    finally:
        if is_aborted(connection):
            # The rollback of the test's transaction takes the journey back.
            _remember(before)
        elif _travelled != before:
            _set(before)


def moment(given: datetime | timedelta | None) -> datetime:
    """Turn a duration from now, or an aware datetime, into a datetime.

    Raises:
        ValueError: it has no time zone.
        TypeError: it is something else.
    """
    if isinstance(given, timedelta):
        return now() + given
    if not isinstance(given, datetime):
        raise TypeError(f"expected a datetime or a timedelta, got {given!r}")
    if given.tzinfo is None:
        raise ValueError(f"expected a datetime with a time zone, got {given.isoformat()}: use timezone.now() + …")
    return given


def is_aborted(one: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection's transaction can only be rolled back."""
    session: Any = one.connection
    aborted = psycopg2.extensions.TRANSACTION_STATUS_INERROR
    return one.needs_rollback or (session is not None and session.info.transaction_status == aborted)


def _move(to: datetime) -> None:
    _set(_travelled + (to - now()))


def _set(travelled: timedelta) -> None:
    if not travelled:
        fetch(_RETURN, {})
    else:
        if not _travelled:
            with connection.cursor() as cursor:
                cursor.execute(_INSTALL)
        _depart(travelled)
    _remember(travelled)


def _remember(travelled: timedelta) -> None:
    global _travelled
    _travelled = travelled
    if travelled:
        # Outside of transactions Django may close a session and open another, which would be in the present.
        connection_created.connect(_depart_again, dispatch_uid=__name__)
    else:
        connection_created.disconnect(dispatch_uid=__name__)


def _depart(travelled: timedelta) -> None:
    fetch(_DEPART, {"travelled": f"{travelled.total_seconds()} seconds"})


def _depart_again(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.alias == DEFAULT_DB_ALIAS:
        _depart(_travelled)
