"""Where tasks are due, and when: the waiting tasks of each priority level of a queue, in the order of ``run_at``."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.lifecycle.dispatch import Probe
from tasks.lifecycle.predicates import DISPATCHABLE, IS_DUE
from tasks.priority import HIGHEST, LOWEST


class PriorityLevel(NamedTuple):
    """One priority of one queue; its waiting tasks are a range of ``task_due_idx``, ordered by ``run_at`` and id."""

    queue: str
    priority: int


class Position(NamedTuple):
    """A place in a priority level: that of a task with this ``run_at`` and id."""

    run_at: datetime
    id: UUID

    @property
    def just_before(self) -> "Position":
        """The position behind which this task comes first."""
        return Position(self.run_at, UUID(int=max(0, self.id.int - 1)))


class FirstTask(NamedTuple):
    """The first task of a level, whether a worker can run it or not."""

    position: Position
    actor: str
    #: Negative if it is due.
    due_in_seconds: float


# The first task of each level behind a position: one descent of task_due_idx per level and no lock; of a queue that is
# read from its front one descent in all, if no task waits in it. A task that no worker can run is returned like any
# other, not skipped.
_FIRST_TASKS = f"""
WITH busy AS MATERIALIZED (
    SELECT queue.name FROM unnest(%(queues)s::text[]) AS queue (name)
    CROSS JOIN LATERAL (
        SELECT FROM callboard_task AS task WHERE {DISPATCHABLE} AND task.queue = queue.name
        ORDER BY task.priority DESC, task.run_at, task.id LIMIT 1
    ) AS any_task
), level AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(levels)s) AS level (
        queue text, priority smallint, after_run_at timestamptz, after_id uuid
    )
    UNION ALL
    SELECT busy.name, priority::smallint, NULL, NULL
    FROM busy CROSS JOIN generate_series({LOWEST}, {HIGHEST}) AS priority
)
SELECT level.queue, level.priority, first.run_at, first.id, first.actor,
       EXTRACT(EPOCH FROM first.run_at - clock_timestamp())::double precision
FROM level
CROSS JOIN LATERAL (
    SELECT task.run_at, task.id, task.actor FROM callboard_task AS task
    WHERE {DISPATCHABLE} AND task.queue = level.queue AND task.priority = level.priority
      AND (task.run_at, task.id) > (
          COALESCE(level.after_run_at, '-infinity'), COALESCE(level.after_id, '00000000-0000-0000-0000-000000000000')
      )
    ORDER BY task.run_at, task.id
    LIMIT 1
) AS first
"""


def first_tasks(probes: Mapping[PriorityLevel, Probe], queues: Sequence[str] = ()) -> dict[PriorityLevel, FirstTask]:
    """Find the first task of each level; a level without one is left out.

    Parameters:
        probes: the position behind which to look, for each level.
        queues: look in all levels of these too, from the front.
    """
    rows = [
        {
            "queue": level.queue,
            "priority": level.priority,
            "after_run_at": probe.after_run_at,
            "after_id": probe.after_id,
        }
        for level, probe in probes.items()
    ]
    parameters = {"levels": as_json(rows), "queues": list(queues)}
    found = fetch(_FIRST_TASKS, parameters, prepared="callboard_first_tasks")
    return {
        PriorityLevel(queue, priority): FirstTask(Position(run_at, id), actor, due_in_seconds)
        for queue, priority, run_at, id, actor, due_in_seconds in found
    }


class Scan(NamedTuple):
    """The result of reading along a level."""

    #: The positions of tasks that a worker can run, in order.
    runnable: list[Position]
    #: The position of the last task that was read, or the start if none was due.
    end: Position
    #: Whether that is the last due task of the level.
    is_complete: bool


# Along task_due_idx until enough runnable tasks are found: the CTE is read in its order and no further.
_SCAN = f"""
WITH scanned AS MATERIALIZED (
    SELECT task.run_at, task.id, task.actor = ANY(%(actors)s) AS is_runnable
    FROM callboard_task AS task
    WHERE {IS_DUE} AND task.queue = %(queue)s AND task.priority = %(priority)s
      AND (task.run_at, task.id) > (%(after_run_at)s::timestamptz, %(after_id)s::uuid)
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


def scan(level: PriorityLevel, *, after: Position, actors: Sequence[str], wanted: int, most: int) -> Scan:
    """Read along a level for the first due tasks of some actors, without a lock.

    Parameters:
        after: the position behind which to start.
        wanted: stop after this many runnable tasks.
        most: read this many tasks at most.
    """
    parameters = {
        "queue": level.queue,
        "priority": level.priority,
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


# How long until the next waiting task of some queues is due, by the database's clock: one descent of the index per
# queue and priority.
_NEXT_DUE = f"""
SELECT EXTRACT(EPOCH FROM min(next.run_at) - clock_timestamp())::double precision
FROM unnest(%(queues)s::text[]) AS queue (name)
CROSS JOIN generate_series({LOWEST}, {HIGHEST}) AS probe (priority)
CROSS JOIN LATERAL (
    SELECT task.run_at FROM callboard_task AS task
    WHERE {DISPATCHABLE} AND task.queue = queue.name AND task.priority = probe.priority
      AND task.run_at > statement_timestamp()
    ORDER BY task.run_at, task.id
    LIMIT 1
) AS next
"""


def next_due_in_seconds(queues: Sequence[str]) -> float | None:
    """Return how long until the next task that waits for its ``run_at`` is due; None if none waits."""
    ((delay,),) = fetch(_NEXT_DUE, {"queues": list(queues)}, prepared="callboard_next_due")
    return None if delay is None else max(0.0, delay)
