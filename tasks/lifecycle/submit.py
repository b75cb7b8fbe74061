"""submit: the one way in. A row in the caller's own transaction; the broker is never asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from uuid_utils import uuid4

from tasks import registry
from tasks.db.statements import as_json, fetch
from tasks.errors import FieldError, InvalidTask
from tasks.lifecycle.signals import Moved, announce
from tasks.models import Queue, Task, new_id
from tasks.payload import check_json
from tasks.priority import HIGHEST, LOWEST
from tasks.registry import ActorSpec
from tasks.retry import MOST_SECONDS
from tasks.states import Status

#: As ``max_retries``: never give up. (None is taken: it means "as the actor says".)
FOR_EVER = -1


#: Asked with the number of tasks when all are valid and before any is written; what it raises ends the submission.
Admit = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What to run; ``None`` means the actor's option, or else the setting. Times in seconds, ``run_at`` with zone.

    ``max_retries=FOR_EVER`` retries without end. A follow-up carries what was accepted before and more around it, so
    its bounds are wider.
    """

    actor: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    args: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    queue: str | None = None
    run_at: datetime | None = None
    delay_seconds: float = 0
    max_retries: int | None = None
    min_backoff_seconds: float | None = None
    max_backoff_seconds: float | None = None
    retry_for_seconds: float | None = None
    time_limit_seconds: float | None = None
    max_age_seconds: float | None = None
    estimated_seconds: float | None = None
    tags: Sequence[str] = ()
    owner_id: int | None = None
    trace_id: str = ""
    is_followup: bool = False
    #: What ``checked`` made of it before, if somebody asked: it is written as it is, and no validator runs again.
    row: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


# One statement for any number of tasks. Times are the database's, so that a caller's clock decides nothing; a run_at in
# the past means now.
_INSERT = """
INSERT INTO callboard_task (
    id, actor, payload, args, options, queue, priority, run_at, max_retries, min_backoff_seconds, max_backoff_seconds,
    retry_for_seconds, time_limit_seconds, max_age_seconds, expires_at, estimated_seconds, tags, owner_id, trace_id,
    idempotency_key
)
SELECT
    id, actor, payload, args, options, queue, priority,
    GREATEST(COALESCE(run_at, statement_timestamp() + delay_seconds * interval '1 second'), statement_timestamp()),
    max_retries, min_backoff_seconds, max_backoff_seconds, retry_for_seconds, time_limit_seconds,
    max_age_seconds, statement_timestamp() + max_age_seconds * interval '1 second', estimated_seconds, tags, owner_id,
    trace_id, idempotency_key
FROM json_to_recordset(%(tasks)s) AS task (
    id uuid, actor text, payload jsonb, args jsonb, options jsonb, queue text, priority smallint, run_at timestamptz,
    delay_seconds double precision, max_retries integer, min_backoff_seconds double precision,
    max_backoff_seconds double precision, retry_for_seconds double precision, time_limit_seconds double precision,
    max_age_seconds double precision, estimated_seconds double precision, tags text[], owner_id bigint, trace_id text,
    idempotency_key text
)
RETURNING id, run_at, expires_at, created_at
"""


def submit(submission: Submission, *, admit: Admit | None = None) -> Task:
    """Accept one task.

    Raises:
        InvalidTask: with the errors of its fields; nothing is written.
        UnknownActor: no such actor.
    """
    return write([checked(submission)], admit=admit)[0]


def accept(submission: Submission) -> UUID:
    """Accept one task as ``submit`` does and say its id only: to build the instance takes a tenth of ``send()``."""
    row = checked(submission)
    _insert([row])
    return row["id"]  # type: ignore[no-any-return]


def submit_many(submissions: Sequence[Submission], *, admit: Admit | None = None) -> list[Task]:
    """Accept many tasks in one statement, all or none; the answer has the same order.

    Raises:
        InvalidTask: with the errors of all of them, fields named ``tasks.<position>.<field>``.
    """
    return write(checked_many(submissions), admit=admit) if submissions else []


def checked_many(submissions: Sequence[Submission]) -> list[dict[str, Any]]:
    """Turn submissions into rows, or raise the errors of all of them."""
    rows, errors = [], []
    for position, submission in enumerate(submissions):
        try:
            rows.append(checked(submission))
        except InvalidTask as error:
            errors += [FieldError(f"tasks.{position}.{one.field}", one.code, one.message) for one in error.errors]
    if errors:
        raise InvalidTask(errors=errors)
    return rows


def checked(submission: Submission) -> dict[str, Any]:
    """Turn a submission into its row, with what the actor's options and the settings add, or raise its errors."""
    if submission.row is not None:
        return dict(submission.row)
    spec = registry.get(submission.actor)
    registry.check_arguments(spec, args=submission.args, payload=submission.payload, is_followup=submission.is_followup)
    row = {
        "id": new_id(),
        "actor": spec.name,
        "payload": submission.payload,
        "args": list(submission.args),
        "options": submission.options,
        "queue": submission.queue or spec.queue,
        "priority": _first(submission.priority, spec.default_priority),
        "run_at": submission.run_at,
        "delay_seconds": submission.delay_seconds,
        "max_retries": _without_end(_first(submission.max_retries, spec.max_retries)),
        "min_backoff_seconds": _first(submission.min_backoff_seconds, spec.min_backoff_seconds),
        "max_backoff_seconds": _first(submission.max_backoff_seconds, spec.max_backoff_seconds),
        "retry_for_seconds": _first(submission.retry_for_seconds, spec.retry_for_seconds),
        "time_limit_seconds": _finite(_first(submission.time_limit_seconds, spec.time_limit_seconds)),
        "max_age_seconds": _first(submission.max_age_seconds, spec.max_age_seconds),
        "estimated_seconds": submission.estimated_seconds,
        "tags": list(submission.tags),
        "owner_id": submission.owner_id,
        "trace_id": submission.trace_id or uuid4().hex,
        "idempotency_key": None,
    }
    _check_row(row, spec)
    return row


def _first(given: Any, default: Any) -> Any:
    return default if given is None else given


def _without_end(max_retries: int | None) -> int | None:
    return None if max_retries == FOR_EVER else max_retries


def _finite(time_limit_seconds: float) -> float:
    # Dramatiq's own word for "no limit" is infinity, ours is 0.
    return 0 if time_limit_seconds == inf else time_limit_seconds


def _check_row(row: Mapping[str, Any], spec: ActorSpec) -> None:
    errors = [*row_faults(row)]
    if row["queue"] != spec.queue and not queue_exists(row["queue"]):
        errors.append(FieldError("queue", "unknown_queue", f"no queue is called {row['queue']!r:.100}"))
    if errors:
        raise InvalidTask(errors=errors)


#: Columns that are durations.
_DURATIONS = (
    "delay_seconds",
    "min_backoff_seconds",
    "max_backoff_seconds",
    "retry_for_seconds",
    "time_limit_seconds",
    "max_age_seconds",
    "estimated_seconds",
)


def row_faults(row: Mapping[str, Any]) -> Iterator[FieldError]:
    """Find in a row, or a part of one, what a door that is code (``send()``) may pass and no column can hold."""
    if not LOWEST <= row.get("priority", LOWEST) <= HIGHEST:
        yield FieldError("priority", "out_of_range", f"expected {LOWEST} to {HIGHEST}, got {row['priority']}")
    for name in _DURATIONS:
        # Written so that NaN, which compares false with everything, is a fault too.
        if row.get(name) is not None and not 0 <= row[name] <= MOST_SECONDS:
            yield FieldError(name, "out_of_range", f"expected 0 to {MOST_SECONDS:.0f} seconds, got {row[name]}")
    if row.get("max_retries") is not None and not 0 <= row["max_retries"] < 2**31:
        yield FieldError("max_retries", "out_of_range", f"expected 0 to {2**31 - 1}, got {row['max_retries']}")
    if row.get("run_at") is not None and not 1 < row["run_at"].year < _LATEST_YEAR:
        yield FieldError("run_at", "out_of_range", f"expected a year before {_LATEST_YEAR}, got {row['run_at']}")
    for name in ("options", "tags"):
        if row.get(name):
            yield from check_json(
                row[name], field=name, max_bytes=settings.MAX_PAYLOAD_BYTES, max_depth=settings.MAX_JSON_DEPTH
            )


#: Delays from there on stay within what Python's dates can hold.
_LATEST_YEAR = 9000


def queue_exists(name: str) -> bool:
    """Tell whether some actor declares the queue, in this process or in one that ran before."""
    return name in registry.queue_names() or Queue.objects.filter(pk=name).exists()


def write(rows: Sequence[Mapping[str, Any]], *, admit: Admit | None = None) -> list[Task]:
    """Insert checked rows."""
    if admit is not None:
        admit(len(rows))
    written = _insert(rows)
    names = [field.attname for field in Task._meta.concrete_fields]
    return [_task(names, row, written[row["id"]]) for row in rows]


def _insert(rows: Sequence[Mapping[str, Any]]) -> dict[UUID, Sequence[Any]]:
    """Write rows and announce them; give by their ids what the database added."""
    given = [{name: value for name, value in row.items() if value is not None} for row in rows]
    inserted = fetch(_INSERT, {"tasks": as_json(given)}, prepared="callboard_submit", anywhere=True)
    announce("submit", [Moved(r["id"], Status.PENDING, r["actor"], r["queue"], r["trace_id"]) for r in rows])
    return {row[0]: row for row in inserted}


def _task(names: Sequence[str], row: Mapping[str, Any], written: Sequence[Any]) -> Task:
    """Build the instance from what was sent and what the database added, without reading it all back."""
    values = {**row, **_FRESH}
    _, values["run_at"], values["expires_at"], values["created_at"] = written
    return Task.from_db(DEFAULT_DB_ALIAS, names, [values.get(name) for name in names])


#: What a row has by its column defaults where that is not NULL.
_FRESH: dict[str, Any] = {
    "status": Status.PENDING,
    "dispatch": 0,
    "attempt": 0,
    "failures": 0,
    "crashes": 0,
    "version": 1,
    "error": "",
}
