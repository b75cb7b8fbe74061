"""claim: a worker takes the tasks that its hints name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tasks.db.statements import as_json, fetch, loads
from tasks.errors import CallboardError
from tasks.hint import Hint
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.predicates import CAN_STILL_START, LIVE_WORKER, in_batch, is_current
from tasks.states import Status
from tasks.submission import OwnerId


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task as its worker gets it; ``claimed_at`` is by the database's clock."""

    id: UUID
    attempt: int
    actor: str
    queue: str
    priority: int
    args: list[Any]
    payload: dict[str, Any]
    options: dict[str, Any]
    failures: int
    crashes: int
    max_retries: int | None
    min_backoff_seconds: float
    max_backoff_seconds: float
    retry_until: datetime | None
    time_limit_seconds: float
    trace_id: str
    owner_id: OwnerId | None
    estimated_seconds: float | None
    message_id: str | None
    claimed_at: datetime
    #: For how long it had been due.
    due_seconds: float


# A stale hint (claimed before, requeued since, finished, expired) finds no row. A worker whose lease has ended claims
# nothing: the sweeper may already have given its tasks to others. A row that another transaction holds is skipped,
# since waiting for it would stop the whole process; its hint is then lost, and the sweeper finds the task.
_CLAIM = f"""
WITH entitled AS MATERIALIZED (
    SELECT FROM callboard_worker AS worker
    WHERE worker.id = %(worker)s AND {LIVE_WORKER}
), hint AS (
    SELECT * FROM json_to_recordset(%(hints)s) AS hint (id uuid, dispatch integer)
), claimable AS (
    SELECT task.id FROM hint JOIN callboard_task AS task ON {in_batch("hint")}
    WHERE {is_current("hint")} AND {CAN_STILL_START} AND EXISTS (SELECT FROM entitled)
    ORDER BY hint.id FOR UPDATE OF task SKIP LOCKED
), claimed AS (
    UPDATE callboard_task AS task
    SET status = 'RUNNING', attempt = task.attempt + 1, worker_id = %(worker)s, started_at = statement_timestamp(),
        unique_key = CASE WHEN task.unique_rule ->> 'until' = 'started' THEN NULL ELSE task.unique_key END
    FROM claimable WHERE {in_batch("claimable")}
    RETURNING task.id, task.attempt, task.actor, task.queue, task.priority, task.args, task.payload, task.options,
        task.failures, task.crashes, task.max_retries, task.min_backoff_seconds, task.max_backoff_seconds,
        task.retry_until, task.time_limit_seconds, task.trace_id, task.owner_id,
        task.estimated_seconds, task.message_id, statement_timestamp(),
        EXTRACT(EPOCH FROM statement_timestamp() - task.run_at)::double precision
)
SELECT claimed.* FROM (SELECT EXISTS (SELECT FROM entitled) AS is_entitled) AS worker
LEFT JOIN claimed ON true
WHERE worker.is_entitled
"""


class NotEntitled(CallboardError):
    """This worker may claim nothing: it drains, its lease has ended, or it was declared gone."""

    code = "error"


def claim_many(hints: Sequence[Hint], *, worker_id: UUID) -> list[Claimed]:
    """Claim for a live worker the tasks whose hints are current, and return them, highest priority first.

    Raises:
        NotEntitled: the worker may claim nothing; the hints may still be good for another worker.
    """
    if not hints:
        return []
    rows = [{"id": hint.task_id, "dispatch": hint.dispatch} for hint in hints]
    found = fetch(_CLAIM, {"hints": as_json(rows), "worker": worker_id}, prepared="callboard_claim")
    if not found:
        raise NotEntitled()
    claimed = [_claimed(*row) for row in found if row[0] is not None]
    announce("claim", [_moved(one) for one in claimed])
    return sorted(claimed, key=lambda one: (-one.priority, one.id))


def _claimed(*columns: Any) -> Claimed:
    id, attempt, actor, queue, priority, args, payload, options, *rest = columns
    return Claimed(id, attempt, actor, queue, priority, loads(args), loads(payload), loads(options), *rest)


def _moved(one: Claimed) -> Moved:
    return Moved(one.id, Status.RUNNING, one.actor, one.queue, one.trace_id, seconds=one.due_seconds)
