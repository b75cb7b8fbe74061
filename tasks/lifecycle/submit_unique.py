"""submit, for tasks with a unique key: insert them, or follow the tasks that have their keys.

A key is in the row, under a partial unique index. A task that has ended gives its key up when another one wants it, so
that no verb of the engine has to free it, and a task that begins a second life has it still if nobody took it. Only a
claim frees one at once: its task runs, and must not be locked by those who want its key.

Rows are inserted in the order of their keys, or two calls with the same keys would deadlock. Several calls in one
transaction of the caller may still do so. A key whose task is not committed yet makes others wait for that transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks.db.statements import as_json, fetch
from tasks.errors import Duplicate, FieldError, InvalidTask, KeyContended
from tasks.lifecycle.predicates import IS_WAITING, any_of
from tasks.lifecycle.signals import Moved, announce
from tasks.models import new_id
from tasks.registry import ActorSpec, arguments_by_name
from tasks.states import FINAL
from tasks.submission import Submission
from tasks.unique import MAX_WAIT_SECONDS, Unique, digest, formatted

#: Rows as ``checked`` makes them, inserted; returns the computed columns of those that were, by id.
Insert = Callable[[Sequence[dict[str, Any]]], dict[UUID, Sequence[Any]]]

CREATED, EXISTING, REPLACED = "created", "existing", "replaced"

#: Times that a key's task may end between two statements before the call gives up.
_MOST_ROUNDS = 10

#: A task that has ended, or has had its key for as long as it may, gives it up.
_IS_OVER = f"""({any_of("COALESCE(task.status, '')", FINAL)}
    OR COALESCE(task.created_at + (task.unique_rule ->> 'ttl_seconds')::double precision * interval '1 second'
       <= statement_timestamp(), false))"""
_HAS_KEY = "task.unique_key = ANY(ARRAY[{}]) AND task.unique_key IS NOT NULL"

# Takes keys from tasks that are over, before the insertion in the same statement looks for them. A row that another
# transaction holds is skipped: it may be about to begin a second life.
_FREED = f"""
over AS MATERIALIZED (
    SELECT task.id FROM given JOIN callboard_task AS task ON {_HAS_KEY.format("given.unique_key")}
    WHERE {_IS_OVER}
    ORDER BY task.id FOR UPDATE OF task SKIP LOCKED
), freed AS (
    UPDATE callboard_task AS task SET unique_key = NULL FROM over WHERE task.id = ANY(ARRAY[over.id]) RETURNING task.id
)"""


def insertion(columns: Sequence[str], values: Sequence[str], types: Mapping[str, str]) -> str:
    """Write the statement that inserts tasks whose keys are free, from the columns of a plain insertion."""
    names = ", ".join(f"{name} {sql}" for name, sql in types.items())
    return f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(tasks)s) AS task ({names})
), {_FREED}
INSERT INTO callboard_task ({", ".join(columns)})
SELECT {", ".join(values)} FROM given WHERE (SELECT count(*) FROM freed) >= 0
ON CONFLICT DO NOTHING
RETURNING id, run_at, expires_at, created_at
"""


def key_columns(submission: Submission, spec: ActorSpec) -> dict[str, Any]:
    """Give the columns of a submission's key, or else of its actor's template; none if there is neither.

    Raises:
        InvalidTask: the key is not valid, or an argument does not fit the template.
    """
    try:
        if submission.unique is not None:
            unique = Unique.read(submission.unique)
            key = unique.key
        elif spec.unique is not None:
            unique = spec.unique
            key = formatted(unique.key, _arguments(submission, spec))
        else:
            return {}
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


def settle(rows: Sequence[dict[str, Any]], *, insert: Insert) -> dict[UUID, Sequence[Any]]:
    """Insert rows, and let those whose keys are taken follow their tasks; return the columns of the new ones, by id.

    Each row gets the ``id`` of its task, and ``submitted_as``: created, existing or replaced. Of rows with one key in
    the same call, the later follow the first.

    Raises:
        Duplicate: a key is taken, and its row is to be refused then; nothing is written.
        KeyContended: tasks with a key began and ended too fast.
    """
    # Rows without a key come first. The sort is stable, so of one key the first stays first.
    open_rows = sorted(rows, key=lambda row: row["unique_key"].int if "unique_key" in row else -1)
    written: dict[UUID, Sequence[Any]] = {}
    with transaction.atomic():
        for _ in range(_MOST_ROUNDS):
            created = insert(open_rows)
            written |= created
            open_rows = _follow([row for row in open_rows if not _is_created(row, created)])
            if not open_rows:
                return written
        raise KeyContended


def _is_created(row: dict[str, Any], left: dict[UUID, Any]) -> bool:
    is_created = row["id"] in left and row.get("submitted_as") is None
    if is_created:
        # Another row of this id is another task.
        del left[row["id"]]
        row["submitted_as"] = CREATED
    return is_created


_HOLDERS = f"""
SELECT task.unique_key, task.id FROM callboard_task AS task
WHERE task.unique_key = ANY(%(keys)s::uuid[]) AND NOT {_IS_OVER}
"""
_TAKEN = "SELECT task.id FROM callboard_task AS task WHERE task.id = ANY(%(ids)s::uuid[])"


def _follow(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settle rows that were not inserted, as far as their keys have tasks; return those to insert again."""
    if not rows:
        return []
    keys = [str(row["unique_key"]) for row in rows if "unique_key" in row]
    holders = dict(fetch(_HOLDERS, {"keys": keys}))
    found = [row for row in rows if row.get("unique_key") in holders]
    refused = [row for row in found if row["unique_rule"]["on_conflict"] == "reject"]
    if refused:
        raise Duplicate({row["unique_field"]: holders[row["unique_key"]] for row in refused})
    wanted = {row["unique_key"]: row for row in found if row["unique_rule"]["on_conflict"] == "replace"}
    replaced = _replace(list(wanted.values())) if wanted else {}
    for row in found:
        key = row["unique_key"]
        is_replaced = key in replaced and row["unique_rule"]["on_conflict"] == "replace"
        row["id"], row["submitted_as"] = replaced.get(key, holders[key]), REPLACED if is_replaced else EXISTING
    return _with_free_ids([row for row in rows if row.get("unique_key") not in holders])


def _with_free_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give other ids to rows of messages that were sent before: only one task has a message's id."""
    if rows:
        taken = {id for (id,) in fetch(_TAKEN, {"ids": [str(row["id"]) for row in rows]})}
        for row in rows:
            if row["id"] in taken:
                row["id"], row["message_id"] = new_id(), row["message_id"] or str(row["id"])
    return rows


# A QUEUED task is taken back from the broker, as by an edit. What a replacement postpones is bounded; a task that was
# put off further by its first submission keeps that time.
_REPLACE = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(tasks)s) AS given (
        unique_key uuid, payload jsonb, args jsonb, options jsonb, priority smallint, queue text, run_at timestamptz,
        delay_seconds double precision, max_retries integer, min_backoff_seconds double precision,
        max_backoff_seconds double precision, retry_for_seconds double precision, time_limit_seconds double precision,
        max_age_seconds double precision, estimated_seconds double precision, tags text[], unique_rule jsonb
    )
), wanted AS MATERIALIZED (
    SELECT task.id FROM given JOIN callboard_task AS task ON {_HAS_KEY.format("given.unique_key")}
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
    version = task.version + 1
FROM wanted, given
WHERE task.id = ANY(ARRAY[wanted.id]) AND given.unique_key = task.unique_key
RETURNING task.unique_key, task.id, task.status, task.actor, task.queue, task.trace_id
"""


def _replace(rows: Sequence[dict[str, Any]]) -> dict[UUID, UUID]:
    """Give waiting tasks the content of rows with the same keys, and return the ids of those tasks by key."""
    found = fetch(_REPLACE, {"tasks": as_json([{k: v for k, v in row.items() if v is not None} for row in rows])})
    announce("edit", [Moved(*move) for _, *move in found])
    return {key: id for key, id, *_ in found}
