"""How many attempts ended in the last minutes, how long they ran, and how long their tasks waited."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import by_index, fetch, loads

#: The most attempts that are read.
MOST_ATTEMPTS = 50_000
#: The period is not shortened further.
SHORTEST_MINUTES = 1 / 60


class Percentiles(NamedTuple):
    """Percentiles in seconds; None if there was nothing to measure."""

    p50: float | None
    p95: float | None
    p99: float | None


class Recent(NamedTuple):
    """The attempts that ended in the last minutes; if there were too many, in the last ``measured_minutes``."""

    minutes: float
    measured_minutes: float
    #: Ended attempts by outcome.
    attempts: Mapping[str, int]
    #: From being due to the start, of tasks that had one attempt.
    wait: Percentiles
    #: Of the actor.
    run: Percentiles

    @property
    def is_capped(self) -> bool:
        """Whether there were too many to measure the whole period."""
        return self.measured_minutes < self.minutes

    @property
    def per_second(self) -> float:
        """Ended attempts per second."""
        return sum(self.attempts.values()) / (self.measured_minutes * 60)


_ENDED = "finished_at > statement_timestamp() - %(minutes)s * interval '1 minute'"
_NUMBER = f"SELECT count(*) FROM (SELECT FROM callboard_attempt WHERE {_ENDED} LIMIT %(cap)s) AS counted"

# A retry moves run_at, which says when a task was due only while the task has one attempt.
_RECENT = f"""
WITH latest AS MATERIALIZED (
    SELECT task_id, outcome, started_at, finished_at FROM callboard_attempt WHERE {_ENDED} LIMIT %(cap)s
), ended AS (
    SELECT latest.outcome,
           EXTRACT(EPOCH FROM latest.finished_at - latest.started_at)::double precision AS run,
           EXTRACT(EPOCH FROM latest.started_at - task.run_at)::double precision AS wait
    FROM latest LEFT JOIN callboard_task AS task ON task.id = latest.task_id AND task.attempt = 1
)
SELECT (SELECT COALESCE(json_object_agg(outcome, number), '{{}}')::text
        FROM (SELECT outcome, count(*) AS number FROM ended GROUP BY outcome) AS counted),
       percentile_cont(%(parts)s::double precision[]) WITHIN GROUP (ORDER BY GREATEST(wait, 0)),
       percentile_cont(%(parts)s::double precision[]) WITHIN GROUP (ORDER BY run)
FROM ended
"""


def recent(*, minutes: float) -> Recent:
    """Measure throughput and latencies of the last minutes; of fewer if more than ``MOST_ATTEMPTS`` ended in them."""
    measured, bounds = minutes, {"cap": MOST_ATTEMPTS, "parts": [0.5, 0.95, 0.99]}
    with by_index():
        while measured > SHORTEST_MINUTES and fetch(_NUMBER, {**bounds, "minutes": measured}) == [(MOST_ATTEMPTS,)]:
            measured /= 2
        ((attempts, wait, run),) = fetch(_RECENT, {**bounds, "minutes": measured})
    return Recent(minutes, measured, loads(attempts), _percentiles(wait), _percentiles(run))


def _percentiles(found: list[float] | None) -> Percentiles:
    return Percentiles(*found) if found else Percentiles(None, None, None)


_ENDED_IN = """
SELECT task_id FROM callboard_attempt
WHERE finished_at >= %(start)s AND finished_at < %(end)s
LIMIT %(most)s
"""


def ended_in(start: datetime, end: datetime, *, most: int) -> list[UUID]:
    """List tasks of which an attempt ended in that time, ``most`` at most, in no order."""
    with by_index():
        rows = fetch(_ENDED_IN, {"start": start, "end": end, "most": most})
    return list({task_id for (task_id,) in rows})
