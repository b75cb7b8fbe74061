"""dispatch, requeue, take_back, claim, put_back: from the table into a worker's hands and, unstarted, back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch, loads
from tasks.errors import CallboardError
from tasks.hint import Hint
from tasks.lifecycle.signals import Moved, announce
from tasks.states import Status


class Dispatched(NamedTuple):
    """A task that was just marked QUEUED and is to be published."""

    hint: Hint
    band: str
    priority: int
    run_at: datetime
    actor: str
    trace_id: str


@dataclass(frozen=True)
class Probe:
    """Where the dispatcher looks: one priority of a queue, from a position on, into a band with some space.

    Only what has been due for ``waited_seconds`` is found.
    """

    priority: int
    band: str
    limit: int
    waited_seconds: float = 0
    after_run_at: datetime | None = None
    after_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task as its worker needs it; ``claimed_at`` is the database's clock."""

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
    owner_id: int | None
    estimated_seconds: float | None
    claimed_at: datetime


# One probe per priority along task_due_idx, highest first, so that neither a backlog of lower priorities nor one in the
# future is walked; the position skips index entries that a long transaction elsewhere keeps from being cleaned up.
# Another dispatcher's rows are locked and skipped. What nobody here can run is locked for the moment too, so a probe
# looks at little more than it wants; ``queries.due`` passes more of them. (To filter first and to lock what is left
# by its key costs each task a tenth more.) The term row is locked so that a leader that lost its lease between
# two statements dispatches nothing. So is the queue's: a pause that is under way is heeded, and one that comes now
# waits for this statement's commit and takes back what it handed over.
_DISPATCH = """
WITH lead AS MATERIALIZED (
    SELECT FROM callboard_term WHERE name = %(lease)s AND term = %(term)s FOR SHARE
), unpaused AS MATERIALIZED (
    SELECT FROM callboard_queue WHERE name = %(queue)s AND paused_at IS NULL FOR SHARE SKIP LOCKED
), probe AS (
    SELECT * FROM json_to_recordset(%(probes)s) AS probe (
        place integer, priority smallint, band text, "limit" integer, waited double precision,
        after_run_at timestamptz, after_id uuid
    )
), picked AS MATERIALIZED (
    SELECT due.id, due.band
    FROM (SELECT * FROM probe ORDER BY place) AS probe
    CROSS JOIN LATERAL (
        SELECT looked.id, probe.band
        FROM (
            SELECT task.id, task.actor, task.expires_at
            FROM callboard_task AS task
            WHERE task.status IN ('PENDING', 'RETRYING')
              AND task.queue = %(queue)s AND task.priority = probe.priority
              AND task.run_at <= statement_timestamp() - probe.waited * interval '1 second'
              AND (task.run_at, task.id) > (
                  COALESCE(probe.after_run_at, '-infinity'),
                  COALESCE(probe.after_id, '00000000-0000-0000-0000-000000000000')
              )
            ORDER BY task.run_at, task.id
            LIMIT probe."limit" + 500
            FOR UPDATE SKIP LOCKED
        ) AS looked
        WHERE looked.actor = ANY(%(actors)s)
          AND (looked.expires_at IS NULL OR looked.expires_at > statement_timestamp())
        LIMIT probe."limit"
    ) AS due
    WHERE EXISTS (SELECT FROM lead) AND EXISTS (SELECT FROM unpaused)
    LIMIT %(space)s
)
UPDATE callboard_task AS task
SET status = 'QUEUED', dispatch = task.dispatch + 1, queued_at = statement_timestamp()
FROM picked
WHERE task.id = ANY(ARRAY[picked.id])
RETURNING task.id, task.dispatch, picked.band, task.priority, task.run_at, task.actor, task.trace_id
"""


def dispatch_many(
    queue: str, probes: Sequence[Probe], *, space: int, actors: Sequence[str], lease: str, term: int
) -> list[Dispatched]:
    """Mark due tasks of a queue QUEUED, highest priority and oldest first, and return them in that order.

    None may be found in a level that begins with 500 tasks of other actors; see ``queries.due.scan``.

    Parameters:
        probes: where to look, in order of preference.
        space: how many at most.
        actors: names that a live worker of the queue can run.
    """
    rows = [
        {
            "place": place,
            "priority": probe.priority,
            "band": probe.band,
            "limit": probe.limit,
            "waited": probe.waited_seconds,
            "after_run_at": probe.after_run_at,
            "after_id": probe.after_id,
        }
        for place, probe in enumerate(probes)
    ]
    found = fetch(
        _DISPATCH,
        {
            "lease": lease,
            "term": term,
            "probes": as_json(rows),
            "space": space,
            "queue": queue,
            "actors": list(actors),
        },
        prepared="callboard_dispatch",
    )
    dispatched = [Dispatched(Hint(id, dispatch), *rest) for id, dispatch, *rest in found]
    announce("dispatch", [Moved(one.hint.task_id, Status.QUEUED, one.actor, queue, one.trace_id) for one in dispatched])
    return sorted(dispatched, key=lambda one: (-one.priority, one.run_at, one.hint.task_id))


# Back from the broker to the table. The dispatch number stays: the next hand-over raises it and outdates this hint.
_REQUEUE = """
WITH lead AS MATERIALIZED (
    SELECT FROM callboard_term WHERE name = %(lease)s AND term = %(term)s FOR SHARE
), hint AS (
    SELECT * FROM json_to_recordset(%(hints)s) AS hint (id uuid, dispatch integer)
), stranded AS (
    SELECT task.id FROM hint JOIN callboard_task AS task ON task.id = ANY(ARRAY[hint.id])
    WHERE COALESCE(task.status, '') = 'QUEUED' AND task.dispatch = hint.dispatch AND EXISTS (SELECT FROM lead)
    ORDER BY hint.id FOR UPDATE OF task SKIP LOCKED
)
UPDATE callboard_task AS task
SET status = 'PENDING', queued_at = NULL
FROM stranded WHERE task.id = ANY(ARRAY[stranded.id])
RETURNING task.id, task.actor, task.queue, task.trace_id
"""


def requeue_many(hints: Sequence[Hint], *, lease: str, term: int) -> int:
    """Take back tasks whose hint did not reach the broker or is gone from it; return how many."""
    if not hints:
        return 0
    rows = [{"id": hint.task_id, "dispatch": hint.dispatch} for hint in hints]
    moved = fetch(_REQUEUE, {"hints": as_json(rows), "lease": lease, "term": term})
    announce("requeue", [Moved(id, Status.PENDING, actor, queue, trace) for id, actor, queue, trace in moved])
    return len(moved)


# All that a queue has in the broker; its hints are stale from then on.
_TAKE_BACK = """
WITH handed_over AS (
    SELECT task.id FROM callboard_task AS task
    WHERE task.status = 'QUEUED' AND task.queue = %(queue)s
    ORDER BY task.id FOR UPDATE OF task
)
UPDATE callboard_task AS task
SET status = 'PENDING', queued_at = NULL
FROM handed_over WHERE task.id = handed_over.id
RETURNING task.id, task.actor, task.queue, task.trace_id
"""


def take_back(queue: str) -> int:
    """Take back what of a queue was handed over and not claimed, because it was paused; return how many tasks."""
    moved = fetch(_TAKE_BACK, {"queue": queue})
    announce("requeue", [Moved(id, Status.PENDING, actor, queue, trace) for id, actor, queue, trace in moved])
    return len(moved)


# A stale hint (claimed before, requeued since, finished, expired) finds no row. A worker whose lease is over claims
# nothing: the sweeper may already have given its tasks away. A row that somebody's transaction holds is skipped, or it
# would keep this process from everything else; its hint is lost then, which the sweeper finds out.
_CLAIM = """
WITH entitled AS MATERIALIZED (
    SELECT FROM callboard_worker AS worker
    WHERE worker.id = %(worker)s AND worker.status = 'ALIVE' AND worker.lease_expires_at > statement_timestamp()
), hint AS (
    SELECT * FROM json_to_recordset(%(hints)s) AS hint (id uuid, dispatch integer)
), claimable AS (
    SELECT task.id FROM hint JOIN callboard_task AS task ON task.id = ANY(ARRAY[hint.id])
    WHERE COALESCE(task.status, '') = 'QUEUED' AND task.dispatch = hint.dispatch
      AND (task.expires_at IS NULL OR task.expires_at > statement_timestamp())
      AND EXISTS (SELECT FROM entitled)
    ORDER BY hint.id FOR UPDATE OF task SKIP LOCKED
), claimed AS (
    UPDATE callboard_task AS task
    SET status = 'RUNNING', attempt = task.attempt + 1, worker_id = %(worker)s, started_at = statement_timestamp()
    FROM claimable WHERE task.id = ANY(ARRAY[claimable.id])
    RETURNING task.id, task.attempt, task.actor, task.queue, task.priority, task.args, task.payload, task.options,
        task.failures, task.crashes, task.max_retries, task.min_backoff_seconds, task.max_backoff_seconds,
        task.retry_until, task.time_limit_seconds, task.trace_id, task.owner_id,
        task.estimated_seconds, statement_timestamp()
)
SELECT claimed.* FROM (SELECT EXISTS (SELECT FROM entitled) AS is_entitled) AS worker
LEFT JOIN claimed ON true
WHERE worker.is_entitled
"""


class NotEntitled(CallboardError):
    """This worker may claim nothing: it drains, its lease is over, or it was declared gone."""

    code = "error"


def claim_many(hints: Sequence[Hint], *, worker_id: UUID) -> list[Claimed]:
    """Give a live worker the tasks that its hints still entitle it to, highest priority first.

    Raises:
        NotEntitled: the worker may claim nothing, so the hints may still be good for another one.
    """
    if not hints:
        return []
    rows = [{"id": hint.task_id, "dispatch": hint.dispatch} for hint in hints]
    found = fetch(_CLAIM, {"hints": as_json(rows), "worker": worker_id}, prepared="callboard_claim")
    if not found:
        raise NotEntitled()
    claimed = [_claimed(*row) for row in found if row[0] is not None]
    announce("claim", [Moved(one.id, Status.RUNNING, one.actor, one.queue, one.trace_id) for one in claimed])
    return sorted(claimed, key=lambda one: (-one.priority, one.id))


def _claimed(*columns: Any) -> Claimed:
    id, attempt, actor, queue, priority, args, payload, options, *rest = columns
    return Claimed(id, attempt, actor, queue, priority, loads(args), loads(payload), loads(options), *rest)


# Claimed and not started: as if it had not been claimed, but for the attempt number, which stays used. A cancel that
# was asked for in between has its way. A row that somebody has locked is skipped: the heartbeat finds it later.
_PUT_BACK = """
WITH held AS (
    SELECT * FROM json_to_recordset(%(held)s) AS held (id uuid, attempt integer)
), unstarted AS (
    SELECT task.id FROM held JOIN callboard_task AS task ON task.id = ANY(ARRAY[held.id])
    WHERE COALESCE(task.status, '') = 'RUNNING' AND task.attempt = held.attempt AND task.worker_id = %(worker)s
    ORDER BY held.id FOR UPDATE OF task SKIP LOCKED
)
UPDATE callboard_task AS task
SET status = CASE WHEN task.cancel_requested_at IS NULL THEN 'PENDING' ELSE 'CANCELLED' END,
    finished_at = CASE WHEN task.cancel_requested_at IS NULL THEN NULL ELSE statement_timestamp() END,
    run_at = GREATEST(task.run_at, statement_timestamp() + %(delay)s * interval '1 second'),
    worker_id = NULL, started_at = NULL, queued_at = NULL, cancel_requested_at = NULL
FROM unstarted WHERE task.id = ANY(ARRAY[unstarted.id])
RETURNING task.id, task.status, task.actor, task.queue, task.trace_id
"""


def put_back_many(held: Sequence[tuple[UUID, int]], *, worker_id: UUID, delay_seconds: float | None = None) -> int:
    """Return claimed tasks that were not started; no attempt row, no failure. Return how many.

    Parameters:
        held: pairs of task id and attempt number.
        delay_seconds: not before then; by default at once, in their old place.
    """
    if not held:
        return 0
    rows = [{"id": id, "attempt": attempt} for id, attempt in held]
    parameters = {"held": as_json(rows), "worker": worker_id, "delay": delay_seconds}
    moves = [Moved(*row) for row in fetch(_PUT_BACK, parameters)]
    announce("put_back", moves)
    return len(moves)
