"""checkpoint: a running attempt keeps something for the next, and tells of its progress.

No index has these columns, so each write is a heap-only update.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tasks.db.statements import as_json, fetch, loads
from tasks.errors import AttemptLost
from tasks.holder import Holder
from tasks.lifecycle.predicates import in_batch, is_held
from tasks.payload import encode

#: The CTE of a statement that an attempt sends, and the condition that its worker still holds ``task``.
HOLDER = "holder AS (SELECT %(id)s::uuid AS id, %(attempt)s::integer AS attempt)"
IS_HELD = f"{in_batch('holder')} AND {is_held('holder', by='%(worker)s')}"

_SAVE = f"""
WITH {HOLDER}
UPDATE callboard_task AS task
SET checkpoint = jsonb_set(
        COALESCE(task.checkpoint, '{{"cursors": {{}}}}'::jsonb), %(path)s::text[], %(value)s::jsonb),
    checkpointed_at = clock_timestamp()
FROM holder WHERE {IS_HELD}
RETURNING task.id
"""
_LOAD = f"""
WITH {HOLDER}
SELECT task.checkpoint #> %(path)s::text[] FROM holder JOIN callboard_task AS task ON {IS_HELD}
"""


def save(holder: Holder, path: Sequence[str], value: Any) -> None:
    """Keep a JSON value of a running attempt, at once or with the caller's transaction.

    Raises:
        AttemptLost: the worker no longer holds the attempt.
    """
    parameters = {**holder.parameters, "path": list(path), "value": as_text(value)}
    if not fetch(_SAVE, parameters):
        raise AttemptLost()


def load(holder: Holder, path: Sequence[str]) -> Any:
    """Read what an attempt of the task has kept; None if there is nothing.

    Raises:
        AttemptLost: the worker no longer holds the attempt.
    """
    found = fetch(_LOAD, {**holder.parameters, "path": list(path)})
    if not found:
        raise AttemptLost()
    return None if found[0][0] is None else loads(found[0][0])


# A row that another transaction has locked, such as one of the actor's own, gets the next report.
_REPORT = f"""
WITH report AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(reports)s) AS report (
        id uuid, attempt integer, worker uuid, progress jsonb, log jsonb)
), held AS MATERIALIZED (
    SELECT report.* FROM report JOIN callboard_task AS task ON {in_batch("report")}
    WHERE {is_held("report", by="report.worker")}
    ORDER BY report.id FOR NO KEY UPDATE OF task SKIP LOCKED
)
UPDATE callboard_task AS task
SET progress = COALESCE(held.progress, task.progress), log = COALESCE(held.log, task.log)
FROM held WHERE {in_batch("held")}
RETURNING task.id, task.attempt
"""


def report_many(reports: Sequence[dict[str, Any]]) -> set[tuple[UUID, int]]:
    """Write the progress and log of running attempts; return those that were written.

    Parameters:
        reports: with ``id``, ``attempt``, ``worker`` and, if there is one, ``progress`` and ``log``.
    """
    return set(fetch(_REPORT, {"reports": as_json(reports)})) if reports else set()


def as_text(value: Any) -> str:
    """Write a checked JSON value as jsonb reads it."""
    return encode(value).decode()
