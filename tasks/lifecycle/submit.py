"""submit: the one way in. It writes a row in the caller's own transaction and needs no broker."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from math import inf
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, transaction

from tasks import field_faults, registry
from tasks.conf import conf
from tasks.db.statements import as_json, fetch
from tasks.errors import FieldError, InvalidTask, describe
from tasks.fairness import NO_KEY, lane_of
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.circles import refuse_circles
from tasks.lifecycle.depend import Edge, insert_edges, plan
from tasks.lifecycle.journal import Author, record
from tasks.lifecycle.submit_unique import CREATED, edges_of_new, faults_of_linked, insert_or_follow, key_columns
from tasks.lifecycle.tally import add, join
from tasks.models import Queue, Task, new_id
from tasks.models.ids import usable_id
from tasks.payload import check_json
from tasks.registry import ActorSpec
from tasks.states import ObjectKind, Status
from tasks.submission import FIELDS, FOR_EVER, Submission

#: Called with the number of tasks that are about to run, when all are valid and before anything is committed; it may
#: raise to refuse them.
Admit = Callable[[int], None]


#: Columns beside the declared fields, with their types.
_OTHERS = {
    "id": "uuid",
    "args": "jsonb",
    "options": "jsonb",
    "owner_id": Task._meta.get_field("owner").db_type(connection),
    "trace_id": "text",
    "idempotency_key": "text",
    "message_id": "text",
    "lane": "smallint",
}
#: Columns that are computed, by the clock of the database: the caller's clock may be wrong. A run_at in the past means
#: now.
_COMPUTED = {
    "run_at": (
        "GREATEST(COALESCE(run_at, statement_timestamp() + delay_seconds * interval '1 second'), statement_timestamp())"
    ),
    "expires_at": "statement_timestamp() + max_age_seconds * interval '1 second'",
    # A batch may hold rows for its callbacks that an earlier release wrote.
    "lane": f"COALESCE(lane, {NO_KEY})",
}


#: Columns of tasks with a unique key. Others leave them out, so that their insertion is what it was.
_KEY = {"unique_key": "uuid", "unique_rule": "jsonb"}
_BATCH = {"batch_id": "uuid"}


def insertion(more: Mapping[str, str] | None = None, *, taken: str = "(id)") -> str:
    """Write the one statement that inserts any number of tasks, from the declaration of their fields.

    Parameters:
        more: further columns with their types; a plain task has none of them.
        taken: which unique columns may hold a row already, which is then left out; empty: any.
    """
    others = _OTHERS | dict(more or {})
    types = others | {one.name: one.kind.sql for one in FIELDS.values() if one.kind.sql}
    columns = [*others, *(one.name for one in FIELDS.values() if one.is_column), "expires_at"]
    # Only names and types of the declaration are formatted in; values are parameters.
    return f"""
INSERT INTO callboard_task ({", ".join(columns)})
SELECT {", ".join(_COMPUTED.get(name, name) for name in columns)}
FROM json_to_recordset(%(tasks)s) AS task ({", ".join(f"{name} {sql}" for name, sql in types.items())})
ON CONFLICT {taken} DO NOTHING
RETURNING id, run_at, expires_at, created_at
"""


_INSERT = insertion()
#: Of tasks that depend on others, and of their parents in the same bulk. Plain tasks leave these columns empty.
_LINKS = {"status": "text", "pending_parents": "integer", "settled_as": "text"}
_INSERT_LINKED = insertion(_LINKS | _BATCH)
_INSERT_UNIQUE = insertion(_KEY | _BATCH, taken="")
_INSERT_UNIQUE_LINKED = insertion(_KEY | _LINKS | _BATCH, taken="")
#: Of tasks that are in batches and have nothing else of these.
_INSERT_IN_BATCH = insertion(_BATCH)


def submit(submission: Submission, *, admit: Admit | None = None) -> Task:
    """Accept one task.

    Raises:
        InvalidTask: with the errors of its fields; nothing is written.
        UnknownActor: no such actor.
        Duplicate: its unique key is taken, and it is to be refused then.
    """
    return write([checked(submission)], admit=admit)[0]


def submit_by(by: Author, submission: Submission, *, admit: Admit | None = None, copy_of: UUID | None = None) -> Task:
    """Accept one task of a person at a control plane, whose act the journal keeps; programs submit too often for that.

    Parameters:
        copy_of: the task that it is a copy of.

    Raises:
        InvalidTask, UnknownActor, Duplicate: as ``submit``.
    """
    with transaction.atomic():
        task = submit(submission, admit=admit)
        if task.submitted_as in ("", CREATED):
            detail = {} if copy_of is None else {"copy_of": str(copy_of)}
            record(by, "submit", ObjectKind.TASK, str(task.pk), name="", detail=detail, task=task)
    return task


def accept(submission: Submission) -> UUID:
    """Accept one task like ``submit``, and return only its id: building the instance takes a tenth of ``send()``."""
    row = checked(submission)
    _insert([row], planned([row]))
    return row["id"]  # type: ignore[no-any-return]


def submit_many(submissions: Sequence[Submission], *, admit: Admit | None = None) -> list[Task]:
    """Accept many tasks in one statement, all or none; the result has the same order.

    Raises:
        InvalidTask: with the errors of all of them, fields named ``tasks.<position>.<field>``.
        Duplicate: the unique key of one is taken, and it is to be refused then.
    """
    return write(checked_many(submissions), admit=admit) if submissions else []


def checked_many(submissions: Sequence[Submission]) -> list[dict[str, Any]]:
    """Turn submissions into rows, or raise the errors of all of them."""
    rows, errors = [], []
    for position, submission in enumerate(submissions):
        try:
            rows.append(checked(submission))
            if "unique_key" in rows[-1]:
                rows[-1]["unique_field"] = f"tasks.{position}.unique"
        except InvalidTask as error:
            errors += [FieldError(f"tasks.{position}.{one.field}", one.code, one.message) for one in error.errors]
    if errors:
        raise InvalidTask(errors=errors)
    return rows


def checked(submission: Submission) -> dict[str, Any]:
    """Turn a submission into its row, with defaults from the actor's options and the settings, or raise its errors."""
    if submission.row is not None:
        return dict(submission.row)
    spec = registry.get(submission.actor)
    row = vars(submission).copy()
    del row["is_followup"], row["row"], row["unique"]
    if row["time_limit_seconds"] == inf:
        # Dramatiq writes "no limit" as infinity.
        row["time_limit_seconds"] = 0
    _refuse(field_faults.faults(row))
    del row["batch"]
    registry.check_arguments(spec, args=submission.args, payload=submission.payload, is_followup=submission.is_followup)
    for name, option in _DEFAULTS:
        if row[name] is None:
            row[name] = getattr(spec, option)
    if row["max_retries"] == FOR_EVER:
        row["max_retries"] = None
    row["id"], row["message_id"] = _ids(submission.message_id) if submission.message_id else (new_id(), None)
    row["args"] = list(submission.args)
    row["tags"] = list(submission.tags)
    # Left out of the row's JSON if there are none.
    row["depends_on"] = list(submission.depends_on) or None
    row["trace_id"] = submission.trace_id or new_id().hex
    row["idempotency_key"] = None
    row["lane"] = lane_of(submission.fairness_key)
    _check_row(row, spec)
    if submission.batch is not None:
        row["batch_id"] = submission.batch
    if submission.unique is not None or spec.unique is not None:
        row |= key_columns(submission, spec)
    return row


def _ids(message_id: str) -> tuple[UUID, str | None]:
    """Choose the id of a message's task, and keep the message's own if it is another."""
    if len(message_id) > _LONGEST_MESSAGE_ID:
        message = f"expected a message_id of at most {_LONGEST_MESSAGE_ID} characters, got {len(message_id)}"
        raise InvalidTask(message, errors=[FieldError("message_id", "too_long", message)])
    id = usable_id(message_id)
    return (id, None) if id else (new_id(), message_id)


_LONGEST_MESSAGE_ID = 255

#: Fields whose default is an option of the actor, with that option.
_DEFAULTS = [(one.name, one.actor_option) for one in FIELDS.values() if one.actor_option]


def _check_row(row: Mapping[str, Any], spec: ActorSpec) -> None:
    errors = check_json(
        row["options"], field="options", max_bytes=conf.MAX_PAYLOAD_BYTES, max_depth=conf.MAX_JSON_DEPTH
    )
    if row["queue"] != spec.queue and not queue_exists(row["queue"]):
        errors.append(FieldError("queue", "unknown_queue", f"no queue is called {row['queue']!r:.100}"))
    _refuse(errors)


def _refuse(errors: Sequence[FieldError]) -> None:
    if errors:
        # In the text too, since the caller of send() sees nothing else.
        raise InvalidTask(describe(errors), errors=errors)


def queue_exists(name: str) -> bool:
    """Tell whether an actor declares the queue, in this process or in an earlier one."""
    return name in registry.queue_names() or Queue.objects.filter(pk=name).exists()


def write(rows: Sequence[dict[str, Any]], *, admit: Admit | None = None) -> list[Task]:
    """Insert checked rows."""
    edges = planned(rows)
    if admit is not None:
        admit(len(rows))
    written = _insert(rows, edges)
    names = [field.attname for field in Task._meta.concrete_fields]
    if rows and "submitted_as" in rows[0]:
        return _tasks_of_keys(names, rows, written)
    return [_task(names, row, written[row["id"]]) for row in rows]


def _tasks_of_keys(
    names: Sequence[str], rows: Sequence[dict[str, Any]], written: Mapping[UUID, Sequence[Any]]
) -> list[Task]:
    """Build new tasks, and take those that were there as they were read."""
    there = {row["id"]: row["task"] for row in rows if row["submitted_as"] != CREATED}
    tasks = []
    for row in rows:
        is_new = row["submitted_as"] == CREATED and row["id"] not in there
        task = _task(names, row, written[row["id"]]) if is_new else copy(there[row["id"]])
        task.submitted_as = row["submitted_as"]
        tasks.append(task)
    return tasks


def planned(rows: Sequence[dict[str, Any]]) -> list[Edge]:
    """Plan the dependencies of rows; most have none.

    Raises:
        InvalidTask: they name no tasks, form a cycle, or do not go together with the rows' unique keys.
    """
    if not any(row["depends_on"] for row in rows):
        return []
    _refuse(faults_of_linked(rows))
    return plan(rows)


def _insert(rows: Sequence[dict[str, Any]], edges: Sequence[Edge]) -> dict[UUID, Sequence[Any]]:
    """Insert rows and announce them; return the columns that the database computed, by id."""
    created = rows
    if any("unique_key" in row for row in rows):
        written = _insert_keyed(rows, edges)
        created = [row for row in rows if row["submitted_as"] == CREATED]
    elif edges or any("batch_id" in row for row in rows):
        written = _insert_linked(rows, edges)
    else:
        written = _insert_all(rows, _INSERT, prepared="callboard_submit")
    status = Status.PENDING
    announce(
        "submit", [Moved(r["id"], r.get("status", status), r["actor"], r["queue"], r["trace_id"]) for r in created]
    )
    return written


@transaction.atomic
def _insert_linked(rows: Sequence[dict[str, Any]], edges: Sequence[Edge]) -> dict[UUID, Sequence[Any]]:
    """Insert rows together with their dependencies and what they add to batches."""
    join(_count_by_batch(rows))
    statement, prepared = (_INSERT_LINKED, "callboard_submit_linked") if edges else (_INSERT_IN_BATCH, "")
    written = _insert_all(rows, statement, prepared=prepared)
    # After the rows: an id may have been taken.
    refuse_circles(rows, edges)
    insert_edges(edges)
    add(_count_by_batch(rows))
    return written


def _insert_keyed(rows: Sequence[dict[str, Any]], edges: Sequence[Edge]) -> dict[UUID, Sequence[Any]]:
    """Insert rows or let them follow the tasks of their keys; the new ones get dependencies and count in batches."""
    statement = _INSERT_UNIQUE_LINKED if edges else _INSERT_UNIQUE

    def insert(given: Sequence[dict[str, Any]]) -> dict[UUID, Sequence[Any]]:
        join(_count_by_batch(given))
        return {row[0]: row for row in fetch(statement, _given(given))}

    def link() -> None:
        new, edges_of = [row for row in rows if row["submitted_as"] == CREATED], edges_of_new(edges)
        refuse_circles(new, edges_of)
        insert_edges(edges_of)
        add(_count_by_batch(new))

    return insert_or_follow(rows, insert=insert, link=link)


def _count_by_batch(rows: Sequence[dict[str, Any]]) -> Counter[UUID]:
    return Counter(row["batch_id"] for row in rows if "batch_id" in row)


def _insert_all(rows: Sequence[dict[str, Any]], statement: str, *, prepared: str) -> dict[UUID, Sequence[Any]]:
    written = _inserted(rows, statement, prepared=prepared)
    if len(written) != len(rows):
        _insert_again(rows, written, statement)
    return written


def _inserted(rows: Sequence[dict[str, Any]], statement: str, *, prepared: str) -> dict[UUID, Sequence[Any]]:
    return {row[0]: row for row in fetch(statement, _given(rows), prepared=prepared, anywhere=True)}


def _given(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {"tasks": as_json([{name: value for name, value in row.items() if value is not None} for row in rows])}


def _insert_again(rows: Sequence[dict[str, Any]], written: dict[UUID, Sequence[Any]], statement: str) -> None:
    """Insert rows whose ids were taken, with other ids: a message may be sent again, and only one task has its id."""
    done, taken = set(written), []
    for row in rows:
        if row["id"] in done:
            done.remove(row["id"])
        else:
            row["id"], row["message_id"] = new_id(), row["message_id"] or str(row["id"])
            taken.append(row)
    written.update(_inserted(taken, statement, prepared=""))


def _task(names: Sequence[str], row: Mapping[str, Any], written: Sequence[Any]) -> Task:
    """Build the instance from the row and the computed columns, without reading it back."""
    values = {**_FRESH, **row}
    _, values["run_at"], values["expires_at"], values["created_at"] = written
    return Task.from_db(DEFAULT_DB_ALIAS, names, [values.get(name) for name in names])


#: Column defaults other than NULL.
_FRESH: dict[str, Any] = {
    "status": Status.PENDING,
    "dispatch": 0,
    "attempt": 0,
    "failures": 0,
    "crashes": 0,
    "version": 1,
    "error": "",
}
