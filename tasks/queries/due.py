"""The lines that tasks wait in, one for each queue and priority: where something is due, and when."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.lifecycle.dispatch import Probe


class Line(NamedTuple):
    """The tasks of one queue and priority that wait, by their ``run_at``."""

    queue: str
    priority: int


class Place(NamedTuple):
    """Where a task stands in its line."""

    run_at: datetime
    id: UUID

    @property
    def before(self) -> "Place":
        """The place from which on this task is the first."""
        return Place(self.run_at, UUID(int=max(0, self.id.int - 1)))


class First(NamedTuple):
    """The task of a line that is due before all others, whether somebody can run it or not."""

    place: Place
    actor: str
    #: Negative if it is due.
    in_seconds: float


# The first of each line, from a position on: one step down task_due_idx for each line and no lock. What nobody can run
# is told, and not walked over.
_FIRST_DUE = """
SELECT line.queue, line.priority, first.run_at, first.id, first.actor,
       EXTRACT(EPOCH FROM first.run_at - clock_timestamp())::double precision
FROM json_to_recordset(%(lines)s) AS line (
    queue text, priority smallint, after_run_at timestamptz, after_id uuid
)
CROSS JOIN LATERAL (
    SELECT task.run_at, task.id, task.actor FROM callboard_task AS task
    WHERE task.status IN ('PENDING', 'RETRYING') AND task.queue = line.queue AND task.priority = line.priority
      AND (task.run_at, task.id) > (
          COALESCE(line.after_run_at, '-infinity'), COALESCE(line.after_id, '00000000-0000-0000-0000-000000000000')
      )
    ORDER BY task.run_at, task.id
    LIMIT 1
) AS first
"""


def first_due(probes: Mapping[Line, Probe]) -> dict[Line, First]:
    """Tell when the first task of each line is due; nothing for a line with none.

    Parameters:
        probes: from where on to look.
    """
    rows = [
        {
            "queue": line.queue,
            "priority": line.priority,
            "after_run_at": probe.after_run_at,
            "after_id": probe.after_id,
        }
        for line, probe in probes.items()
    ]
    found = fetch(_FIRST_DUE, {"lines": as_json(rows)}, prepared="callboard_first_due")
    return {
        Line(queue, priority): First(Place(run_at, id), actor, in_seconds)
        for queue, priority, run_at, id, actor, in_seconds in found
    }


class Looked(NamedTuple):
    """What a look along a line came to."""

    #: Of tasks that can be run, in their order.
    known: list[Place]
    #: Of the last task that was looked at; where the look began, if nothing was due.
    end: Place
    #: Whether that is the last one of the line that is due.
    is_all: bool


# Along task_due_idx until there are enough that can be run: the CTE is read in its order and not further than that.
_LOOK_OVER = """
WITH looked AS MATERIALIZED (
    SELECT task.run_at, task.id, task.actor = ANY(%(actors)s) AS is_known
    FROM callboard_task AS task
    WHERE task.status IN ('PENDING', 'RETRYING') AND task.queue = %(queue)s AND task.priority = %(priority)s
      AND task.run_at <= statement_timestamp()
      AND (task.run_at, task.id) > (%(after_run_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY task.run_at, task.id
    LIMIT %(most)s
), known AS MATERIALIZED (
    SELECT looked.run_at, looked.id FROM looked WHERE looked.is_known LIMIT %(wanted)s
), total AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM known) < %(wanted)s THEN (SELECT count(*) FROM looked) ELSE 0 END AS number
), last AS (
    SELECT looked.run_at, looked.id, (SELECT number FROM total) AS number FROM looked
    WHERE (SELECT number FROM total) > 0
    OFFSET (SELECT GREATEST(number - 1, 0) FROM total) LIMIT 1
)
SELECT run_at, id, NULL FROM known UNION ALL SELECT run_at, id, number FROM last
"""


def look_over(line: Line, *, after: Place, actors: Sequence[str], wanted: int, most: int) -> Looked:
    """Look for the first due tasks of a line that one of these actors is for; without a lock.

    Parameters:
        after: from where on.
        wanted: how many tasks are enough.
        most: how many tasks are looked at.
    """
    parameters = {
        "queue": line.queue,
        "priority": line.priority,
        "after_run_at": after.run_at,
        "after_id": after.id,
        "actors": list(actors),
        "wanted": wanted,
        "most": most,
    }
    rows = fetch(_LOOK_OVER, parameters, prepared="callboard_look_over")
    known = [Place(run_at, id) for run_at, id, number in rows if number is None]
    if len(known) == wanted:
        return Looked(known, known[-1], is_all=False)
    *_, (run_at, id, number) = [(*after, 0), *rows]
    return Looked(known, Place(run_at, id), is_all=number < most)


# How long until the next waiting task of some queues is due, by the database's clock: a loose walk over the index, one
# step per queue and priority.
_NEXT_DUE = """
SELECT EXTRACT(EPOCH FROM min(next.run_at) - clock_timestamp())::double precision
FROM unnest(%(queues)s::text[]) AS queue (name)
CROSS JOIN generate_series(1, 10) AS probe (priority)
CROSS JOIN LATERAL (
    SELECT task.run_at FROM callboard_task AS task
    WHERE task.status IN ('PENDING', 'RETRYING') AND task.queue = queue.name AND task.priority = probe.priority
      AND task.run_at > statement_timestamp()
    ORDER BY task.run_at, task.id
    LIMIT 1
) AS next
"""


def next_due_in_seconds(queues: Sequence[str]) -> float | None:
    """Tell how long until the next task that waits for its ``run_at`` is due; None if none does."""
    ((delay,),) = fetch(_NEXT_DUE, {"queues": list(queues)}, prepared="callboard_next_due")
    return None if delay is None else max(0.0, delay)
