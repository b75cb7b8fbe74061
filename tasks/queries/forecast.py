"""The forecast: when a waiting task is expected to start, estimated from the tasks ahead of it."""

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tasks.db.statements import fetch
from tasks.lifecycle.predicates import HAS_COME, IN_LANE, IS_DUE, LANES, LIVE_WORKER
from tasks.lifecycle.signal import open_wait
from tasks.models import Task
from tasks.priority import HIGHEST, broker_queue
from tasks.queries import waiting
from tasks.queries.waiting import WaitingFor
from tasks.states import DUE, Status

#: The most tasks ahead that are read.
MOST_AHEAD = 1_000
#: A task without an estimate is assumed to take its actor's average among this many newest attempts.
NEWEST_ATTEMPTS = 200


class Forecast(NamedTuple):
    """In how many seconds a task is expected to start; None if something else must happen first."""

    seconds: float | None
    #: It may well start later: more tasks are ahead than were read, or it is not due yet.
    is_at_least: bool = False
    #: Why it does not run yet.
    waiting_for: Sequence[WaitingFor] = ()

    @property
    def obstacle(self) -> str:
        """What must happen first, in words; empty if it only takes time."""
        return "" if self.seconds is not None else "; ".join(one.message for one in self.waiting_for if one.is_blocking)


_SERVICE = f"""
WITH live AS (
    SELECT worker.id, worker.threads, %(actor)s = ANY(worker.actors) AS knows_actor,
           worker.queues && %(names)s::varchar[] AS serves_queue
    FROM callboard_worker AS worker WHERE {LIVE_WORKER}
)
SELECT EXTRACT(EPOCH FROM %(run_at)s - statement_timestamp())::double precision,
       EXISTS (SELECT FROM callboard_lease WHERE expires_at > statement_timestamp()),
       (SELECT paused_at FROM callboard_queue WHERE name = %(queue)s),
       COALESCE(bool_or(serves_queue), false),
       COALESCE(sum(threads) FILTER (WHERE knows_actor AND serves_queue), 0),
       COALESCE(array_agg(id::text) FILTER (WHERE knows_actor AND serves_queue), '{{}}')
FROM live
"""

# One walk along task_lane_idx for each priority that goes first, so that tasks behind cost nothing. Of its own priority
# the tasks before it in its lane go first, and as many of each other lane, and one more. QUEUED tasks are bounded by
# the dispatcher's window, RUNNING ones by the workers' threads.
_AHEAD = f"""
WITH RECURSIVE usual AS (
    SELECT task.actor, avg(EXTRACT(EPOCH FROM attempt.finished_at - attempt.started_at)) AS seconds
    FROM (SELECT * FROM callboard_attempt ORDER BY task_id DESC, number DESC LIMIT %(newest)s) AS attempt
    JOIN callboard_task AS task ON task.id = attempt.task_id
    GROUP BY task.actor
), level (queue, priority) AS (
    SELECT %(queue)s::text, %(priority)s::smallint
), {LANES}, same_lane AS MATERIALIZED (
    SELECT * FROM callboard_task AS task
    WHERE {IS_DUE} AND task.queue = %(queue)s AND task.priority = %(priority)s AND task.lane = %(lane)s
      AND (task.run_at, task.id) < (%(run_at)s, %(id)s)
    ORDER BY task.run_at, task.id
    LIMIT %(most)s
), ahead AS (
    SELECT 0 AS turn, actor, estimated_seconds, priority, run_at, id, statement_timestamp() - started_at AS ran
    FROM callboard_task
    WHERE status = 'RUNNING' AND worker_id = ANY(%(workers)s::uuid[])
    UNION ALL
    SELECT 1, actor, estimated_seconds, priority, run_at, id, interval '0'
    FROM callboard_task
    WHERE status = 'QUEUED' AND queue = %(queue)s
      AND (priority > %(priority)s OR (priority = %(priority)s
           AND (lane <> %(lane)s OR (run_at, id) < (%(run_at)s, %(id)s))))
    UNION ALL
    SELECT 1, due.actor, due.estimated_seconds, due.priority, due.run_at, due.id, interval '0'
    FROM generate_series(%(priority)s + 1, %(highest)s) AS probe (priority)
    CROSS JOIN LATERAL (
        SELECT * FROM callboard_task AS task
        WHERE {IS_DUE} AND task.queue = %(queue)s AND task.priority = probe.priority
        ORDER BY task.lane, task.run_at, task.id
        LIMIT %(most)s
    ) AS due
    UNION ALL
    SELECT 1, actor, estimated_seconds, priority, run_at, id, interval '0' FROM same_lane
    UNION ALL
    (
        SELECT 1, due.actor, due.estimated_seconds, due.priority, due.run_at, due.id, interval '0'
        FROM lane
        CROSS JOIN LATERAL (
            SELECT * FROM callboard_task AS task
            WHERE {IN_LANE} AND {HAS_COME}
            ORDER BY task.run_at, task.id
            LIMIT (SELECT count(*) + 1 FROM same_lane)
        ) AS due
        WHERE lane.number <> %(lane)s
        LIMIT %(most)s
    )
)
SELECT turn, GREATEST(COALESCE(estimated_seconds, usual.seconds, 0) - EXTRACT(EPOCH FROM ran), 0)::double precision
FROM ahead LEFT JOIN usual USING (actor)
ORDER BY turn, priority DESC, run_at, id
LIMIT %(most)s
"""


def expected_start(task: Task) -> Forecast | None:
    """Forecast when a waiting task starts; None if it does not wait."""
    if task.status == Status.BLOCKED:
        return Forecast(None, waiting_for=(waiting.parents(task),))
    if task.status not in {*DUE, Status.QUEUED}:
        return None
    place = {
        "queue": task.queue,
        "priority": task.priority,
        "lane": task.lane,
        "run_at": task.run_at,
        "id": task.pk,
    }
    names = [task.queue, broker_queue(task.queue, task.band)]
    ((until_due, has_leader, paused_at, is_served, threads, workers),) = fetch(
        _SERVICE, {**place, "actor": task.actor, "names": names}
    )
    blocking: list[WaitingFor] = []
    if not has_leader and task.status in DUE:
        blocking.append(waiting.no_scheduler())
    if paused_at is not None:
        blocking.append(waiting.paused(task.queue, paused_at))
    if not is_served:
        blocking.append(waiting.queue_not_served(task))
    elif not threads:
        blocking.append(waiting.actor_not_served(task))
    if until_due > 0 and (missing := _signal_missing(task)):
        return Forecast(None, waiting_for=(*blocking, missing))
    if until_due > 0:
        # How many tasks will be ahead of it by then is not known.
        return Forecast(None if blocking else until_due, not blocking, (*blocking, waiting.not_due(task)))
    if blocking:
        return Forecast(None, waiting_for=tuple(blocking))
    bounds = {"workers": workers, "highest": HIGHEST, "most": MOST_AHEAD, "newest": NEWEST_ATTEMPTS}
    rows = fetch(_AHEAD, {**place, **bounds})
    seconds, is_capped = free_in_seconds([seconds for _, seconds in rows], threads=threads), len(rows) == MOST_AHEAD
    number_ahead, running = sum(turn for turn, _ in rows), sum(not turn for turn, _ in rows)
    reasons = [waiting.tasks_ahead(number_ahead, is_capped=is_capped)] if number_ahead else []
    if running >= threads:
        reasons.append(waiting.threads_busy(threads))
    return Forecast(seconds, is_capped, tuple(reasons))


def _signal_missing(task: Task) -> WaitingFor | None:
    """Find the signal that a task waits for; only one that has run may wait for any."""
    found = open_wait(task.pk) if task.attempt and task.status == Status.PENDING else None
    return found and waiting.signal_missing(*found)


def free_in_seconds(ahead: Iterable[float], *, threads: int) -> float:
    """Compute when a thread is free for one more task, if each of these goes to the thread that is free first.

    >>> free_in_seconds([60, 60, 5, 5], threads=3)
    10.0
    """
    free = [0.0] * threads
    for seconds in ahead:
        heapq.heapreplace(free, free[0] + seconds)
    return free[0]
