"""The predicates and CTEs that statements share, each written and explained once.

Statements are put together from these when their module is imported. They are conditions on rows that a statement calls
``task``, ``worker`` and ``letter``; every statement calls its tables so. Values always travel as parameters.
"""

from collections.abc import Collection

from tasks.states import DUE, ENDED, FINAL, WAITING, Resolution, Status


def any_of(column: str, values: Collection[str]) -> str:
    """Say that a column has one of these values; as literals, since a partial index serves nothing else."""
    literals = ", ".join(f"'{value}'" for value in sorted(values))
    return f"{column} IN ({literals})"


# --- The leader's term ---

#: The CTE of a leader's statement. It holds the term's row FOR SHARE and names its number: a statement that a deposed
#: leader sends late changes nothing, and the next leader's term begins after those that are under way.
LEAD = """lead AS MATERIALIZED (
    SELECT FROM callboard_term WHERE name = %(lease)s AND term = %(term)s FOR SHARE
)"""
#: The condition of a statement that begins with ``LEAD``.
IS_LEADING = "EXISTS (SELECT FROM lead)"


# --- Workers ---

#: A worker that may take tasks: it does not drain, and its lease runs.
LIVE_WORKER = "worker.status = 'ALIVE' AND worker.lease_expires_at > statement_timestamp()"
#: A worker that was not declared gone. Silence alone gives nothing away: its tasks go to others from that declaration
#: on, after which it cannot renew its lease.
NOT_GONE = "worker.status <> 'GONE'"


# --- Tasks by status ---

#: A task that the dispatcher hands over once its ``run_at`` has come; the condition of ``task_lane_idx``.
DISPATCHABLE = any_of("task.status", DUE)
#: A task whose time has come.
HAS_COME = "task.run_at <= statement_timestamp()"
#: A dispatchable task whose time has come.
IS_DUE = f"{DISPATCHABLE} AND {HAS_COME}"


def is_due_for(seconds: str) -> str:
    """Say that a task has been due for so many seconds, given in SQL."""
    return f"{IS_DUE} - {seconds} * interval '1 second'"


#: A recursive CTE: the lanes with waiting tasks of each level, the rows of a CTE with ``queue`` and ``priority``. It
#: jumps from lane to lane along ``task_lane_idx``, and reads one entry of each.
LANES = f"""lane (queue, priority, number) AS (
    SELECT level.queue, level.priority, first.lane
    FROM level
    CROSS JOIN LATERAL (
        SELECT task.lane FROM callboard_task AS task
        WHERE {DISPATCHABLE} AND task.queue = level.queue AND task.priority = level.priority
        ORDER BY task.lane, task.run_at, task.id LIMIT 1
    ) AS first
    UNION ALL
    SELECT lane.queue, lane.priority, next.lane
    FROM lane
    CROSS JOIN LATERAL (
        SELECT task.lane FROM callboard_task AS task
        WHERE {DISPATCHABLE} AND task.queue = lane.queue AND task.priority = lane.priority AND task.lane > lane.number
        ORDER BY task.lane, task.run_at, task.id LIMIT 1
    ) AS next
)"""
#: A waiting task of a row of ``LANES``.
IN_LANE = f"{DISPATCHABLE} AND task.queue = lane.queue AND task.priority = lane.priority AND task.lane = lane.number"


#: A task that has not started and can still be edited, cancelled or expired.
IS_WAITING = any_of("task.status", WAITING)
#: A task that is not too old to start.
CAN_STILL_START = "(task.expires_at IS NULL OR task.expires_at > statement_timestamp())"


def _is_unsettled(table: str, final: Collection[str]) -> str:
    return f"""(({table}.settled_as = 'WAITING' AND {any_of(f"{table}.status", final)})
    OR ({any_of(f"{table}.settled_as", {"CHECK", *final})}
        AND ({table}.settled_as < {table}.status OR {table}.settled_as > {table}.status)))"""


#: A parent whose children do not know of its status yet; the condition of ``task_unsettled_idx``.
IS_UNSETTLED = _is_unsettled("task", FINAL)
#: The same of a batch; the condition of ``batch_unsettled_idx``.
IS_UNSETTLED_BATCH = _is_unsettled("batch", ENDED)
#: A task whose end some child still has to learn of, or waits for; false of tasks without children, at no cost.
HAS_WAITING_CHILDREN = f"""(task.settled_as IS NOT NULL AND ({IS_UNSETTLED} OR EXISTS (
    SELECT FROM callboard_dependency AS edge WHERE edge.parent_id = task.id AND edge.state IN ('NEW', 'OPEN'))))"""


# --- The tasks of a batch ---
#
# `task.id = batch.id` and `task.status = 'QUEUED'` would say the same. The forms below leave the planner one way: to
# look up each task by its key. An equality it may also turn around, and walk an index of tasks with the batch inside:
# that takes the square of the batch, and looks cheap once the table was analysed while nothing waited or ran. For the
# same reason the status is hidden from the partial indexes, and rows are put in order by `batch.id`.
# `test_kept_plans.py` looks at the plans.


def in_batch(batch: str) -> str:
    """Find each task of a batch by its key.

    Parameters:
        batch: alias of the batch's rows, which have an ``id``.
    """
    return by_key("task.id", f"{batch}.id")


def by_key(column: str, value: str) -> str:
    """Find rows by a column of a key, and no other way; both are given in SQL."""
    return f"{column} = ANY(ARRAY[{value}])"


def has_key_of(batch: str) -> str:
    """Find the task that has the unique key of each row of a batch, if there is one.

    Parameters:
        batch: alias of the batch's rows, which have a ``unique_key``.
    """
    return f"task.unique_key = ANY(ARRAY[{batch}.unique_key])"


def has_status(status: Status) -> str:
    """Check the status of a task that ``in_batch`` found."""
    return f"COALESCE(task.status, '') = '{status.value}'"


def is_current(hint: str) -> str:
    """Tell whether a hint is of the task's last hand-over to the broker, and nobody has claimed it since."""
    return f"{has_status(Status.QUEUED)} AND task.dispatch = {hint}.dispatch"


def is_held(attempt: str, *, by: str) -> str:
    """Tell whether a worker still runs this attempt: what was given to another since it can never overwrite.

    Parameters:
        attempt: alias of the batch's rows, which have an ``attempt``.
        by: the worker's id, in SQL.
    """
    return f"{has_status(Status.RUNNING)} AND task.attempt = {attempt}.attempt AND task.worker_id = {by}"


# --- Dead letters ---

#: A dead letter that was neither re-driven nor discarded.
IS_OPEN = f"letter.resolution = '{Resolution.OPEN.value}'"
