"""Where tasks are due, and when: the waiting tasks of each lane of a priority level, in the order of ``run_at``."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.fairness import NO_KEY
from tasks.lifecycle.dispatch import Probe
from tasks.lifecycle.predicates import DISPATCHABLE, IN_LANE, IS_DUE, LANES
from tasks.priority import HIGHEST, LOWEST


class PriorityLevel(NamedTuple):
    """One priority of one queue."""

    queue: str
    priority: int


class Lane(NamedTuple):
    """One lane of a priority level; its waiting tasks are a range of ``task_lane_idx``, by ``run_at`` and id."""

    queue: str
    priority: int
    number: int = NO_KEY

    @property
    def level(self) -> PriorityLevel:
        """The level that it is a lane of."""
        return PriorityLevel(self.queue, self.priority)


class Position(NamedTuple):
    """A place in a lane: that of a task with this ``run_at`` and id."""

    run_at: datetime
    id: UUID

    @property
    def just_before(self) -> "Position":
        """The position behind which this task comes first."""
        return Position(self.run_at, UUID(int=max(0, self.id.int - 1)))


class FirstTask(NamedTuple):
    """The first task of a lane, whether a worker can run it or not."""

    position: Position
    actor: str
    #: Negative if it is due.
    due_in_seconds: float


# The first task of each lane behind a position: one descent of task_lane_idx per lane and no lock; of a queue that is
# read from its front one descent in all, if no task waits in it. Lanes of keys that are not asked for are found by
# jumps from one to the next. A task that no worker can run is returned like any other, not skipped.
_FIRST_TASKS = f"""
WITH RECURSIVE busy AS MATERIALIZED (
    SELECT queue.name FROM unnest(%(queues)s::text[]) AS queue (name)
    CROSS JOIN LATERAL (
        SELECT FROM callboard_task AS task WHERE {DISPATCHABLE} AND task.queue = queue.name
        ORDER BY task.priority DESC, task.lane, task.run_at, task.id LIMIT 1
    ) AS any_task
), lane AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(lanes)s) AS lane (
        queue text, priority smallint, number smallint, after_run_at timestamptz, after_id uuid
    )
    UNION ALL
    SELECT busy.name, priority::smallint, {NO_KEY}::smallint, NULL, NULL
    FROM busy CROSS JOIN generate_series({LOWEST}, {HIGHEST}) AS priority
), keyed (queue, priority, number, run_at, id, actor) AS (
    SELECT lane.queue, lane.priority, lane.number, NULL::timestamptz, NULL::uuid, NULL::varchar
    FROM lane WHERE lane.number = {NO_KEY} AND %(finds_lanes)s
    UNION ALL
    SELECT keyed.queue, keyed.priority, first.lane, first.run_at, first.id, first.actor
    FROM keyed
    CROSS JOIN LATERAL (
        SELECT task.lane, task.run_at, task.id, task.actor FROM callboard_task AS task
        WHERE {DISPATCHABLE} AND task.queue = keyed.queue AND task.priority = keyed.priority
          AND task.lane > keyed.number
        ORDER BY task.lane, task.run_at, task.id
        LIMIT 1
    ) AS first
)
SELECT found.queue, found.priority, found.number, found.run_at, found.id, found.actor,
       EXTRACT(EPOCH FROM found.run_at - clock_timestamp())::double precision, found.is_asked
FROM (
    SELECT keyed.*, false AS is_asked FROM keyed WHERE keyed.id IS NOT NULL
    UNION ALL
    SELECT lane.queue, lane.priority, lane.number, first.*, true
    FROM lane
    CROSS JOIN LATERAL (
        SELECT task.run_at, task.id, task.actor FROM callboard_task AS task
        WHERE {IN_LANE}
          AND (task.run_at, task.id) > (
              COALESCE(lane.after_run_at, '-infinity'), COALESCE(lane.after_id, '00000000-0000-0000-0000-000000000000')
          )
        ORDER BY task.run_at, task.id
        LIMIT 1
    ) AS first
) AS found
"""


def first_tasks(
    probes: Mapping[Lane, Probe], queues: Sequence[str] = (), *, finds_lanes: bool = True
) -> dict[Lane, FirstTask]:
    """Find the first task of each lane; a lane without one is left out.

    Parameters:
        probes: the position behind which to look, for each lane.
        queues: look in all levels of these too, from the front.
        finds_lanes: look for other lanes of these levels too, from the front.
    """
    rows = [
        {
            "queue": lane.queue,
            "priority": lane.priority,
            "number": lane.number,
            "after_run_at": probe.after_run_at,
            "after_id": probe.after_id,
        }
        for lane, probe in probes.items()
    ]
    parameters = {"lanes": as_json(rows), "queues": list(queues), "finds_lanes": finds_lanes}
    found = fetch(_FIRST_TASKS, parameters, prepared="callboard_first_tasks")
    return {
        lane: FirstTask(Position(run_at, id), actor, due_in_seconds)
        for queue, priority, number, run_at, id, actor, due_in_seconds, is_asked in found
        # Of a lane that was asked for, the position counts.
        if (lane := Lane(queue, priority, number)) not in probes or is_asked
    }


class Scan(NamedTuple):
    """The result of reading along a lane."""

    #: The positions of tasks that a worker can run, in order.
    runnable: list[Position]
    #: The position of the last task that was read, or the start if none was due.
    end: Position
    #: Whether that is the last due task of the lane.
    is_complete: bool


# Along task_lane_idx until enough runnable tasks are found: the CTE is read in its order and no further.
_SCAN = f"""
WITH scanned AS MATERIALIZED (
    SELECT task.run_at, task.id, task.actor = ANY(%(actors)s) AS is_runnable
    FROM callboard_task AS task
    WHERE {IS_DUE} AND task.queue = %(queue)s AND task.priority = %(priority)s
      AND task.lane = %(lane)s AND (task.run_at, task.id) > (%(after_run_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY task.run_at, task.id
    LIMIT %(most)s
), runnable AS MATERIALIZED (
    SELECT scanned.run_at, scanned.id FROM scanned WHERE scanned.is_runnable LIMIT %(wanted)s
), total AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM runnable) < %(wanted)s
                THEN (SELECT count(*) FROM scanned) ELSE 0 END AS number
), last AS (
    SELECT scanned.run_at, scanned.id, (SELECT number FROM total) AS number FROM scanned
    WHERE (SELECT number FROM total) > 0
    OFFSET (SELECT GREATEST(number - 1, 0) FROM total) LIMIT 1
)
SELECT run_at, id, NULL FROM runnable UNION ALL SELECT run_at, id, number FROM last
"""


def scan(lane: Lane, *, after: Position, actors: Sequence[str], wanted: int, most: int) -> Scan:
    """Read along a lane for the first due tasks of some actors, without a lock.

    Parameters:
        after: the position behind which to start.
        wanted: stop after this many runnable tasks.
        most: read this many tasks at most.
    """
    parameters = {
        "queue": lane.queue,
        "priority": lane.priority,
        "lane": lane.number,
        "after_run_at": after.run_at,
        "after_id": after.id,
        "actors": list(actors),
        "wanted": wanted,
        "most": most,
    }
    rows = fetch(_SCAN, parameters, prepared="callboard_scan")
    runnable = [Position(run_at, id) for run_at, id, number in rows if number is None]
    if len(runnable) == wanted:
        return Scan(runnable, runnable[-1], is_complete=False)
    *_, (run_at, id, number) = [(*after, 0), *rows]
    return Scan(runnable, Position(run_at, id), is_complete=number < most)


# How long until the next waiting task of some queues is due, by the database's clock: two descents of the index per
# queue, priority and lane.
_NEXT_DUE = f"""
WITH RECURSIVE level (queue, priority) AS (
    SELECT queue, priority::smallint
    FROM unnest(%(queues)s::text[]) AS queue CROSS JOIN generate_series({LOWEST}, {HIGHEST}) AS priority
), {LANES}
SELECT EXTRACT(EPOCH FROM min(next.run_at) - clock_timestamp())::double precision
FROM lane
CROSS JOIN LATERAL (
    SELECT task.run_at FROM callboard_task AS task
    WHERE {IN_LANE} AND task.run_at > statement_timestamp()
    ORDER BY task.run_at, task.id
    LIMIT 1
) AS next
"""


def next_due_in_seconds(queues: Sequence[str]) -> float | None:
    """Return how long until the next task that waits for its ``run_at`` is due; None if none waits."""
    ((delay,),) = fetch(_NEXT_DUE, {"queues": list(queues)}, prepared="callboard_next_due")
    return None if delay is None else max(0.0, delay)
