"""The statistics of each queue, at a bounded cost however many tasks there are."""

from datetime import datetime
from typing import NamedTuple

from tasks.db.statements import by_index, fetch
from tasks.lifecycle.predicates import DISPATCHABLE, HAS_COME, IN_LANE, LANES, LIVE_WORKER
from tasks.models import Task
from tasks.priority import BANDS, HIGHEST, LOWEST
from tasks.queries import counts
from tasks.queries.counts import Count


class QueueStats(NamedTuple):
    """What waits and runs of one queue, and how many threads serve it."""

    name: str
    paused_at: datetime | None
    #: PENDING and RETRYING, due or not.
    waiting: Count
    queued: int
    running: int
    #: How long the oldest due task has been due.
    oldest_due_seconds: float | None
    #: Of the live workers that serve it or one of its bands.
    threads: int


# The oldest due task by one probe per priority and lane along task_lane_idx; QUEUED is bounded by the dispatcher's
# window and RUNNING by the workers' threads.
_QUEUE_STATS = f"""
SELECT queue.name, queue.paused_at,
    (SELECT count(*) FROM (
        SELECT FROM callboard_task AS task
        WHERE {DISPATCHABLE} AND task.queue = queue.name LIMIT %(cap)s
    ) AS counted),
    (SELECT count(*) FROM callboard_task AS task WHERE task.status = 'QUEUED' AND task.queue = queue.name),
    (SELECT count(*) FROM callboard_task AS task WHERE task.status = 'RUNNING' AND task.queue = queue.name),
    (WITH RECURSIVE level (queue, priority) AS (
        SELECT queue.name::text, priority::smallint FROM generate_series({LOWEST}, {HIGHEST}) AS priority
     ), {LANES}
     SELECT EXTRACT(EPOCH FROM statement_timestamp() - min(first.run_at))::double precision
     FROM lane
     CROSS JOIN LATERAL (
        SELECT task.run_at FROM callboard_task AS task
        WHERE {IN_LANE} AND {HAS_COME}
        ORDER BY task.run_at, task.id LIMIT 1
     ) AS first),
    (SELECT COALESCE(sum(worker.threads), 0) FROM callboard_worker AS worker
     WHERE {LIVE_WORKER} AND (queue.name = ANY(worker.queues) OR EXISTS (
           SELECT FROM unnest(%(bands)s::text[]) AS band WHERE queue.name || '.' || band = ANY(worker.queues)
       )))
FROM callboard_queue AS queue
ORDER BY queue.name
"""


def all_queue_stats() -> list[QueueStats]:
    """List the statistics of every queue, by name."""
    with by_index():
        rows = fetch(_QUEUE_STATS, {"cap": counts.COUNT_CAP, "bands": [band.name for band in BANDS]})
    return [
        QueueStats(name, paused_at, Count(waiting, waiting >= counts.COUNT_CAP), *rest)
        for name, paused_at, waiting, *rest in rows
    ]


_OLDEST = f"""
WITH RECURSIVE level (queue, priority) AS (
    SELECT %(queue)s::text, priority::smallint FROM generate_series({LOWEST}, {HIGHEST}) AS priority
), {LANES}
SELECT first.id FROM lane
CROSS JOIN LATERAL (
    SELECT task.id, task.run_at FROM callboard_task AS task
    WHERE {IN_LANE} AND {HAS_COME}
    ORDER BY task.run_at, task.id LIMIT %(most)s
) AS first
ORDER BY first.run_at, first.id LIMIT %(most)s
"""


def oldest_due(queue: str, *, most: int) -> list[Task]:
    """List the tasks of a queue that have been due longest, by one probe per priority and lane."""
    with by_index():
        ids = [id for (id,) in fetch(_OLDEST, {"queue": queue, "most": most})]
    found = Task.objects.defer("payload", "args", "options", "result", "log").in_bulk(ids)
    return [found[id] for id in ids if id in found]
