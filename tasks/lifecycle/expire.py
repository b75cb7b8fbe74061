"""expire: tasks that are too old to start die."""

from django.db import transaction

from dlq.fingerprint import fingerprint
from tasks.db.statements import as_json, fetch
from tasks.lifecycle import failures
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.deaths import call_back
from tasks.lifecycle.predicates import IS_LEADING, IS_WAITING, LEAD
from tasks.lifecycle.rescue import BATCH
from tasks.lifecycle.tally import tallied
from tasks.models import new_id

_IS_TOO_OLD = f"{IS_WAITING} AND task.expires_at <= statement_timestamp()"
_AGE_MESSAGE = "older than its age limit before it could start"

_EXPIRED = f"""
SELECT task.id, task.actor FROM callboard_task AS task
WHERE {_IS_TOO_OLD}
ORDER BY task.expires_at LIMIT {BATCH}
"""

_EXPIRE = f"""
WITH {LEAD}, old AS (
    SELECT * FROM json_to_recordset(%(tasks)s) AS old (id uuid, letter uuid, fingerprint text)
), waiting AS MATERIALIZED (
    SELECT task.id, old.letter, old.fingerprint FROM callboard_task AS task JOIN old ON old.id = task.id
    WHERE {_IS_TOO_OLD} AND {IS_LEADING}
    ORDER BY task.id FOR UPDATE OF task SKIP LOCKED
), expired AS (
    UPDATE callboard_task AS task
    SET status = 'DEAD', finished_at = statement_timestamp(), queued_at = NULL, unique_key = NULL,
        error = '{_AGE_MESSAGE}'
    FROM waiting WHERE task.id = waiting.id
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id, task.attempt, task.owner_id,
        task.batch_id, waiting.letter, waiting.fingerprint
), tallied AS (
    {tallied("expired")}
), died AS (
    INSERT INTO callboard_deadletter (id, task_id, attempt, actor, queue, owner_id, reason, error_message, fingerprint)
    SELECT letter, id, attempt, actor, queue, owner_id, 'age_limit_exceeded', '{_AGE_MESSAGE}', fingerprint
    FROM expired
), counted AS (
    {failures.died("expired", error_type="''", message=f"'{_AGE_MESSAGE}'", frame="''")}
)
SELECT id, status, actor, queue, trace_id FROM expired
"""


def expire_many(*, lease: str, term: int) -> list[Moved]:
    """Let at most a batch of tasks that are too old to start die, and return them."""
    found = fetch(_EXPIRED, {})
    if not found:
        return []
    rows = [{"id": id, "letter": new_id(), "fingerprint": fingerprint(actor, "", _AGE_MESSAGE)} for id, actor in found]
    with transaction.atomic():
        moves = [Moved(*row) for row in fetch(_EXPIRE, {"tasks": as_json(rows), "lease": lease, "term": term})]
        announce("expire", moves)
        call_back(moves)
    return moves
