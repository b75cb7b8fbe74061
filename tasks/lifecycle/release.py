"""release: the leader tells children what became of their parents, which are tasks and batches.

No other verb changes what children know of their parents. Whatever ends a parent, or gives it a second life, its row
then enters ``task_unsettled_idx`` or ``batch_unsettled_idx``: its status is no longer what its edges were settled by.
The statements here run one after the other, fenced by the leader's term, until nothing is left to do; each of them does
a bounded part.

Verbs on tasks wait for each other in the order of ids, and never for edges. These statements never wait for a task:
they skip rows that are locked. An edge changes under the lock of its child, or, while it is NEW, of its parent. So no
circle of waits can close.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from tasks.db.statements import fetch
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.predicates import (
    IS_LEADING,
    IS_UNSETTLED,
    IS_UNSETTLED_BATCH,
    LEAD,
    any_of,
    by_key,
    in_batch,
)
from tasks.lifecycle.tally import tallied
from tasks.states import ENDED, FINAL, Status
from tasks.testing import failpoints

#: Of one statement.
MOST_PARENTS, MOST_EDGES = 200, 1_000


class Settled(NamedTuple):
    """Rows that were changed, and whether something is left that others had locked."""

    changed: int
    is_left: bool


class Linked(NamedTuple):
    """New edges that were found, and those of them that were linked; the others' parents are locked or gone."""

    found: int
    linked: int


class _Kind(NamedTuple):
    """A kind of parents, in SQL."""

    #: Alias, and end of the name of the table.
    name: str
    #: The statuses of those that have ended.
    final: Collection[str]
    is_unsettled: str
    #: Of a row whose ``settled_as`` changes; submissions into a batch hold its row by a lock that goes with this one.
    lock: str
    #: The condition of their edges.
    of_edge: str


_TASKS = _Kind("task", FINAL, IS_UNSETTLED, "FOR UPDATE", "NOT edge.is_batch")
_BATCHES = _Kind("batch", ENDED, IS_UNSETTLED_BATCH, "FOR NO KEY UPDATE", "edge.is_batch")


# Edges are changed at the place where they were read: both of their keys begin with a column that may be the same in
# all of them, and a plan that takes the wrong one reads the square of the batch. An edge that changed since is left.
# What was settled before the edge came does not count for it, so the parent has to be looked at again: CHECK.
def _link(kind: _Kind) -> str:
    name = kind.name
    return f"""
WITH {LEAD}, fresh AS MATERIALIZED (
    SELECT edge.parent_id, edge.ctid AS place FROM callboard_dependency AS edge
    WHERE edge.state = 'NEW' AND {kind.of_edge} AND {IS_LEADING}
    ORDER BY edge.parent_id LIMIT {MOST_EDGES}
), held AS MATERIALIZED (
    SELECT parent.id, {name}.settled_as,
           {name}.settled_as IS NULL AND NOT {any_of(f"{name}.status", kind.final)} AS is_first
    FROM (SELECT DISTINCT parent_id AS id FROM fresh ORDER BY parent_id) AS parent
    JOIN callboard_{name} AS {name} ON {by_key(f"{name}.id", "parent.id")}
    {kind.lock} OF {name} SKIP LOCKED
), marked AS (
    UPDATE callboard_{name} AS {name} SET settled_as = CASE WHEN held.is_first THEN 'WAITING' ELSE 'CHECK' END
    FROM held WHERE {by_key(f"{name}.id", "held.id")} AND held.settled_as IS DISTINCT FROM 'WAITING'
), linked AS (
    UPDATE callboard_dependency AS edge SET state = 'OPEN' FROM fresh
    WHERE edge.ctid = fresh.place AND edge.state = 'NEW'
      -- IS TRUE, or it would become a join.
      AND (fresh.parent_id IN (SELECT id FROM held)) IS TRUE
    RETURNING edge.child_id
)
SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM linked)
"""


_LINK, _LINK_TO_BATCHES = _link(_TASKS), _link(_BATCHES)


def link_many(*, lease: str, term: int) -> Linked:
    """Link at most a batch of new edges to their parents."""
    return _linked(_LINK, prepared="callboard_link", lease=lease, term=term)


def _linked(statement: str, *, prepared: str, lease: str, term: int) -> Linked:
    (row,) = fetch(statement, {"lease": lease, "term": term}, prepared=prepared)
    return Linked(*row)


def _wrong(kind: _Kind) -> str:
    """Write the CTEs of the edges that say something else than their parents' statuses."""
    target = f"""CASE WHEN NOT {any_of("due.status", kind.final)} THEN 'OPEN'
         WHEN due.status = 'SUCCEEDED' OR edge.on_failure = 'run' THEN 'MET'
         WHEN edge.on_failure = 'block' THEN 'OPEN'
         ELSE 'FAILED' END"""
    return f"""
due AS MATERIALIZED (
    SELECT {kind.name}.id, {kind.name}.status FROM callboard_{kind.name} AS {kind.name}
    WHERE {kind.is_unsettled} AND {IS_LEADING}
    ORDER BY {kind.name}.id LIMIT {MOST_PARENTS}
    {kind.lock} OF {kind.name} SKIP LOCKED
), wrong AS MATERIALIZED (
    SELECT edge.child_id, edge.parent_id, edge.ctid AS place, edge.state, {target} AS target
    FROM due JOIN callboard_dependency AS edge ON {by_key("edge.parent_id", "due.id")}
    WHERE edge.state IN ('OPEN', 'MET', 'FAILED') AND edge.state <> {target} AND {kind.of_edge}
    LIMIT {MOST_EDGES} + 1
)"""


def _orphaned(kind: _Kind) -> str:
    """Write the CTEs of the new edges whose parents were removed before they were linked."""
    return f"""
due AS MATERIALIZED (
    SELECT NULL::uuid AS id, ''::text AS status WHERE false
), wrong AS MATERIALIZED (
    SELECT edge.child_id, edge.parent_id, edge.ctid AS place, edge.state,
           CASE WHEN edge.on_failure = 'run' THEN 'MET' ELSE 'FAILED' END AS target
    FROM callboard_dependency AS edge
    WHERE edge.state = 'NEW' AND {kind.of_edge} AND {IS_LEADING}
      AND NOT EXISTS (SELECT FROM callboard_{kind.name} AS {kind.name}
                      WHERE {by_key(f"{kind.name}.id", "edge.parent_id")})
    LIMIT {MOST_EDGES}
)"""


# The parts of the one statement that puts edges right, and moves their children. Nothing is joined with a part that has
# the size of a batch: that would take its square. A child that is itself a due task waits for the next statement, since
# no row can be written twice in one.
_CHILDREN = f"""
children AS MATERIALIZED (
    SELECT wrong.id, wrong.place, wrong.state, wrong.target, task.status, task.cause_id
    FROM (SELECT child_id AS id, place, state, target FROM wrong ORDER BY child_id) AS wrong
    JOIN callboard_task AS task ON {in_batch("wrong")}
    WHERE wrong.id NOT IN (SELECT id FROM due)
    FOR UPDATE OF task SKIP LOCKED
)"""
_CHANGED = """
changed AS (
    UPDATE callboard_dependency AS edge SET state = children.target FROM children
    WHERE edge.ctid = children.place AND edge.state = children.state
    RETURNING edge.child_id, edge.parent_id, children.state AS was, edge.state AS now, children.status,
              children.cause_id
)"""

# A failed edge cancels its child, which notes the parent as the cause. A second life of that parent pardons it: the
# child is blocked again, unless another of its edges has failed. What a person cancelled has no cause, and stays so.
_EFFECT = """
effect AS MATERIALIZED (
    SELECT child_id AS id, status, cause_id, array_agg(parent_id) AS parents,
           (count(*) FILTER (WHERE was = 'MET') - count(*) FILTER (WHERE now = 'MET'))::int AS delta,
           (array_agg(parent_id) FILTER (WHERE now = 'FAILED'))[1] AS failed,
           COALESCE(bool_or(was = 'FAILED' AND parent_id = cause_id), false) AS is_pardoned
    FROM changed GROUP BY child_id, status, cause_id
)"""
_JUDGED = """
judged AS MATERIALIZED (
    SELECT effect.id, effect.status, effect.delta,
           CASE WHEN effect.is_pardoned AND effect.failed IS NULL THEN (
               SELECT edge.parent_id FROM callboard_dependency AS edge
               WHERE edge.child_id = effect.id AND edge.state = 'FAILED' AND edge.parent_id <> ALL(effect.parents)
               LIMIT 1
           ) ELSE effect.failed END AS cause,
           effect.status = 'BLOCKED' OR (
               effect.status = 'CANCELLED' AND effect.cause_id IS NOT NULL
               AND (effect.is_pardoned OR effect.failed IS NOT NULL)
           ) AS is_moved
    FROM effect
)"""
_MOVED = f"""
moved AS (
    UPDATE callboard_task AS task
    SET pending_parents = task.pending_parents + judged.delta,
        status = CASE WHEN NOT judged.is_moved THEN task.status
                      WHEN judged.cause IS NOT NULL THEN 'CANCELLED'
                      WHEN task.pending_parents + judged.delta = 0 THEN 'PENDING'
                      ELSE 'BLOCKED' END,
        cause_id = CASE WHEN judged.is_moved THEN judged.cause ELSE task.cause_id END,
        unique_key = CASE WHEN judged.is_moved AND judged.cause IS NOT NULL THEN NULL ELSE task.unique_key END,
        finished_at = CASE WHEN NOT judged.is_moved THEN task.finished_at
                           WHEN judged.cause IS NOT NULL THEN COALESCE(task.finished_at, statement_timestamp()) END,
        expires_at = CASE WHEN judged.is_moved AND judged.status = 'CANCELLED' AND judged.cause IS NULL
                          THEN statement_timestamp() + task.max_age_seconds * interval '1 second'
                          ELSE task.expires_at END,
        run_at = CASE WHEN judged.is_moved AND judged.cause IS NULL
                      THEN GREATEST(task.run_at, statement_timestamp()) ELSE task.run_at END
    FROM judged
    WHERE {in_batch("judged")} AND (judged.is_moved OR judged.delta <> 0)
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id, judged.status AS was, task.batch_id
)"""
_TALLIED = f"""
tallied AS (
    {tallied("moved", before="was")}
)"""

# How far each parent has come: edges are left if there are too many, or if their children are locked.
_PROGRESS = f"""
progress AS MATERIALIZED (
    SELECT due.id, due.status, COALESCE(found.count, 0) AS found, COALESCE(done.count, 0) AS done,
           (SELECT count(*) FROM wrong) > {MOST_EDGES} AS is_cut
    FROM due
    LEFT JOIN (SELECT parent_id, count(*) FROM wrong GROUP BY parent_id) AS found ON found.parent_id = due.id
    LEFT JOIN (SELECT parent_id, count(*) FROM changed GROUP BY parent_id) AS done ON done.parent_id = due.id
)"""


def _settled(kind: _Kind) -> str:
    return f"""
settled AS (
    UPDATE callboard_{kind.name} AS parent
    SET settled_as = CASE WHEN progress.is_cut OR progress.found > progress.done THEN 'CHECK'
                          WHEN {any_of("progress.status", kind.final)} THEN progress.status
                          ELSE 'WAITING' END
    FROM progress
    WHERE {by_key("parent.id", "progress.id")}
      AND (progress.done > 0 OR NOT (progress.is_cut OR progress.found > progress.done))
    RETURNING parent.id
)"""


def _settlement(wrong: str, kind: _Kind) -> str:
    """Put together the statement that settles parents.

    Parameters:
        wrong: the CTEs ``due``, those parents, and ``wrong``, their edges that have to change.
    """
    parts = [LEAD, wrong, _CHILDREN, _CHANGED, _EFFECT, _JUDGED, _MOVED, _TALLIED, _PROGRESS, _settled(kind)]
    return f"""
WITH {",".join(parts)}
SELECT done.changed + done.settled, done.was_due, moved.*
FROM (SELECT (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM settled) AS settled,
             -- Before this statement, and with what it skips.
             EXISTS (SELECT FROM callboard_{kind.name} AS {kind.name} WHERE {kind.is_unsettled}) AS was_due) AS done
LEFT JOIN (SELECT id, status, actor, queue, trace_id FROM moved WHERE status <> was) AS moved ON true
"""


_RELEASE, _RELEASE_FROM_BATCHES = (_settlement(_wrong(kind), kind) for kind in (_TASKS, _BATCHES))
_FORSAKE, _FORSAKE_FROM_BATCHES = (_settlement(_orphaned(kind), kind) for kind in (_TASKS, _BATCHES))
#: How the journal of moves calls what becomes of a child.
_VERBS = {Status.PENDING: "release", Status.BLOCKED: "block", Status.CANCELLED: "cancel"}


def release_many(*, lease: str, term: int) -> Settled:
    """Settle at most a batch of parents; if no row changed, what is left is locked."""
    return _settle(_RELEASE, prepared="callboard_release", lease=lease, term=term)


def forsake_many(*, lease: str, term: int) -> int:
    """Treat parents that were deleted before they were linked as failed; return how many rows changed."""
    return _settle(_FORSAKE, prepared="callboard_forsake", lease=lease, term=term).changed


def _settle(statement: str, *, prepared: str, lease: str, term: int) -> Settled:
    rows = fetch(statement, {"lease": lease, "term": term}, prepared=prepared)
    moves = [Moved(*move) for _, _, *move in rows if move[0] is not None]
    for status, verb in _VERBS.items():
        announce(verb, [move for move in moves if move.status == status])
    return Settled(*rows[0][:2])


def settle_all(*, lease: str, term: int, on_release: Callable[[], None] = lambda: None) -> Settled:
    """Settle until nothing changes.

    Parameters:
        on_release: called after each statement that let tasks go on, or cancelled some.
    """
    total = 0
    while True:
        # Releases come first: tasks that could run wait for them.
        released = release_many(lease=lease, term=term)
        if released.changed:
            failpoints.reach("after_release")
            on_release()
        linked = link_many(lease=lease, term=term)
        if linked.linked:
            failpoints.reach("after_link")
        forsaken = forsake_many(lease=lease, term=term) if linked.found > linked.linked else 0
        changed = released.changed + linked.linked + forsaken
        if not changed:
            return Settled(total, released.is_left or linked.found > 0)
        total += changed


def settle_children_of_batches(*, lease: str, term: int) -> Settled:
    """Link and settle batches that tasks wait for: a bounded part of each."""
    linked = _linked(_LINK_TO_BATCHES, prepared="callboard_link_to_batches", lease=lease, term=term)
    released = _settle(_RELEASE_FROM_BATCHES, prepared="callboard_release_from_batches", lease=lease, term=term)
    if released.changed:
        failpoints.reach("after_release")
    forsaken = 0
    if linked.found > linked.linked:
        forsaken = _settle(_FORSAKE_FROM_BATCHES, prepared="callboard_forsake_batches", lease=lease, term=term).changed
    return Settled(linked.linked + released.changed + forsaken, released.is_left or linked.found > linked.linked)
