"""dispatch: due tasks go from the table to the broker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.fairness import NO_KEY
from tasks.hint import Hint
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.predicates import CAN_STILL_START, IS_LEADING, LEAD, in_batch, is_due_for
from tasks.states import Status


class Dispatched(NamedTuple):
    """A task that was just marked QUEUED and must now be published."""

    hint: Hint
    queue: str
    band: str
    priority: int
    run_at: datetime
    actor: str
    trace_id: str
    lane: int = NO_KEY


@dataclass(frozen=True)
class Probe:
    """What the dispatcher looks for: tasks of one lane of a priority, after a position, for a band with some space.

    It finds only tasks that have been due for ``waited_seconds``.
    """

    priority: int
    band: str
    limit: int
    waited_seconds: float = 0
    after_run_at: datetime | None = None
    after_id: UUID | None = None
    lane: int = NO_KEY

    def as_row(self) -> dict[str, Any]:
        """Turn the probe into the row that the statement reads."""
        return {
            "priority": self.priority,
            "lane": self.lane,
            "band": self.band,
            "limit": self.limit,
            "waited": self.waited_seconds,
            "after_run_at": self.after_run_at,
            "after_id": self.after_id,
        }


class Share(NamedTuple):
    """What is looked for in one queue, in order of preference, and the most that is dispatched of it."""

    queue: str
    probes: Sequence[Probe]
    space: int

    def as_row(self) -> dict[str, Any]:
        """Turn the share into the row that the statement reads."""
        probes = [{"place": place, **probe.as_row()} for place, probe in enumerate(self.probes)]
        return {"queue": self.queue, "space": self.space, "probes": probes}


# One probe per priority and lane along task_lane_idx, highest first, so that neither a backlog of lower priorities nor
# one in the future is read; the position skips index entries that a long transaction elsewhere keeps from being cleaned
# up. Another dispatcher's rows are locked and skipped. Tasks that no live worker can run are locked too, so a probe
# reads few rows more than it wants; ``queries.due`` gets past a longer run of them. (Filtering first and locking the
# rest by key costs each task a tenth more.) The lock on the term row keeps a leader that lost its lease between two
# statements from dispatching. The locks on the queues' rows order dispatches and pauses: this statement skips a queue
# that is being paused, and a pause that begins now waits for this commit and takes back what was dispatched.
_DISPATCH = f"""
WITH {LEAD}, share AS (
    SELECT * FROM json_to_recordset(%(shares)s) AS share (queue text, space integer, probes json)
), unpaused AS MATERIALIZED (
    SELECT name FROM callboard_queue WHERE name = ANY(%(queues)s) AND paused_at IS NULL FOR SHARE SKIP LOCKED
), picked AS MATERIALIZED (
    SELECT due.id, due.band
    FROM share
    CROSS JOIN LATERAL (
        SELECT task.id, probe.band
        FROM (
            SELECT * FROM json_to_recordset(share.probes) AS probe (
                place integer, priority smallint, lane smallint, band text, "limit" integer, waited double precision,
                after_run_at timestamptz, after_id uuid
            ) ORDER BY place
        ) AS probe
        CROSS JOIN LATERAL (
            SELECT task.id
            FROM (
                SELECT task.id, task.actor, task.expires_at
                FROM callboard_task AS task
                WHERE {is_due_for("probe.waited")} AND task.queue = share.queue AND task.priority = probe.priority
                  AND task.lane = probe.lane AND (task.run_at, task.id) > (
                      COALESCE(probe.after_run_at, '-infinity'),
                      COALESCE(probe.after_id, '00000000-0000-0000-0000-000000000000')
                  )
                ORDER BY task.run_at, task.id
                LIMIT probe."limit" + 500
                FOR UPDATE SKIP LOCKED
            ) AS task
            WHERE task.actor = ANY(%(actors)s) AND {CAN_STILL_START}
            LIMIT probe."limit"
        ) AS task
        LIMIT share.space
    ) AS due
    WHERE {IS_LEADING} AND share.queue = ANY(ARRAY(SELECT unpaused.name::text FROM unpaused))
)
UPDATE callboard_task AS task
SET status = 'QUEUED', dispatch = task.dispatch + 1, queued_at = statement_timestamp()
FROM picked
WHERE {in_batch("picked")}
RETURNING task.id, task.dispatch, task.queue, picked.band, task.priority, task.run_at, task.actor, task.trace_id,
    task.lane
"""


def dispatch_many(shares: Sequence[Share], *, actors: Sequence[str], lease: str, term: int) -> list[Dispatched]:
    """Mark due tasks QUEUED, in the order of each share's probes; return the highest priority and oldest first.

    A lane that begins with 500 tasks of other actors may seem empty; see ``queries.due.scan``.

    Parameters:
        shares: one for each queue.
        actors: names of the actors that a live worker of each of these queues can run.
    """
    parameters = {
        "lease": lease,
        "term": term,
        "shares": as_json([share.as_row() for share in shares]),
        "queues": [share.queue for share in shares],
        "actors": list(actors),
    }
    found = fetch(_DISPATCH, parameters, prepared="callboard_dispatch")
    dispatched = [Dispatched(Hint(id, dispatch), *rest) for id, dispatch, *rest in found]
    moves = [Moved(one.hint.task_id, Status.QUEUED, one.actor, one.queue, one.trace_id) for one in dispatched]
    announce("dispatch", moves)
    return sorted(dispatched, key=lambda one: (-one.priority, one.run_at, one.hint.task_id))
