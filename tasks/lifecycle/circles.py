"""Circles: submissions whose tasks would wait for themselves are refused.

A task waits for its parents, and a batch for its tasks. Dependencies only come with their child, so between calls no
circle of tasks can close. Batches take tasks later: then a task may be counted by a batch that one of its parents
waits for.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from tasks.db.statements import fetch
from tasks.errors import FieldError, InvalidTask
from tasks.lifecycle.predicates import by_key
from tasks.models import Task
from tasks.states import EdgeState

Row = dict[str, Any]
Node = TypeVar("Node", bound=Hashable)

#: How many tasks and batches that wait for a batch are looked at when a task is added to it.
MOST_WALKED = 20_000


def circle(waits: Mapping[Node, Collection[Node]]) -> list[Node]:
    """Find nodes that wait for each other in a circle; empty: there is none.

    Parameters:
        waits: node → those that it waits for; they need not be keys.
    """
    waiting = {node: sum(other in waits for other in others) for node, others in waits.items()}
    waiters: dict[Node, list[Node]] = {}
    for node, others in waits.items():
        for other in others:
            waiters.setdefault(other, []).append(node)
    free = [node for node, count in waiting.items() if not count]
    while free:
        for waiter in waiters.get(free.pop(), ()):
            waiting[waiter] -= 1
            if not waiting[waiter]:
                free.append(waiter)
    at = next((node for node, count in waiting.items() if count), None)
    if at is None:
        return []
    # Each node that is left waits for one that is left, so this way leads into a circle.
    way: dict[Node, int] = {}
    while at not in way:
        way[at] = len(way)
        at = next(other for other in waits[at] if waiting.get(other))
    return [*way][way[at] :]


# Two submissions that each see one half of a circle must not go side by side.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('callboard circles'))::text"
_WALK = f"""
WITH RECURSIVE later (batch_id, id) AS (
    SELECT joined.id, joined.id FROM unnest(%(batches)s::uuid[]) AS joined (id)
    UNION
    SELECT later.batch_id, next.id FROM later CROSS JOIN LATERAL (
        SELECT edge.child_id AS id FROM callboard_dependency AS edge WHERE edge.parent_id = later.id
        UNION ALL
        SELECT task.batch_id FROM callboard_task AS task
        WHERE {by_key("task.id", "later.id")} AND task.batch_id IS NOT NULL
    ) AS next
), found AS MATERIALIZED (
    SELECT * FROM later LIMIT %(most)s
)
SELECT found.batch_id, found.id FROM found
WHERE found.id = ANY(%(parents)s::uuid[]) OR (SELECT count(*) FROM found) = %(most)s
"""


def refuse_circles(rows: Sequence[Row], edges: Sequence[Any]) -> None:
    """Refuse tasks of batches that would wait for their own batch over any number of tasks and batches.

    It asks the database only if a task is added to a batch and depends on what may wait itself: on a batch, or on a
    task that has parents. Call it in the transaction that inserts rows and edges, between the two.

    Raises:
        InvalidTask: names the task and its batch.
    """
    batches = {row["batch_id"] for row in rows if "batch_id" in row}
    outside = {edge.parent: edge.is_batch for edge in edges if edge.state == EdgeState.NEW and batches}
    parents = {id for id, is_batch in outside.items() if is_batch}
    if tasks := outside.keys() - parents:
        parents |= {*Task.objects.filter(pk__in=tasks, pending_parents__gt=0).values_list("pk", flat=True)}
    if not parents:
        return
    fetch(_LOCK, {})
    waits: dict[UUID, set[UUID]] = {id: set() for id in parents}
    for batch_id, id in _walked(batches, parents):
        if id != batch_id:
            waits[id].add(batch_id)
    for row in rows:
        if "batch_id" in row:
            waits.setdefault(row["batch_id"], set()).add(row["id"])
    for edge in edges:
        waits.setdefault(edge.child["id"], set()).add(
            edge.parent if isinstance(edge.parent, UUID) else edge.parent["id"]
        )
    if found := circle(waits):
        _refuse(rows, found)


def _walked(batches: Collection[UUID], parents: Collection[UUID]) -> Sequence[tuple[UUID, UUID]]:
    """List each of the batches with each of the parents that waits for it."""
    ids = {"batches": [str(id) for id in batches], "parents": [str(id) for id in parents]}
    found = fetch(_WALK, {**ids, "most": MOST_WALKED})
    if len(found) == MOST_WALKED:
        message = f"expected fewer than {MOST_WALKED:,} tasks that wait for the batch; add the task before them"
        raise InvalidTask(message, errors=[FieldError("batch", "too_large", message)])
    return found


def _refuse(rows: Sequence[Row], found: Collection[UUID]) -> None:
    place, row = next((place, row) for place, row in enumerate(rows) if row["id"] in found)
    if row.get("batch_id") in found:
        message = f"expected no cycle; the task would wait for batch {row['batch_id']}, which counts it"
    else:
        message = "expected no cycle; the task would wait for a batch that waits for the task"
    field = "depends_on" if len(rows) == 1 else f"tasks.{place}.depends_on"
    raise InvalidTask(message, errors=[FieldError(field, "cycle", message)])
