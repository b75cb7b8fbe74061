"""submit, for tasks with a unique key: insert them, or follow the tasks that have their keys.

A key is a column under a partial unique index. The verb that ends a task empties it, and a claim if the key is had
until the start; a task that begins a second life has none. Nothing else depends on the status, so that no verb of the
engine can meet a taken key.

Rows are inserted in the order of their keys, and then the tasks of taken keys are locked in the order of their ids. A
round that cannot place all rows, because a task has ended in between, is undone with its locks and begun again. In any
other order, calls with the same keys deadlock. Several calls in one transaction of the caller still can. A key whose
task is not committed yet makes others wait for that transaction.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks.db.statements import as_json, fetch
from tasks.errors import Duplicate, FieldError, InvalidTask, KeyContended
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.depend import Edge
from tasks.lifecycle.predicates import IS_WAITING, any_of, has_key_of, in_batch
from tasks.models import Task, new_id
from tasks.registry import ActorSpec, arguments_by_name
from tasks.states import FINAL, EdgeState
from tasks.submission import Submission
from tasks.unique import MAX_WAIT_SECONDS, Unique, digest, formatted

#: Rows as ``checked`` makes them, inserted; returns the computed columns of those that were, by id.
Insert = Callable[[Sequence[dict[str, Any]]], dict[UUID, Sequence[Any]]]

CREATED, EXISTING, REPLACED = "created", "existing", "replaced"

#: Times that a key's task may end between two statements before the call gives up.
_MOST_ROUNDS = 50

# A task whose time for the key is over gives it up when another wants it. So does one that has ended and has it still,
# because a worker of an earlier release ended it. By the time at which the transaction began: what this call itself has
# inserted is not over, however short its time is.
_IS_OVER = f"""({any_of("task.status", FINAL)}
    OR COALESCE(task.created_at + (task.unique_rule ->> 'ttl_seconds')::double precision * interval '1 second'
       <= transaction_timestamp(), false))"""


def key_columns(submission: Submission, spec: ActorSpec) -> dict[str, Any]:
    """Give the columns of a submission's key, or else of its actor's template.

    Raises:
        InvalidTask: the key is not valid, or an argument does not fit the template.
    """
    try:
        if submission.unique is not None:
            unique = Unique.read(submission.unique)
            key = unique.key
        else:
            assert spec.unique is not None, "the caller asks only if there is a key or a template"
            unique = spec.unique
            key = formatted(unique.key, _arguments(submission, spec))
    except ValueError as error:
        message = str(error)
        raise InvalidTask(f"unique: {message}", errors=[FieldError("unique", "invalid", message)]) from error
    return {
        "unique_key": digest(owner_id=submission.owner_id, actor=spec.name, key=key),
        "unique_rule": unique.as_rule(key),
        "unique_field": "unique",
    }


def _arguments(submission: Submission, spec: ActorSpec) -> dict[str, Any]:
    parameters = spec.arguments.signature.parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
    return defaults | arguments_by_name(spec.name, args=submission.args, payload=submission.payload)


def never_refused(row: dict[str, Any]) -> dict[str, Any]:
    """Let a follow-up that would be refused be dropped: it is written with the outcomes of a whole batch."""
    if row.get("unique_rule", {}).get("on_conflict") == "reject":
        row["unique_rule"] = {**row["unique_rule"], "on_conflict": "return"}
    return row


def faults_of_linked(rows: Sequence[dict[str, Any]]) -> list[FieldError]:
    """List the keys that do not go together with dependencies.

    A replacement would have to replace the dependencies of a task that may have begun. Two rows of one key become one
    task, so that edges that form no cycle between rows may form one between tasks.
    """
    found, keys = [], set()
    for row in rows:
        if "unique_key" not in row:
            continue
        if row["depends_on"] and row["unique_rule"]["on_conflict"] == "replace":
            message = "expected on_conflict return or reject of a task that depends on others, got replace"
            found.append(FieldError(row["unique_field"], "not_supported", message))
        if row["unique_key"] in keys:
            message = (
                f"expected the key of no other task of a bulk with dependencies, got {row['unique_rule']['key']!r}"
            )
            found.append(FieldError(row["unique_field"], "duplicate", message))
        keys.add(row["unique_key"])
    return found


def edges_of_new(edges: Sequence[Edge]) -> list[Edge]:
    """Give the dependencies of settled rows: a task that was there keeps its own, and may be one that others wait for.

    Raises:
        InvalidTask: a task depends on another by its id and by its key.
    """
    found: dict[tuple[UUID, UUID], Edge] = {}
    for planned in edges:
        if planned.child["submitted_as"] != CREATED:
            continue
        edge = planned
        if isinstance(edge.parent, dict) and edge.parent["submitted_as"] != CREATED:
            # As if it had been named by its id; the leader looks at what has become of it.
            edge = edge._replace(parent=edge.parent["id"], state=EdgeState.NEW)
        row = edge.as_row()
        if found.setdefault((row["child"], row["parent"]), edge) is not edge:
            message = f"expected each task once, got {row['parent']} by its id and by its unique key"
            raise InvalidTask(message, errors=[FieldError("depends_on", "duplicate", message)])
    return list(found.values())


def insert_or_follow(
    rows: Sequence[dict[str, Any]], *, insert: Insert, link: Callable[[], None]
) -> dict[UUID, Sequence[Any]]:
    """Insert rows, and let those whose keys are taken follow their tasks; return the columns of the new ones, by id.

    Each row gets the ``id`` of its task and ``submitted_as``: created, existing or replaced; those that were not
    created also get the ``task``. Of rows with one key in the same call, the later follow the first. No lock of a
    failed round outlives it, unless the caller has a transaction open: an engine that ends these tasks waits for the
    locks, and a further round may wait for the engine.

    Parameters:
        link: called once, in the transaction of the insertion, when all rows have their ids.

    Raises:
        Duplicate: a key is taken, and its row is to be refused then; nothing is written.
        KeyContended: tasks with a key began and ended too fast.
    """
    for _ in range(_MOST_ROUNDS):
        try:
            with transaction.atomic():
                written = _round(rows, insert)
                link()
                return written
        except _Unplaced as unplaced:
            _make_way(unplaced.rows)
    raise KeyContended


class _Unplaced(Exception):
    """Rows that are neither inserted nor have a task to follow."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows


def _round(rows: Sequence[dict[str, Any]], insert: Insert) -> dict[UUID, Sequence[Any]]:
    # Rows without a key come first. The sort is stable, so of one key the first stays first.
    in_order = sorted(rows, key=lambda row: row["unique_key"].int if "unique_key" in row else -1)
    written = insert(in_order)
    # Of rows with one id, only one was inserted.
    new = {row["id"]: row for row in reversed(in_order) if row["id"] in written}
    left = [row for row in in_order if new.get(row["id"]) is not row]
    followed = _follow(left) if left else []
    for row in new.values():
        row["submitted_as"] = CREATED
    # Read here, since a task may be deleted as soon as this transaction has ended.
    tasks = Task.objects.in_bulk([id for id, _ in followed])
    if gone := [row for row, (id, _) in zip(left, followed, strict=True) if id not in tasks]:
        raise _Unplaced(gone)
    for row, (id, submitted_as) in zip(left, followed, strict=True):
        row["id"], row["submitted_as"], row["task"] = id, submitted_as, tasks[id]
    return written


_HOLDERS = f"""
SELECT task.unique_key, task.id FROM callboard_task AS task
WHERE task.unique_key = ANY(%(keys)s::uuid[]) AND NOT {_IS_OVER}
"""


def _follow(rows: Sequence[dict[str, Any]]) -> list[tuple[UUID, str]]:
    """Find for each row the task that has its key, and give its content to it if it is to replace that."""
    keys = [str(row["unique_key"]) for row in rows if "unique_key" in row]
    holders: dict[UUID | None, UUID] = dict(fetch(_HOLDERS, {"keys": keys}))
    if unsettled := [row for row in rows if row.get("unique_key") not in holders]:
        raise _Unplaced(unsettled)
    ways = [row["unique_rule"]["on_conflict"] for row in rows]
    if refused := [row for row, way in zip(rows, ways, strict=True) if way == "reject"]:
        raise Duplicate({row["unique_field"]: holders[row["unique_key"]] for row in refused})
    # Of several rows with one key the last counts.
    wanted = {row["unique_key"]: row for row, way in zip(rows, ways, strict=True) if way == "replace"}
    replaced = _replace(list(wanted.values())) if wanted else set()
    return [
        (holders[key], REPLACED if way == "replace" and holders[key] in replaced else EXISTING)
        for key, way in zip((row["unique_key"] for row in rows), ways, strict=True)
    ]


_FREE = f"""
WITH over AS MATERIALIZED (
    SELECT task.id FROM callboard_task AS task WHERE task.unique_key = ANY(%(keys)s::uuid[]) AND {_IS_OVER}
    ORDER BY task.id FOR UPDATE OF task
)
UPDATE callboard_task AS task SET unique_key = NULL FROM over WHERE {in_batch("over")} RETURNING task.id
"""
_TAKEN = "SELECT task.id FROM callboard_task AS task WHERE task.id = ANY(%(ids)s::uuid[])"


def _make_way(rows: Sequence[dict[str, Any]]) -> None:
    """Take keys from tasks whose time for them is over, and give other ids to rows of messages that were sent before.

    The tasks are locked until the caller's transaction ends; without one, for a moment.
    """
    fetch(_FREE, {"keys": [str(row["unique_key"]) for row in rows if "unique_key" in row]})
    taken = {id for (id,) in fetch(_TAKEN, {"ids": [str(row["id"]) for row in rows]})}
    for row in rows:
        if row["id"] in taken:
            row["id"], row["message_id"] = new_id(), row["message_id"] or str(row["id"])


# A QUEUED task is taken back from the broker, as by an edit. What a replacement postpones is bounded; a task that was
# put off further by its first submission keeps that time.
_REPLACE = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(tasks)s) AS given (
        unique_key uuid, payload jsonb, args jsonb, options jsonb, priority smallint, queue text, run_at timestamptz,
        delay_seconds double precision, max_retries integer, min_backoff_seconds double precision,
        max_backoff_seconds double precision, retry_for_seconds double precision, time_limit_seconds double precision,
        max_age_seconds double precision, estimated_seconds double precision, tags text[], unique_rule jsonb,
        fairness_key text, lane smallint
    )
), wanted AS MATERIALIZED (
    SELECT task.id, given.* FROM given JOIN callboard_task AS task ON {has_key_of("given")}
    WHERE {IS_WAITING} AND NOT {_IS_OVER}
    ORDER BY task.id FOR UPDATE OF task
)
UPDATE callboard_task AS task
SET status = CASE WHEN task.status = 'QUEUED' THEN 'PENDING' ELSE task.status END,
    queued_at = NULL,
    run_at = GREATEST(statement_timestamp(), LEAST(
        COALESCE(given.run_at, statement_timestamp() + given.delay_seconds * interval '1 second'),
        GREATEST(task.run_at, task.created_at + COALESCE(
            (given.unique_rule ->> 'max_wait_seconds')::double precision, {MAX_WAIT_SECONDS}) * interval '1 second'))),
    expires_at = statement_timestamp() + given.max_age_seconds * interval '1 second',
    payload = given.payload, args = given.args, options = given.options, priority = given.priority,
    queue = given.queue, tags = given.tags, max_retries = given.max_retries,
    min_backoff_seconds = given.min_backoff_seconds, max_backoff_seconds = given.max_backoff_seconds,
    retry_for_seconds = given.retry_for_seconds, time_limit_seconds = given.time_limit_seconds,
    max_age_seconds = given.max_age_seconds, estimated_seconds = given.estimated_seconds,
    fairness_key = given.fairness_key, lane = given.lane,
    version = task.version + 1
FROM wanted AS given WHERE {in_batch("given")}
RETURNING task.id, task.status, task.actor, task.queue, task.trace_id
"""


def _replace(rows: Sequence[dict[str, Any]]) -> set[UUID]:
    """Give waiting tasks the content of rows with the same keys, and return the ids of those tasks."""
    given = [{name: value for name, value in row.items() if value is not None} for row in rows]
    moves = [Moved(*row) for row in fetch(_REPLACE, {"tasks": as_json(given)})]
    announce("edit", moves)
    return {move.id for move in moves}
