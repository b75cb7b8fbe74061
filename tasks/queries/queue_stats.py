"""Numbers about the whole board, each with a bound on what it costs however many tasks there are."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from tasks.db.statements import fetch, loads
from tasks.priority import BANDS
from tasks.states import Status

#: No status and no queue is counted further.
COUNT_CAP = 10_000
#: So many of the newest tasks are looked at for the statuses that have no index.
NEWEST_TASKS = 100_000
#: So many of the newest tasks' attempts are looked at for throughput and latencies.
NEWEST_ATTEMPTS = 50_000


class Count(NamedTuple):
    """How many; with ``is_capped`` there may be more."""

    number: int
    is_capped: bool


# Statuses are literals because PostgreSQL uses a partial index only where it can prove its condition.
_COUNT = """
SELECT '{status}', count(*), count(*) >= %(cap)s
FROM (SELECT FROM callboard_task WHERE status = '{status}' LIMIT %(cap)s) AS counted
"""
# No index leads to these: what is not among the newest tasks is not counted, which is said if there are older ones.
_COUNT_AMONG_NEWEST = """
SELECT '{status}', LEAST(count(*) FILTER (WHERE status = '{status}'), %(cap)s),
       count(*) FILTER (WHERE status = '{status}') >= %(cap)s OR count(*) >= %(newest)s
FROM (SELECT status FROM callboard_task ORDER BY id DESC LIMIT %(newest)s) AS newest
"""
_WITHOUT_INDEX = frozenset({Status.BLOCKED, Status.SUCCEEDED})


def counts_by_status() -> dict[Status, Count]:
    """Count tasks by status, each status up to ``COUNT_CAP``."""
    parts = [
        (_COUNT_AMONG_NEWEST if status in _WITHOUT_INDEX else _COUNT).format(status=status.value) for status in Status
    ]
    rows = fetch(" UNION ALL ".join(parts), {"cap": COUNT_CAP, "newest": NEWEST_TASKS})
    return {Status(status): Count(number, is_capped) for status, number, is_capped in rows}


class Standing(NamedTuple):
    """How one queue stands."""

    name: str
    paused_at: datetime | None
    #: PENDING and RETRYING, due or not.
    waiting: Count
    queued: int
    running: int
    #: For how long the oldest task that is due has been so.
    oldest_due_seconds: float | None
    #: Of live workers that serve it or one of its bands.
    threads: int


# The oldest due task by one probe per priority along task_due_idx; QUEUED is bounded by the dispatcher's window and
# RUNNING by the workers' threads.
_STANDINGS = """
SELECT queue.name, queue.paused_at,
    (SELECT count(*) FROM (
        SELECT FROM callboard_task AS task
        WHERE task.status IN ('PENDING', 'RETRYING') AND task.queue = queue.name LIMIT %(cap)s
    ) AS counted),
    (SELECT count(*) FROM callboard_task AS task WHERE task.status = 'QUEUED' AND task.queue = queue.name),
    (SELECT count(*) FROM callboard_task AS task WHERE task.status = 'RUNNING' AND task.queue = queue.name),
    (SELECT EXTRACT(EPOCH FROM statement_timestamp() - min(first.run_at))::double precision
     FROM generate_series(1, 10) AS probe (priority)
     CROSS JOIN LATERAL (
        SELECT task.run_at FROM callboard_task AS task
        WHERE task.status IN ('PENDING', 'RETRYING') AND task.queue = queue.name AND task.priority = probe.priority
          AND task.run_at <= statement_timestamp()
        ORDER BY task.run_at, task.id LIMIT 1
     ) AS first),
    (SELECT COALESCE(sum(worker.threads), 0) FROM callboard_worker AS worker
     WHERE worker.status = 'ALIVE' AND worker.lease_expires_at > statement_timestamp()
       AND (queue.name = ANY(worker.queues) OR EXISTS (
           SELECT FROM unnest(%(bands)s::text[]) AS band WHERE queue.name || '.' || band = ANY(worker.queues)
       )))
FROM callboard_queue AS queue
ORDER BY queue.name
"""


def queue_standings() -> list[Standing]:
    """Tell how each queue stands, by name."""
    rows = fetch(_STANDINGS, {"cap": COUNT_CAP, "bands": [band.name for band in BANDS]})
    return [
        Standing(name, paused_at, Count(waiting, waiting >= COUNT_CAP), *rest)
        for name, paused_at, waiting, *rest in rows
    ]


class Percentiles(NamedTuple):
    """Seconds that half, 95 and 99 of a hundred stayed below; None where there was nothing."""

    p50: float | None
    p95: float | None
    p99: float | None


class Recent(NamedTuple):
    """What ended in the last minutes; with ``is_capped`` there was more."""

    minutes: float
    #: Ended attempts by outcome.
    attempts: Mapping[str, int]
    is_capped: bool
    #: From being due to the start, of tasks that ran once.
    wait: Percentiles
    #: Of the actor.
    run: Percentiles

    @property
    def per_second(self) -> float:
        """Ended attempts per second."""
        return sum(self.attempts.values()) / (self.minutes * 60)


# Attempts have no index by time, so those of the newest tasks are looked at. run_at is when a task was due as long as
# it ran once; a retry moves it.
_RECENT = """
WITH newest AS MATERIALIZED (
    SELECT task_id, number, outcome, started_at, finished_at FROM callboard_attempt
    ORDER BY task_id DESC, number DESC LIMIT %(cap)s
), ended AS (
    SELECT newest.outcome,
           EXTRACT(EPOCH FROM newest.finished_at - newest.started_at)::double precision AS run,
           EXTRACT(EPOCH FROM newest.started_at - task.run_at)::double precision AS wait
    FROM newest LEFT JOIN callboard_task AS task ON task.id = newest.task_id AND task.attempt = 1
    WHERE newest.finished_at > statement_timestamp() - %(minutes)s * interval '1 minute'
)
SELECT (SELECT COALESCE(json_object_agg(outcome, number), '{}')::text
        FROM (SELECT outcome, count(*) AS number FROM ended GROUP BY outcome) AS counted),
       (SELECT count(*) FROM newest) >= %(cap)s,
       percentile_cont(%(parts)s::double precision[]) WITHIN GROUP (ORDER BY GREATEST(wait, 0)),
       percentile_cont(%(parts)s::double precision[]) WITHIN GROUP (ORDER BY run)
FROM ended
"""


def recent(*, minutes: float) -> Recent:
    """Measure throughput and latencies of the last minutes."""
    parameters = {"cap": NEWEST_ATTEMPTS, "minutes": minutes, "parts": [0.5, 0.95, 0.99]}
    ((attempts, is_capped, wait, run),) = fetch(_RECENT, parameters)
    return Recent(minutes, loads(attempts), is_capped, _percentiles(wait), _percentiles(run))


def _percentiles(found: list[float] | None) -> Percentiles:
    return Percentiles(*found) if found else Percentiles(None, None, None)
