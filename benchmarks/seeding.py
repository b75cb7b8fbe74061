"""Writes tasks by the million straight into the tables, because submitting a backlog would take too long."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.stack import Stack

#: Rows per statement, few enough for WAL and memory to stay small.
_CHUNK = 250_000

_WAITING = """
INSERT INTO callboard_task (
    id, actor, payload, args, options, queue, priority, run_at, max_retries, min_backoff_seconds, max_backoff_seconds,
    time_limit_seconds, tags, trace_id
)
SELECT gen_random_uuid(), '{actor}', jsonb_build_object('number', number), '[]', '{{}}', {queue}, {priority},
       statement_timestamp() + interval '{due_in}' + number * interval '1 microsecond', 20, 15, 3600, 300, '{{}}', ''
FROM generate_series({first}, {last}) AS number
"""

# Spread over days, like real history: ids and times grow together.
_FINISHED = """
WITH finished AS (
    INSERT INTO callboard_task (
        id, actor, payload, args, options, queue, priority, run_at, created_at, status, dispatch, attempt,
        max_retries, min_backoff_seconds, max_backoff_seconds, time_limit_seconds, tags, trace_id, queued_at,
        started_at, finished_at
    )
    SELECT (lpad(to_hex((EXTRACT(EPOCH FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(number::text), 1, 19))
               ::uuid,
           'noop', jsonb_build_object('number', number), '[]', '{{}}', 'default', 5, at, at, 'SUCCEEDED', 1, 1,
           20, 15, 3600, 300, '{{}}', md5(number::text), at, at, at
    FROM (
        SELECT number, statement_timestamp() - ({total} - number) * interval '0.1 seconds' AS at
        FROM generate_series({first}, {last}) AS number
    ) AS moment
    RETURNING id, finished_at
)
INSERT INTO callboard_attempt (task_id, number, outcome, worker_id, started_at, finished_at)
SELECT id, 1, 'SUCCEEDED', id, finished_at, finished_at FROM finished
"""


def waiting(
    stack: Stack,
    count: int,
    *,
    priority: int = 5,
    due_in: str = "-1 hour",
    actor: str = "noop",
    queues: Sequence[str] = ("default",),
) -> None:
    """Write tasks that wait for a worker or for their ``run_at``, in each of some queues in turn."""
    queue = f"(ARRAY{list(queues)})[number % {len(queues)} + 1]"
    for first in range(1, count + 1, _CHUNK):
        last = min(count, first + _CHUNK - 1)
        stack.query(_WAITING.format(first=first, last=last, priority=priority, due_in=due_in, actor=actor, queue=queue))
    stack.query("VACUUM ANALYZE callboard_task")


def finished(stack: Stack, count: int) -> None:
    """Write tasks that have ended, each with its attempt."""
    for first in range(1, count + 1, _CHUNK):
        stack.query(_FINISHED.format(first=first, last=min(count, first + _CHUNK - 1), total=count))
    stack.settle()


def board(stack: Stack, count: int, *, first_owner: int) -> None:
    """Write the large board of ``board.sql`` and ``history.sql``: tasks, attempts, dead letters, statistics and so on.

    Parameters:
        first_owner: the lowest of the twenty consecutive user ids that own tasks.
    """
    script = _script("board.sql")
    for first in range(1, count + 1, _CHUNK):
        last = min(count, first + _CHUNK - 1)
        stack.query(script.format(first=first, last=last, rows=count, first_owner=first_owner))
    stack.query(_script("history.sql"))
    stack.settle()


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text()
