"""How many tasks there are in each status, counted up to a bound, so that the cost does not grow with the tables."""

from typing import NamedTuple

from tasks.db.statements import by_index, fetch
from tasks.lifecycle.predicates import HAS_COME, any_of
from tasks.priority import BANDS
from tasks.states import DUE, Status

#: Counting a status or a queue stops here.
COUNT_CAP = 10_000
#: RETRYING tasks are counted up to here to find the number of PENDING ones.
RETRYING_CAP = 100_000
#: The newest tasks among which the statuses without an index are counted.
NEWEST_TASKS = 100_000


class Count(NamedTuple):
    """A number; with ``is_capped`` there may be more."""

    number: int
    is_capped: bool


# No index leads to these: the newest tasks are counted, and the count is capped if there are older ones.
_WITHOUT_INDEX = frozenset({Status.SUCCEEDED})


# The index of due tasks holds RETRYING ones as well, and to tell them apart would take a look at each row. So those are
# counted in an index of their own, and subtracted, unless they are very many.
_PENDING = f"""
SELECT 'PENDING', pending.number, pending.number >= %(cap)s
FROM (
    SELECT count(*) AS number
    FROM (SELECT FROM callboard_task WHERE status = 'RETRYING' LIMIT {RETRYING_CAP}) AS counted
) AS retrying
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN retrying.number < {RETRYING_CAP} THEN (
            SELECT count(*) - retrying.number
            FROM (
                SELECT FROM callboard_task WHERE {any_of("status", DUE)} LIMIT %(cap)s + retrying.number
            ) AS counted)
        ELSE (SELECT count(*) FROM (SELECT FROM callboard_task WHERE status = 'PENDING' LIMIT %(cap)s) AS counted)
    END AS number
    OFFSET 0  -- or PostgreSQL counts once for each use of the number
) AS pending
"""


def _count(status: Status) -> str:
    # The status is a literal, because PostgreSQL uses a partial index only where it can prove its condition.
    if status is Status.PENDING:
        return _PENDING
    if status not in _WITHOUT_INDEX:
        return f"""
SELECT '{status.value}', count(*), count(*) >= %(cap)s
FROM (SELECT FROM callboard_task WHERE status = '{status.value}' LIMIT %(cap)s) AS counted
"""
    return f"""
SELECT '{status.value}', LEAST(count(*) FILTER (WHERE status = '{status.value}'), %(cap)s),
       count(*) FILTER (WHERE status = '{status.value}') >= %(cap)s OR count(*) >= %(newest)s
FROM (SELECT status FROM callboard_task ORDER BY id DESC LIMIT %(newest)s) AS newest
"""


_COUNTS = " UNION ALL ".join(_count(status) for status in Status)
_INDEXED_COUNTS = " UNION ALL ".join(_count(status) for status in Status if status not in _WITHOUT_INDEX)


def counts_by_status(*, indexed_only: bool = False) -> dict[Status, Count]:
    """Count tasks by status, each status up to ``COUNT_CAP``.

    Parameters:
        indexed_only: leave out the status for which the newest tasks are read.
    """
    with by_index():
        rows = fetch(_INDEXED_COUNTS if indexed_only else _COUNTS, {"cap": COUNT_CAP, "newest": NEWEST_TASKS})
    return {Status(status): Count(number, is_capped) for status, number, is_capped in rows}


class QueueSize(NamedTuple):
    """How many tasks of an actor in a band of a queue have a status, one of ``COUNTED``."""

    queue: str
    actor: str
    #: "high", "medium" or "low".
    band: str
    status: Status
    number: int
    #: How many of them are due.
    due: int
    #: How long ago the first ``run_at`` of them was; negative if it is to come.
    oldest_run_at_seconds: float


#: Not BLOCKED, which no index leads to.
COUNTED = {*DUE, Status.QUEUED, Status.RUNNING}
_BAND = " ".join(["CASE", *(f"WHEN task.priority >= {band.lowest} THEN '{band.name}'" for band in BANDS), "END"])
_QUEUE_SIZES = f"""
SELECT task.queue, task.actor, {_BAND} AS band, task.status, count(*),
       count(*) FILTER (WHERE {HAS_COME}),
       EXTRACT(EPOCH FROM statement_timestamp() - min(task.run_at))::double precision
FROM callboard_task AS task
WHERE {any_of("task.status", COUNTED)}
GROUP BY task.queue, task.actor, band, task.status
"""


def queue_sizes() -> list[QueueSize]:
    """Count tasks in ``COUNTED`` by queue, actor, band and status; the cost grows with their number."""
    rows = fetch(_QUEUE_SIZES, {})
    return [QueueSize(queue, actor, band, Status(status), *rest) for queue, actor, band, status, *rest in rows]
