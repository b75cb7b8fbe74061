"""How statements reach PostgreSQL: a batch travels as one JSON parameter, and frequent statements are prepared."""

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db import OperationalError, connection, transaction

from tasks.db.json_text import with_plain_floats


def fetch(
    statement: str, parameters: Mapping[str, Any], *, prepared: str = "", anywhere: bool = False
) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows.

    Parameters:
        prepared: a name for a statement that is run all the time. Planning it takes longer than running it for one
            task, so sessions of the engine (see ``keep_plans``) keep its plan under that name.
        anywhere: other sessions keep the plan too: the statement joins nothing, so one plan is right for any tables.
    """
    with connection.cursor() as cursor:
        if not prepared or not (anywhere or _thread.keeps_plans):
            cursor.execute(statement, parameters)
        else:
            _execute_kept(cursor, statement, parameters, name=prepared)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def keep_plans() -> None:
    """Let the calling thread's sessions keep the plans of all statements that have a name.

    This is for threads of the engine, whose sessions run nothing else. Their planner is told to use indexes and nested
    loops whatever the tables hold, since a plan that was made for an empty table would read all of a full one.
    """
    _thread.keeps_plans = True


@contextmanager
def by_index() -> Iterator[None]:
    """Let statements use indexes: the planner hopes to meet a common value early in a table, and may read all of it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        yield
        # The transaction may be the caller's.
        cursor.execute("SET LOCAL enable_seqscan = DEFAULT")


class _Thread(threading.local):
    keeps_plans = False


_thread = _Thread()


#: Django gives raw statements JSON columns as text.
loads = json.loads


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Encode a batch for ``json_to_recordset``; ids and times as text."""
    return with_plain_floats(json.dumps(rows, ensure_ascii=False, separators=(",", ":"), default=str))


class _Texts(NamedTuple):
    prepare: str
    execute: str


# Without jit: up to PostgreSQL 17 a forbidden plan counts as so expensive that each run would be compiled first.
_FOR_LIFE = """
SET jit = off; SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
"""
#: The names that each psycopg2 connection keeps; None if a pooler is in between.
_kept: WeakKeyDictionary[Any, set[str] | None] = WeakKeyDictionary()


def _execute_kept(cursor: Any, statement: str, parameters: Mapping[str, Any], *, name: str) -> None:
    names = _names_kept(cursor)
    if names is None:
        cursor.execute(statement, parameters)
        return
    texts = _texts(statement, name)
    if name not in names:
        cursor.execute(texts.prepare)
        names.add(name)
    try:
        cursor.execute(texts.execute, parameters)
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", None) == _UNKNOWN_NAME:
            names.clear()
        raise


def _names_kept(cursor: Any) -> set[str] | None:
    session = connection.connection
    if session in _kept:
        return _kept[session]
    if _thread.keeps_plans and connection.in_atomic_block:
        # Settings that are made now would be undone with the transaction.
        return None
    _kept[session] = set() if _is_direct(cursor, session) else None
    if _thread.keeps_plans and _kept[session] is not None:
        cursor.execute(_FOR_LIFE)
    return _kept[session]


#: A DISCARD ALL removed the prepared statements.
_UNKNOWN_NAME = "26000"


def _is_direct(cursor: Any, session: Any) -> bool:
    # A pooler gives its clients process ids of its own, and gives each transaction to another session of the server,
    # which would not know the name.
    cursor.execute("SELECT pg_backend_pid()")
    return bool(cursor.fetchone()[0] == session.info.backend_pid)


#: "lock_not_available": a lock could not be had in time, or at once.
_NO_LOCK = "55P03"


def is_lock_timeout(error: BaseException) -> bool:
    """Tell whether a statement failed because of another session's lock, while the database is well."""
    return getattr(error.__cause__, "pgcode", None) == _NO_LOCK


#: "query_canceled": the statement took too long, and a time-out or a person stopped it.
_CANCELLED = "57014"


def is_cancelled(error: BaseException) -> bool:
    """Tell whether a statement was stopped because it took too long, while the database is well."""
    return getattr(error.__cause__, "pgcode", None) == _CANCELLED


#: "read_only_sql_transaction": a standby, or a server that is being recovered.
_READ_ONLY = "25006"


def is_read_only(error: BaseException) -> bool:
    """Tell whether a statement was refused because the server takes no writes at the moment."""
    return getattr(error.__cause__, "pgcode", None) == _READ_ONLY


@cache
def _texts(statement: str, name: str) -> _Texts:
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${numbers.setdefault(found[1], len(numbers) + 1)}"

    body = re.sub(r"%\((\w+)\)s", number, statement)
    arguments = ", ".join(f"%({parameter})s" for parameter in numbers)
    return _Texts(f"PREPARE {name} AS {body}", f"EXECUTE {name} ({arguments})")
