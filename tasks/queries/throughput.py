"""How many attempts ended in the last minutes, how long they ran, and how long their tasks waited."""

from collections.abc import Mapping
from typing import NamedTuple

from tasks.db.statements import fetch, loads

#: The newest attempts that are read; their order is that of their tasks.
NEWEST_ATTEMPTS = 50_000


class Percentiles(NamedTuple):
    """Percentiles in seconds; None if there was nothing to measure."""

    p50: float | None
    p95: float | None
    p99: float | None


class Recent(NamedTuple):
    """The attempts that ended in the last minutes; with ``is_capped`` there were more."""

    minutes: float
    #: Ended attempts by outcome.
    attempts: Mapping[str, int]
    is_capped: bool
    #: From being due to the start, of tasks that had one attempt.
    wait: Percentiles
    #: Of the actor.
    run: Percentiles

    @property
    def per_second(self) -> float:
        """Ended attempts per second."""
        return sum(self.attempts.values()) / (self.minutes * 60)


# Attempts have no index by time, so those of the newest tasks are read. A retry moves run_at, which says when a task
# was due only while the task has one attempt.
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
